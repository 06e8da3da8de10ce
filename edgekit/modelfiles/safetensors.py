"""A .safetensors file, looked at without loading it, and whether its tensors are those of its config.json."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

from ..errors import ConfigError
from ..shape import Shape

#: safetensors' own limit for a header, in bytes.
HEADER_MOST = 100_000_000


def read_safetensors_header(path: Path) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor by name, of a file whose header fits its size. Raises ConfigError for a damaged one.

    Format: 8 bytes little-endian length of the header, the header as JSON {name: {dtype, shape, data_offsets}},
    then the tensors without gaps (https://huggingface.co/docs/safetensors).
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        start = stream.read(8)
        if start == b"version ":
            raise ConfigError(f"{path}: a git-lfs pointer, not the weights; fetch them with: git lfs pull")
        length = int.from_bytes(start, "little")
        if len(start) < 8 or length > min(size - 8, HEADER_MOST):
            raise ConfigError(f"{path}: damaged or cut off: its header does not fit into {size} bytes")
        try:
            header = json.loads(stream.read(length))
            spans = sorted(entry["data_offsets"] for name, entry in header.items() if name != "__metadata__")
            shapes = {name: tuple(entry["shape"]) for name, entry in header.items() if name != "__metadata__"}
            gaps = any(first[1] != second[0] for first, second in pairwise(spans))
            end = 8 + length + (spans[-1][1] if spans else 0)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError):
            raise ConfigError(f"{path}: damaged: its header is not that of a safetensors file") from None
    if not spans:
        raise ConfigError(f"{path}: holds no tensors")
    if end != size or gaps or spans[0][0] != 0:
        raise ConfigError(f"{path}: damaged or cut off: {size} bytes where its header says {end}")
    return shapes


def check_sizes(shape: Shape, tensors: Mapping[str, tuple[int, ...]], path: Path) -> None:
    """Compare what config.json says with the sizes of the weights in `path`. Raises ConfigError naming both.

    Old and new names of tensors end alike: `layer.3.…`, `word_embeddings.weight`, `classifier.weight`.
    """
    found = {int(number[1]) for name in tensors if (number := re.search(r"(?:^|\.)layer\.(\d+)\.", name))}
    if found and max(found) + 1 != len(shape.layers):
        raise ConfigError(f"{path}: has {max(found) + 1} layers, but config.json says {len(shape.layers)}")
    for ending, wanted in (
        ("word_embeddings.weight", (shape.vocabulary, shape.embedding or shape.hidden)),
        ("position_embeddings.weight", (shape.positions, shape.hidden)),
        ("classifier.weight", (len(shape.labels), shape.hidden)),
    ):
        for name, size in tensors.items():
            if f".{name}".endswith(f".{ending}") and size != wanted:
                raise ConfigError(
                    f"{path}: tensor '{name}' has the shape {list(size)}, config.json asks for {list(wanted)}"
                )
