"""What to call each run: a letter that is unique on the page, and the parts in which the runs differ."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..profile import Profile
from .content import Cell, mark_words
from .drawing import clean
from .strips import Heading


@dataclass(frozen=True)
class Run:
    """A profile with its names."""

    letter: str  # A, B … Z, AA
    profile: Profile
    model: str
    where: str  # the board, and what else tells it from the others
    badges: list[str]

    @property
    def label(self) -> str:
        """Its names without the letter."""
        return f"{self.model}, {self.where}" if self.where else self.model

    @property
    def name(self) -> str:
        """Letter and label."""
        return f"{self.letter}  {self.label}"

    def heading(self, figure: str, badges: Sequence[str] | None = None) -> Heading:
        """What stands above a run's row in a drawing."""
        return Heading(f"{self.letter}  {self.model}", figure, self.where, self.badges if badges is None else badges)

    @property
    def cell(self) -> Cell:
        """The head of a run's row in a table."""
        return Cell(f"{self.letter}  {self.model}", self.where, self.badges)


def name_runs(profiles: Sequence[Profile]) -> list[Run]:
    """Every run with its letter, its model's name, its board, and of the rest what tells it from the others."""
    parts = [_parts(p) for p in profiles]
    chosen = ["name", "board"]
    for key in list(parts[0])[2:] if parts else []:
        if _count(parts, [*chosen, key]) > _count(parts, chosen):
            chosen.append(key)
    runs = []
    for position, (profile, part) in enumerate(zip(profiles, parts, strict=True)):
        sample = ["sample task"] if profile.subject.sample_task else []
        where = ", ".join(part[key] for key in chosen[1:] if part[key])
        runs.append(Run(_letter(position), profile, part["name"], where, mark_words([*profile.marks, *sample])))
    return runs


def _count(parts: Sequence[dict[str, str]], keys: Sequence[str]) -> int:
    """How many runs these keys tell apart."""
    return len({tuple(part[key] for key in keys) for part in parts})


def board(profile: Profile) -> str:
    """What it ran on, in a few words."""
    machine = profile.machine
    found = machine.board or machine.cpu or machine.soc or machine.arch
    return clean(re.sub(r" Rev [\d.]+$", "", found.strip()))


def _parts(profile: Profile) -> dict[str, str]:
    subject = profile.subject
    return {
        "name": clean(subject.name),
        "board": board(profile),
        "runtime": clean(f"{subject.runtime_package} {subject.runtime_version}"),
        "device": clean(subject.device),
        "threads": f"{subject.threads} thread{'s' if subject.threads != 1 else ''}",
        "affinity": f"processors {', '.join(map(str, profile.settings.affinity))}" if profile.settings.affinity else "",
        "governor": clean(profile.machine.governor or ""),
        "created": profile.created,
    }


def _letter(position: int) -> str:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return alphabet[position] if position < 26 else _letter(position // 26 - 1) + alphabet[position % 26]
