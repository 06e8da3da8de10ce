"""Finds recipes and targets: inside the installed package, beside it in a checkout, or at a path."""

from __future__ import annotations

import contextlib
import tomllib
from pathlib import Path
from typing import Literal

from .errors import ConfigError, did_you_mean
from .refusals import REFUSALS

Kind = Literal["recipes", "targets"]


def folder(kind: Kind) -> Path:
    """The folder of the shipped files: `edgekit/_data/<kind>` in a wheel, `<kind>` at the top of a checkout."""
    package = Path(__file__).parent
    inside = package / "_data" / kind
    return inside if inside.is_dir() else package.parent / kind


def names(kind: Kind) -> list[str]:
    """The names of all shipped files of a kind, sorted."""
    return sorted(path.stem for path in folder(kind).glob("*.toml"))


def aliases(kind: Kind) -> dict[str, str]:
    """Other names of shipped files, by their key `aliases` -> the name. A file that is not TOML has none."""
    found = {}
    for path in sorted(folder(kind).glob("*.toml")):
        with contextlib.suppress(tomllib.TOMLDecodeError):
            content = tomllib.loads(path.read_text(encoding="utf-8"))
            found.update({str(alias): path.stem for alias in content.get("aliases", [])})
    return found


def find(kind: Kind, name: str) -> Path:
    """The file of a shipped recipe or target by its name or an alias, or the path that was given.

    Raises ConfigError with the nearest name, or with the reason where nothing is built for that hardware.
    """
    if name.endswith(".toml") or "/" in name:
        path = Path(name)
        if not path.is_file():
            raise ConfigError(f"{path}: {'is a folder, not a file' if path.is_dir() else 'no such file'}")
        return path
    path = folder(kind) / f"{name}.toml"
    if path.is_file():
        return path
    others = aliases(kind)
    if name in others:
        return folder(kind) / f"{others[name]}.toml"
    refusal = next((r for r in REFUSALS if name in r.targets), None) if kind == "targets" else None
    if refusal:  # by name: a slip of the pen may fit the pattern of others
        raise ConfigError(f"target {name}: {refusal.line}")
    hint = did_you_mean(name, [*names(kind), *others])
    raise ConfigError(f"no {kind[:-1]} '{name}'{hint}; a file of your own works by its path")
