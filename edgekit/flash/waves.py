"""Which devices of a fleet go first, and how many of them may fail."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor

from ..errors import ConfigError

_SHARE = re.compile(r"(?P<percent>[0-9]{1,3}(\.[0-9]{1,6})?)%|(?P<count>[0-9]{1,9})")


@dataclass(frozen=True)
class Share:
    """A number of devices, or a percentage of them, as a user writes it: `3`, `25%`."""

    text: str

    def __post_init__(self) -> None:
        found = _SHARE.fullmatch(self.text)
        if not found or Fraction(found["percent"] or 0) > 100:
            raise ConfigError(f"found {self.text!r}, expected a number of devices, or a share of them such as 25%")

    def of(self, total: int) -> Fraction:
        """How many that are, exactly."""
        if self.text.endswith("%"):
            return Fraction(self.text[:-1]) * total / 100
        return Fraction(self.text)


@dataclass(frozen=True)
class Policy:
    """How a fleet is flashed. None: no canary, all others in one wave.

    `max_failures` is per wave; None lets no device fail where there are waves, and any number where there are none.
    """

    canary: Share | None = None
    wave: Share | None = None
    max_failures: Share | None = None

    @property
    def has_waves(self) -> bool:
        """Whether some devices wait for how others fare."""
        return bool(self.canary or self.wave)

    def document(self) -> dict[str, str | None]:
        """For a record and --json."""
        return {key: share and share.text for key, share in vars(self).items()}


def make_policy(canary: str | None = None, wave: str | None = None, max_failures: str | None = None) -> Policy:
    """A policy as it was written on the command line. Raises ConfigError with a line for every fault."""
    given = {"canary": canary, "wave": wave, "max_failures": max_failures}
    shares: dict[str, Share] = {}
    problems: list[str] = []
    for key, text in given.items():
        option = f"--{key.replace('_', '-')}"
        try:
            if text is not None:
                shares[key] = Share(text)
        except ConfigError as error:
            problems.append(f"{option}: {error}")
    if "wave" in shares and not shares["wave"].of(100):
        problems.append(f"--wave: found {wave!r}: no device would ever be flashed; expected 1 or more")
    if problems:
        raise ConfigError(problems)
    return Policy(**shares)


@dataclass(frozen=True)
class Wave:
    """Devices that are flashed before the next ones, if no more than `allowed` of them fail."""

    name: str
    devices: tuple[str, ...]
    allowed: int


def plan_waves(devices: Sequence[str], policy: Policy) -> tuple[Wave, ...]:
    """The waves, in the devices' order; a share of the fleet is rounded up. None of the canary may fail."""
    return tuple(_waves(tuple(devices), policy))


def _waves(devices: tuple[str, ...], policy: Policy) -> Iterator[Wave]:
    canary = ceil(policy.canary.of(len(devices))) if policy.canary else 0
    if canary:
        yield Wave("canary", devices[:canary], 0)
    rest = devices[canary:]
    size = ceil(policy.wave.of(len(devices))) if policy.wave else len(rest)
    for number, begin in enumerate(range(0, len(rest), size or 1), 1):
        members = rest[begin : begin + size]
        yield Wave(f"wave {number}", members, _allowed(len(members), policy))


def _allowed(count: int, policy: Policy) -> int:
    """How many of a wave's devices may fail, rounded down."""
    if policy.max_failures:
        return min(floor(policy.max_failures.of(count)), count)
    return 0 if policy.has_waves else count
