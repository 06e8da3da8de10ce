"""ExportedPrograms, loaded without running anything of their authors'."""

from __future__ import annotations

import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ...errors import StageError
from ...modelfiles.pt2 import copy_safely


def load_program(path: Path, scratch: Path) -> Any:
    """The program of a .pt2, from a checked copy of its graph and weights alone. Raises StageError."""
    import torch

    with TemporaryDirectory(dir=scratch) as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, over what it will rename
        copy = Path(folder) / "program.pt2"
        copy_safely(path, copy)
        try:
            return torch.export.load(copy)
        except (RuntimeError, ValueError, KeyError, AttributeError, AssertionError, TypeError, OSError) as error:
            line = " ".join(str(error).split())[:300]
            hint = "export it again with this torch, or to ONNX"
            raise StageError(f"{path}: torch {torch.__version__} cannot load it: {line}; possible: {hint}") from None
