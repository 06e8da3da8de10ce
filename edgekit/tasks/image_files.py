"""Where a data set's images lie: a folder per class, a table of paths, or arrays; found without decoding any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ConfigError, did_you_mean
from ..tables import LABEL_NAMES, SPLIT_NAMES, Table, find_splits, normal, read_table
from .columns import plain_label, utf8

#: What an image's file may end with.
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
TABLES = (".csv", ".tsv", ".jsonl", ".parquet")
#: Column names that say where an image lies, in the order of preference.
PATH_NAMES = ("path", "file", "filename", "file name", "image", "image path", "filepath", "img", "name")
#: Names of the arrays of a split in an .npz.
ARRAYS = {
    "train": ("train",), "validation": ("validation", "val", "valid", "dev"), "test": ("test",),
}  # fmt: skip
SHOWN = 5

Listed = tuple[Path, str]  # file, label
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Listing:
    """Files and labels by split: "train" and what else there is, or "all"; and what the user should know."""

    splits: Mapping[str, Sequence[Listed]]
    notes: tuple[str, ...] = ()
    tables: tuple[Path, ...] = ()  # that they are listed in

    @property
    def labels(self) -> set[str]:
        """Every label that occurs."""
        return {label for listed in self.splits.values() for _, label in listed}


def find_images(path: Path, label_column: str | None = None) -> Listing:
    """The images of a folder or table. `label_column` is the name of a table's column of labels; else a known one.

    Raises ConfigError for what is none, or has no images, naming the place.
    """
    if path.is_file():
        if path.suffix.lower() in TABLES:
            return _from_tables({"all": path}, label_column)
        hint = f"; unpack it first: unzip -q {path} -d {path.with_suffix('')}" if path.suffix.lower() == ".zip" else ""
        raise ConfigError(
            f"{path}: images are a folder per class, a table ({', '.join(TABLES)}) of path and label, or an .npz{hint}"
        )
    folders = _folders(path)
    if any(entry.suffix.lower() in TABLES for entry in path.iterdir()) and not folders.keys() & {"train", "training"}:
        return _from_tables(find_splits(path), label_column)
    if label_column:
        raise ConfigError(f"--label-column {label_column}: {path} has a folder for each class; tables have columns")
    named = {SPLIT_NAMES[name.lower()]: folder for name, folder in folders.items() if name.lower() in SPLIT_NAMES}
    if "train" not in named:
        if any(_has_images(inner) for folder in named.values() for inner in _folders(folder).values()):
            there = shown([f"{name}/" for name in folders])
            raise ConfigError(f"{path}: no train folder; found {there}; possible: train/, or a folder for each class")
        listed, other = _classes(path, folders)
        return Listing({"all": listed}, _left_out(other))
    beside = sorted(set(folders) - {folder.name for folder in named.values()})
    notes = [f"{path}: {shown(beside)} beside the splits left out"] if beside else []
    found: dict[str, list[Listed]] = {}
    others: list[Path] = []
    for split, folder in named.items():
        found[split], more = _classes(folder, _folders(folder))
        others += more
    return Listing(found, (*notes, *_left_out(others)))


def _folders(path: Path) -> dict[str, Path]:
    """The folders in a folder by name."""
    return {entry.name: entry for entry in sorted(path.iterdir()) if entry.is_dir() and entry.name[0] not in "._"}


def _has_images(folder: Path) -> bool:
    return any(file.suffix.lower() in SUFFIXES for file in folder.rglob("*"))


def _classes(path: Path, folders: Mapping[str, Path]) -> tuple[list[Listed], list[Path]]:
    """The images of a folder per class, at any depth below it, and files that are none by their names."""
    if not folders:
        loose = sum(entry.suffix.lower() in SUFFIXES for entry in path.iterdir())
        found = f"{loose} images in it, and no folder" if loose else "no folder in it"
        raise ConfigError(f"{path}: {found}; expected a folder for each class, named like it, or a table of paths")
    listed: list[Listed] = []
    other: list[Path] = []
    for label, folder in folders.items():
        if utf8(label) != label:
            raise ConfigError(f"{path}: class folder {label!r}: its name is not UTF-8; possible: another name")
        files = [f for f in sorted(folder.rglob("*")) if f.is_file() and not f.name.startswith(".")]
        images = [f for f in files if f.suffix.lower() in SUFFIXES]
        if not images:
            raise ConfigError(f"{folder}: class '{label}' has no image; possible: {', '.join(SUFFIXES)}")
        listed += [(file, label) for file in images]
        other += [f for f in files if f.suffix.lower() not in SUFFIXES]
    return listed, other


def _left_out(files: Sequence[Path]) -> tuple[str, ...]:
    return (f"{len(files)} files are no images by their names and left out: {shown(files)}",) if files else ()


def shown(names: Sequence[Any]) -> str:
    """The first few of them."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(utf8(str(name)) for name in names[:SHOWN]) + more


def _from_tables(tables: Mapping[str, Path], label_column: str | None) -> Listing:
    """Images by tables of their paths, which are relative to the table."""
    splits: dict[str, list[Listed]] = {}
    problems = []
    for split, file in tables.items():
        table = read_table(file, (*PATH_NAMES, *([label_column] if label_column else [])))
        path, label = _columns(table, label_column)
        rows = [
            (cell, utf8(plain_label(name)))
            for cell, name in zip(table.columns[path], table.columns[label], strict=True)
        ]
        blank = sum(not (cell.strip() and name) for cell, name in rows)
        if blank:
            problems.append(f"{file}: {blank} of {len(rows)} rows have no {path} or no {label}")
        splits[split] = [(file.parent / cell.strip(), name) for cell, name in rows]
        missing = [cell for cell, _ in rows if cell.strip() and not (file.parent / cell.strip()).is_file()]
        if missing:
            problems.append(
                f"{file}: {len(missing)} of {len(rows)} images are missing, relative to {file.parent}: {shown(missing)}"
            )
    if problems:
        raise ConfigError(problems)
    return Listing(splits, tables=tuple(tables.values()))


def _columns(table: Table, label_column: str | None) -> tuple[str, str]:
    """The columns of paths and of labels: by given or known names, else by what they hold. Raises ConfigError."""
    if label_column and label_column not in table.columns:
        raise ConfigError(f"{table.path}: no label column '{label_column}'{did_you_mean(label_column, table.columns)}")
    names = {normal(name): name for name in table.columns}
    path = next((names[name] for name in PATH_NAMES if name in names), None)
    path = path or next((name for name, cells in table.columns.items() if _are_images(cells)), None)
    label = label_column or next((names[n] for n in LABEL_NAMES if n in names and names[n] != path), None)
    others = [name for name in table.columns if name != path]
    label = label or (others[0] if len(others) == 1 else None)
    if path is None or label is None:
        what, known = ("path", PATH_NAMES) if path is None else ("label", LABEL_NAMES)
        raise ConfigError(
            f"{table.path}: no {what} column ({', '.join(known[:4])} …); its columns: {', '.join(table.columns)}"
        )
    return path, label


def _are_images(cells: Sequence[str]) -> bool:
    return all(Path(cell.strip()).suffix.lower() in SUFFIXES for cell in cells)


def read_arrays(path: Path) -> tuple[dict[str, tuple[Array, list[str]]], tuple[str, ...]]:
    """An .npz as images uint8 [n, height, width, channels] and labels by split ("all" without splits), and notes.

    It holds x_train, y_train, and so on for validation and test, or x, y alone; images grey [n, height, width] too,
    as bytes or as fractions 0 to 1. Raises ConfigError. Nothing is unpickled.
    """
    try:
        with path.open("rb") as stream:
            archive = np.load(stream, allow_pickle=False)
            members = {name.lower(): archive[name] for name in getattr(archive, "files", ())}  # a lone .npy has none
    except Exception as error:  # noqa: BLE001 (numpy and zipfile raise a dozen kinds over a damaged file)
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise ConfigError(f"{path}: cannot be read as arrays: {said}") from None
    arrays = {name: member for name, member in members.items() if isinstance(member, np.ndarray)}
    found: dict[str, tuple[Array, list[str]]] = {}
    notes: list[str] = []
    pairs = {split: [(f"x_{word}", f"y_{word}") for word in words] for split, words in ARRAYS.items()}
    for split, names in {**pairs, "all": [("x", "y"), ("images", "labels")]}.items():
        for x, y in names:
            if x in arrays and y in arrays:
                images, note = _bytes(path, x, arrays[x])
                found[split] = images, _names(path, y, arrays[y], len(images))
                notes += note
    if "train" not in found and "all" not in found:
        held = f"arrays {', '.join(sorted(arrays))}" if arrays else "no arrays with names"
        raise ConfigError(f"{path}: found {held}; expected x_train and y_train, or x and y")
    if "train" in found:
        found.pop("all", None)
    return found, tuple(notes)


def _bytes(path: Path, name: str, images: Array) -> tuple[Array, list[str]]:
    """Images as bytes [n, height, width, channels]. Raises ConfigError where they are no images."""
    if images.dtype.kind not in "biuf":
        raise ConfigError(f"{path}: {name}: found {images.dtype}; expected numbers")
    images = images[..., None] if images.ndim == 3 else images
    if images.ndim != 4 or images.shape[3] not in (1, 3, 4) or not images.size:
        raise ConfigError(
            f"{path}: {name}: found {images.dtype} {list(images.shape)}, expected [n, height, width] or "
            "[n, height, width, channels 1, 3 or 4]"
        )
    notes = [f"{name}: the fourth channel, alpha, is dropped"] if images.shape[3] == 4 else []
    images = images[..., :3] if images.shape[3] == 4 else images
    if images.dtype == np.uint8:
        return images, notes
    low, high = (float(value) for value in (images.min(), images.max()))
    if images.dtype.kind == "f" and low >= 0 and high <= 1:
        return np.round(images * 255).astype(np.uint8), [*notes, f"{name}: fractions 0 to 1 became bytes"]
    if images.dtype.kind in "iuf" and low >= 0 and high <= 255 and bool((images == np.round(images)).all()):
        return images.astype(np.uint8), notes
    raise ConfigError(f"{path}: {name}: values from {low:g} to {high:g}; expected bytes 0 to 255, or fractions 0 to 1")


def _names(path: Path, name: str, labels: Array, count: int) -> list[str]:
    if labels.shape[:1] != (count,) or labels.size != count or labels.dtype.kind not in "iuU":
        raise ConfigError(
            f"{path}: {name}: found {labels.dtype} {list(labels.shape)}, expected a number or a name for each of "
            f"{count} images"
        )
    return [utf8(str(label)) for label in labels.ravel().tolist()]
