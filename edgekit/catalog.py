"""Finds recipes and targets: inside the installed package, beside it in a checkout, or at a path."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from .errors import ConfigError, did_you_mean

Kind = Literal["recipes", "targets"]


def folder(kind: Kind) -> Path:
    """The folder of the shipped files: `edgekit/_data/<kind>` in a wheel, `<kind>` at the top of a checkout."""
    package = Path(__file__).parent
    inside = package / "_data" / kind
    return inside if inside.is_dir() else package.parent / kind


def names(kind: Kind) -> list[str]:
    """The names of all shipped files of a kind, sorted."""
    return sorted(path.stem for path in folder(kind).glob("*.toml"))


def find(kind: Kind, name: str) -> Path:
    """The file of a shipped recipe or target, or the path that was given. Raises ConfigError with the nearest name."""
    if name.endswith(".toml") or "/" in name:
        path = Path(name)
        if not path.is_file():
            raise ConfigError(f"{path}: no such file")
        return path
    path = folder(kind) / f"{name}.toml"
    if not path.is_file():
        raise ConfigError(
            f"no {kind[:-1]} '{name}'{did_you_mean(name, names(kind))}; a file of your own works by its path"
        )
    return path
