"""What came of flashing: a result per device, and whoever wants to watch meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol, Self

from ..bundle import Bundle

SCHEMA = 1
KIND = "edgekit-flash"

#: flashed: it runs the bundle now. unchanged: it did so before. planned: a dry run. failed: it runs what it ran.
#: Only in fleets: rolled-back: it was flashed, and runs what it ran, because too many others failed. not-tried.
Outcome = Literal["flashed", "unchanged", "planned", "failed", "rolled-back", "not-tried"]


@dataclass(frozen=True)
class Step:
    """A finished step."""

    name: str
    seconds: float
    note: str = ""


@dataclass
class Transfer:
    """What the device lacks of a bundle, and what travelled. Bytes of files; what ssh adds is not in it."""

    files: int = 0
    bytes_missing: int = 0
    bytes_resumed: int = 0  # of files that had arrived in part
    bytes_sent: int = 0
    seconds: float = 0.0

    @property
    def rate_mb_s(self) -> float | None:
        """Megabytes (10^6) a second; None where nothing travelled."""
        return self.bytes_sent / 1e6 / self.seconds if self.bytes_sent and self.seconds else None


@dataclass
class FlashResult:
    """One device. `error` is the line that ended it, `exit_code` that error's own."""

    device: str
    address: str
    outcome: Outcome = "failed"
    seconds: float = 0.0
    steps: list[Step] = field(default_factory=list)
    transfer: Transfer = field(default_factory=Transfer)
    bytes_sent: int = 0  # files, requests and, the first time, the agent
    previous: str | None = None  # digest of what it ran before
    board: str | None = None
    runtime: str | None = None  # "ai-edge-litert 2.3.0", by the verification there
    max_difference: float | None = None  # logits, golden samples there against the host's
    tolerance: float | None = None
    service: str | None = None  # where it serves, with --service
    notes: list[str] = field(default_factory=list)
    error: str | None = None
    exit_code: int = 0

    @property
    def ok(self) -> bool:
        """Whether the device is as it was asked to be."""
        return self.outcome in ("flashed", "unchanged", "planned")

    def document(self) -> dict[str, Any]:
        """For --json."""
        return {**asdict(self), "ok": self.ok}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """What `document` wrote. Raises KeyError and TypeError for anything else."""
        facts = {key: value for key, value in document.items() if key != "ok"}
        steps = [Step(**step) for step in facts.pop("steps")]
        return cls(**facts | {"steps": steps, "transfer": Transfer(**facts["transfer"])})


def document(bundle: Bundle, results: list[FlashResult]) -> dict[str, Any]:
    """One run of `edgekit flash`."""
    return {
        "schema": SCHEMA,
        "kind": KIND,
        "bundle": {"name": bundle.manifest.get("name"), "digest": bundle.digest, "path": str(bundle.named)},
        "ok": all(result.ok for result in results),
        "devices": [result.document() for result in results],
    }


class Reporter(Protocol):
    """Watches one device after the other. An EdgekitError that it raises ends that device."""

    def started(self, device: str, step: str) -> None:
        """A step begins."""

    def probed(self, device: str, current: str | None) -> None:
        """What the device runs, before anything changes there."""

    def progress(self, done: int, total: int) -> None:
        """Bytes of the running step."""

    def heard(self, line: str) -> None:
        """What the device says meanwhile."""

    def finished(self, device: str, step: Step) -> None:
        """A step is done."""

    def ended(self, result: FlashResult) -> None:
        """A device is done, well or not."""


class Silent:
    """A reporter for whom nobody looks."""

    def started(self, device: str, step: str) -> None:
        """Nothing."""

    def probed(self, device: str, current: str | None) -> None:
        """Nothing."""

    def progress(self, done: int, total: int) -> None:
        """Nothing."""

    def heard(self, line: str) -> None:
        """Nothing."""

    def finished(self, device: str, step: Step) -> None:
        """Nothing."""

    def ended(self, result: FlashResult) -> None:
        """Nothing."""
