"""Which of the teacher's label ids a label in the data means."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from ..errors import ConfigError


def match_labels(
    found: Collection[str], teacher: Sequence[str], where: str
) -> tuple[tuple[str, ...], Mapping[str, int]]:
    """The label names in the order of their ids, and the id of every label that occurs in the data.

    With a teacher its names and order hold: the data's labels are among its names (upper and lower case alike), or
    they are its ids 0 … n-1. Without one the data's labels are sorted, numbers by value. Raises ConfigError, naming
    `where` the labels stand, for labels that the teacher does not know.
    """
    numbers = all(re.fullmatch(r"-?\d+", label) for label in found)
    if not teacher:
        names = sorted(found, key=int) if numbers else sorted(found)
        return tuple(names), {name: at for at, name in enumerate(names)}
    ids = {name.casefold(): at for at, name in enumerate(teacher)}
    if len(ids) == len(teacher) and all(label.casefold() in ids for label in found):
        return tuple(teacher), {label: ids[label.casefold()] for label in found}
    knows = f"the teacher knows {_listed(teacher)}"
    if numbers:
        outside = sorted((label for label in found if not 0 <= int(label) < len(teacher)), key=int)
        if outside:
            raise ConfigError(f"{where}: labels {_listed(outside)} are no ids; {knows}, so 0 … {len(teacher) - 1}")
        return tuple(teacher), {label: int(label) for label in found}
    if all(re.fullmatch(r"LABEL_\d+", name) for name in teacher):
        raise ConfigError(
            f"{where}: labels {_listed(sorted(found))}, but the teacher's config.json names its own LABEL_0 … "
            f"LABEL_{len(teacher) - 1}, so which is which cannot be known; possible: real names in its id2label, "
            "or ids as labels in the data"
        )
    unknown = sorted(label for label in found if label.casefold() not in ids)
    raise ConfigError(f"{where}: labels {_listed(unknown)} are not the teacher's; {knows}")


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:8])
    return f"{shown} and {len(names) - 8} more" if len(names) > 8 else shown
