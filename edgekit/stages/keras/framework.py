"""TensorFlow with the Keras that its optimisation toolkit knows."""

from __future__ import annotations

import os
from typing import Any


def import_keras() -> tuple[Any, Any]:
    """TensorFlow and tf_keras. The optimisation toolkit knows Keras 2 only, which must be chosen before the import."""
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow
    import tf_keras

    return tensorflow, tf_keras
