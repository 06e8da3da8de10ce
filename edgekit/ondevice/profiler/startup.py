"""Cold start: fresh processes, from their start to the first answer. Linux's monotonic clock is one for all of them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import OnDeviceError
from .stats import bootstrap_quantiles, interval, quantiles
from .workload import What, load

_LIMIT_SECONDS = 300


def answer_once(what: What, samples: Path | None, seed: int) -> int:
    """Load and answer one sample; the monotonic clock's nanoseconds when the answer was there."""
    load(what, samples, seed).answer(0)
    return time.monotonic_ns()


def measure_cold_starts(words: Sequence[str], count: int) -> tuple[dict[str, Any] | None, list[str]]:
    """The p50 in milliseconds over `count` runs of `python3 -m ondevice first`, its files cached by the kernel.

    And what went wrong, if anything: then there is no figure. `words` are the command's arguments.
    """
    if not count:
        return None, []
    package = __name__.rpartition(".profiler.")[0]
    top = Path(__file__).resolve().parents[package.count(".") + 2]
    paths = [str(top), *filter(None, [os.environ.get("PYTHONPATH")])]
    took = []
    for _ in range(count):
        began = time.monotonic_ns()
        try:
            done = subprocess.run(
                [sys.executable, "-m", package, "first", *words],
                capture_output=True,
                text=True,
                timeout=_LIMIT_SECONDS,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
                check=True,
            )
            took.append(int(done.stdout.split()[-1]) - began)
        except subprocess.CalledProcessError as error:
            reason = (error.stderr.strip().splitlines() or [f"exit code {error.returncode}"])[-1]
            return None, [f"cold start: not measured: {reason}"]
        except (subprocess.TimeoutExpired, ValueError, IndexError) as error:
            return None, [f"cold start: not measured: {error}"]
    took_ms = np.array(took) / 1e6
    return interval(quantiles(took_ms, [0.5])[0], bootstrap_quantiles(took_ms, [0.5])[:, 0]), []


def import_library(module: Any) -> float:
    """Import a runtime module's library; the milliseconds. Raises OnDeviceError where it cannot be imported."""
    began = time.monotonic_ns()
    try:
        module.library()
    except (ImportError, SystemError, AttributeError) as error:  # a library built for another numpy, or another libc
        raise OnDeviceError(f"{module.PACKAGE} is installed but cannot be imported: {error}") from None
    return (time.monotonic_ns() - began) / 1e6
