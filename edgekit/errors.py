"""One tree of errors; each class is one kind of trouble with its own exit code.

    EdgekitError        1
    ├── ConfigError     2   a recipe, target, option or input that cannot be used
    ├── PlanError       3   recipe and target do not fit each other, or not this teacher
    ├── StageError      4   a stage could not do its work
    │   └── MissingExtra    … because its frameworks are not installed
    ├── AccuracyError   5   the artifact works but keeps too little of the teacher
    ├── BundleError     6   a bundle that is incomplete, changed or of another schema
    ├── StoreError      7   the store cannot be used: newer schema, full disk, no permission
    ├── ProfileError    8   a profile that cannot be made, read, or set beside another
    ├── TransportError  9   a device cannot be reached, or the line to it broke
    └── DeviceError    10   a device was reached, and refuses or cannot

A message is one line: it names the file and the key, what was found, and what is possible.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


class EdgekitError(Exception):
    """Anything that edgekit can explain in one line; the command line prints it and ends."""

    exit_code = 1


class ConfigError(EdgekitError):
    """A recipe, a target, an option or an input file that cannot be used as it is.

    Holds every problem that was found, so that a user mends a file once.
    """

    exit_code = 2

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class PlanError(EdgekitError):
    """The recipe, the target and the teacher do not fit together; the message says what would."""

    exit_code = 3


class StageError(EdgekitError):
    """A stage could not do its work on this input."""

    exit_code = 4


class MissingExtra(StageError):
    """A framework that a stage needs is not installed."""

    def __init__(self, stage: str, package: str, extra: str) -> None:
        super().__init__(f"{stage}: needs {package}, which is not installed: pip install 'edgekit[{extra}]'")


class AccuracyError(EdgekitError):
    """The artifact was built and runs, but keeps less of the teacher than the recipe asks."""

    exit_code = 5


class BundleError(EdgekitError):
    """A bundle that is incomplete, was changed, or has a schema that this edgekit does not know."""

    exit_code = 6


class StoreError(EdgekitError):
    """The store of finished steps cannot be used: newer schema, full disk, no permission."""

    exit_code = 7


class ProfileError(EdgekitError):
    """A profile that cannot be made or read, or that is unlike what it should be compared with."""

    exit_code = 8


class TransportError(EdgekitError):
    """A device that cannot be reached, or a line that broke; the message says what to do."""

    exit_code = 9


class DeviceError(EdgekitError):
    """A device that was reached, and refuses what it is asked or cannot do it."""

    exit_code = 10


def did_you_mean(found: str, possible: Iterable[str]) -> str:
    """The tail of a refusal: `; did you mean 'x'?`, or `; possible: a, b, c` where nothing is near."""
    names = sorted(possible)
    near = get_close_matches(found, names, n=1)
    if near:
        return f"; did you mean '{near[0]}'?"
    return f"; possible: {', '.join(names)}" if names else ""
