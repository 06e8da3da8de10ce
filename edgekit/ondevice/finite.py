"""Whether a model answered with numbers at all."""

from __future__ import annotations

from typing import Any

import numpy as np

from .errors import OnDeviceError


def check_finite(outputs: np.ndarray[Any, Any]) -> None:
    """Raise OnDeviceError where an output is infinite or not a number."""
    if not np.isfinite(outputs).all():
        raise OnDeviceError("the model's answer is not a finite number; `verify` tells whether the bundle is whole")
