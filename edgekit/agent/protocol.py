"""Requests and answers of the agent, and the three kinds of trouble that it has words for.

Every request holds `protocol` and `base`, and may hold `wait_s` (how long another agent is waited for). Every answer
holds `ok`; one that is not ok holds `error`, one line, and `kind`: refused (it must not be), failed (it could not be),
busy (another agent is at it). `recovered` says what a crash had left to do, where it had left anything.
"""

from __future__ import annotations

from typing import Any, TypedDict

from .errors import Refused

PROTOCOL = 1
#: A manifest of 16 MiB, escaped, and the rest.
MAX_REQUEST_BYTES = 40 << 20
#: What becomes no path and no word of a command line.
_ANY_TEXT = ("manifest", "signature", "input")


class Release(TypedDict):
    """A release as probe and show name it."""

    digest: str
    name: str | None
    #: When it was signed, by the signer's clock; None for an unsigned one.
    signed_unix: int | None


class ProbeAnswer(TypedDict):
    """`probe`: packages: [names]; python: null or path whose packages are meant; check: read all of current."""

    os: str  # "Linux"
    system: str  # the distribution as it calls itself
    arch: str
    libc: list[str | None]
    pythons: dict[str, str]
    python: str
    free_mb: float | None
    memory_mb: float | None
    runtime: dict[str, str | None]
    time_unix: float
    current: Release | None
    #: Whether it may run: as its manifest says, and trusted; None where nothing is current or `check` was not asked.
    current_whole: bool | None
    current_problem: str | None
    #: sha256 of its signature file, None for an unsigned one.
    current_signature: str | None
    #: What a switch that another agent is at makes current; "unknown" where its note cannot be read.
    pending: str | None
    previous: Release | None
    releases: list[str]
    trusts_signed_only: bool
    machine: str | None
    base: str
    base_writable: bool
    problem: str | None


class Needed(TypedDict):
    """A file that the device lacks; `have` bytes of it have arrived, at `path`."""

    sha256: str
    size: int
    have: int
    path: str


class WantAnswer(TypedDict):
    """`want`: manifest (text); signature (text or null); allow_older; dry (nothing is written, no lock is held)."""

    digest: str
    needed: list[Needed]
    total_bytes: int
    staged: bool
    signer: str | None
    signed_unix: int | None


class StageAnswer(TypedDict):
    """`stage`: digest."""

    digest: str
    path: str
    files: int
    repaired: list[str]


class RuntimeAnswer(TypedDict):
    """`install_runtime`: digest; python: null or path; timeout_s. From the release's own wheels/ only."""

    digest: str
    python: str
    packages: list[str]
    installed: bool


class VerifyAnswer(TypedDict):
    """`verify`: digest; python: null or path; timeout_s. `report` is what `python -m ondevice verify --json` said."""

    digest: str
    python: str
    report: dict[str, Any]
    seconds: float


class SwitchAnswer(TypedDict):
    """`activate`: digest; python; health_s; limit_s; allow_older. `rollback`: to: null or digest; force; and the same.

    health_s: what each of the golden samples before the switch, those after it and the service may take; limit_s: null
    or what all of them together may, from when the lock is held.

    Where the health check fails the answer is not ok, says `current` as it is again, and `report` or null.
    """

    digest: str
    previous: str | None
    switched: bool
    report: dict[str, Any]
    hints: list[str]  # what to do about what is not quite as it should be
    seconds: float


class InstallAnswer(SwitchAnswer):
    """`install`: bundle (its folder); service: null or the fields of that command; the rest as for `activate`."""

    #: Whether the release was not here before.
    installed: bool
    service: dict[str, Any] | None


class RunAnswer(TypedDict):
    """`run`: words; python; input: null or text for its stdin; timeout_s: null or seconds. Its stdout comes first."""

    digest: str
    code: int


class Request:
    """A request whose fields are read one by one; what is missing or of another type is refused by its name."""

    def __init__(self, content: object) -> None:
        if not isinstance(content, dict):
            raise Refused("request: expected one JSON object")
        if content.get("protocol") != PROTOCOL or isinstance(content["protocol"], bool):
            raise Refused(f"request: protocol {content.get('protocol')!r}, this agent knows {PROTOCOL}")
        self._content = content

    def with_fields(self, /, **fields: Any) -> Request:
        """The same request with other values for some fields."""
        return Request({**self._content, **fields})

    def text(self, key: str) -> str:
        """A text that must be there."""
        value = self._content.get(key)
        if not isinstance(value, str):
            raise Refused(f"request: '{key}': found {value!r:.60}, expected a text")
        if "\0" in value and key not in _ANY_TEXT:
            raise Refused(f"request: '{key}': found {value!r:.60}, which holds a NUL")
        return value

    def text_or_none(self, key: str) -> str | None:
        """A text, or None for null or nothing."""
        return None if self._content.get(key) is None else self.text(key)

    def flag(self, key: str) -> bool:
        """True or false; false where it is not there."""
        value = self._content.get(key, False)
        if not isinstance(value, bool):
            raise Refused(f"request: '{key}': found {value!r:.60}, expected true or false")
        return value

    def number(self, key: str, default: float) -> float:
        """A number of seconds or of things, 0 or more."""
        value = self._content.get(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1e9:
            raise Refused(f"request: '{key}': found {value!r:.60}, expected a number from 0 on")
        return value

    def number_or_none(self, key: str) -> float | None:
        """A number, or None for null or nothing."""
        return None if self._content.get(key) is None else self.number(key, 0)

    def texts(self, key: str) -> list[str]:
        """A list of texts; empty where it is not there."""
        value = self._content.get(key, [])
        if not isinstance(value, list) or not all(isinstance(v, str) and "\0" not in v for v in value):
            raise Refused(f"request: '{key}': found {value!r:.60}, expected a list of texts")
        return value

    def fields_or_none(self, key: str) -> dict[str, Any] | None:
        """An object, or None for null or nothing."""
        value = self._content.get(key)
        if value is not None and not isinstance(value, dict):
            raise Refused(f"request: '{key}': found {value!r:.60}, expected an object")
        return value
