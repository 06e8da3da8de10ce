"""Keeps what frameworks print, from Python or from C++, out of the user's terminal, and their telemetry off."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: Set in edgekit's own processes, unless the user has set them.
ENVIRONMENT = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TF_USE_LEGACY_KERAS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYDANTIC_DISABLE_PLUGINS": "1",  # edgekit has none, and looking for them reads every installed package
}


def set_environment() -> None:
    """Put ENVIRONMENT in force; what the user has set stays."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


@contextmanager
def redirected(log: Path) -> Iterator[None]:
    """Send file descriptors 1 and 2 of this process to a file; C++ libraries write there directly."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    with log.open("ab") as stream, warnings.catch_warnings():
        warnings.simplefilter("default")
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, copy in enumerate(saved, start=1):
                os.dup2(copy, number)
                os.close(copy)
