"""What a fleet's run has done, line by line as it happens: the file that `--resume` goes on from.

The first line says which bundle goes to which devices in which waves; the file appears with it or not at all. Each
later line is one event, on the disk before what follows it begins. A line that a power cut tore is none.

begin   a device's turn has come            probe   what it ran then, before anything changed there
end     what came of it                     halt    too many failed; the wave goes back from here on
settle  … and has gone back                 stop    somebody stopped it; who was at work then
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from ..atomic import write_text
from ..bundle import Bundle
from ..errors import ConfigError, EdgekitError
from ..inventory import Device
from .result import FlashResult
from .waves import Policy, Share, Wave, plan_waves

SCHEMA = 2
KIND = "edgekit-flash-record"
#: The step of a device that has gone back.
BACK = "back"


@dataclass
class Entry:
    """What is known of one device. `before` is the digest that it ran before this run, once it is `probed`.

    In `doubt` is a device that an earlier try may have made run the bundle: the steps of a later one say nothing of it.
    """

    probed: bool = False
    before: str | None = None
    doubt: bool = False
    result: FlashResult | None = None

    @property
    def is_done(self) -> bool:
        """Whether it needs no more."""
        return self.result is not None and self.result.ok

    def may_be_switched(self, digest: str) -> bool:
        """Whether the run made the device run its bundle, or may have: a line can break in the middle of the switch."""
        if not self.probed or self.before == digest:
            return False
        if self.result is None or self.result.outcome == "flashed":
            return True
        steps = [step.name for step in self.result.steps]  # none: a fault of edgekit's own, which may come at any step
        if self.result.outcome != "failed" or BACK in steps:
            return False
        return self.doubt or not steps or "verify" in steps

    def begin(self, digest: str) -> None:
        """Another try: what an earlier one found there counts only where that one may have changed it."""
        self.doubt = self.may_be_switched(digest)
        self.probed, self.result = self.doubt, None

    def probe(self, digest: str, current: str | None) -> None:
        """What it runs now; the bundle, where an earlier try put it there, is not what it ran before."""
        if not self.doubt or current != digest:
            self.before = current
        self.probed = True


@dataclass(frozen=True)
class Head:
    """What a run is about."""

    digest: str
    policy: Policy
    waves: tuple[Wave, ...]
    devices: Mapping[str, Mapping[str, str]]  # address and base: together they are one place

    def document(self, bundle: Bundle) -> dict[str, Any]:
        """The first line."""
        waves = [{"name": w.name, "allowed": w.allowed, "devices": w.devices} for w in self.waves]
        about = {"name": bundle.manifest.get("name"), "digest": self.digest, "path": str(bundle.named.absolute())}
        return {
            "kind": KIND, "schema": SCHEMA, "time_unix": round(time.time(), 3), "bundle": about,
            "policy": self.policy.document(), "waves": waves, "devices": dict(self.devices),
        }  # fmt: skip

    @classmethod
    def from_document(cls, content: Mapping[str, Any]) -> Self:
        """What `document` wrote. Raises KeyError, TypeError, AttributeError and ConfigError for anything else."""
        waves = tuple(Wave(str(w["name"]), tuple(w["devices"]), int(w["allowed"])) for w in content["waves"])
        policy = Policy(**{key: text and Share(text) for key, text in content["policy"].items()})
        head = cls(str(content["bundle"]["digest"]), policy, waves, _places(content["devices"]))
        if {name for wave in waves for name in wave.devices} != set(head.devices):
            raise KeyError("devices")
        return head


class Record:
    """A run's events, and what they come to. Without a path they are kept in memory only, as for a dry run."""

    def __init__(self, head: Head, path: Path | None = None, handle: int | None = None) -> None:
        self.head = head
        self.path = path
        self.entries = {name: Entry() for name in head.devices}
        self.halted: str | None = None  # the wave that goes back, until it has
        self.why = ""  # … it does
        self._handle = handle
        self._lock = threading.Lock()

    def append(self, event: str, **facts: Any) -> None:
        """Write an event down. Raises EdgekitError where the disk does not take it; it is known here all the same."""
        line = {"event": event, "time_unix": round(time.time(), 3), **facts}
        with self._lock:
            self._apply(line)
            if self._handle is not None:
                self._write(json.dumps(line).encode() + b"\n", self._handle)

    def begin(self, device: str) -> None:
        """A device's turn has come."""
        self.append("begin", device=device)

    def probe(self, device: str, current: str | None) -> None:
        """What it runs."""
        self.append("probe", device=device, current=current)

    def end(self, result: FlashResult) -> None:
        """What came of a device."""
        self.append("end", device=result.device, result=result.document())

    def close(self) -> None:
        """Let another process have it."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def _apply(self, line: Mapping[str, Any]) -> None:
        match line["event"]:
            case "begin":
                self.entries[line["device"]].begin(self.head.digest)
            case "probe":
                self.entries[line["device"]].probe(self.head.digest, line["current"])
            case "end":
                self.entries[line["device"]].result = FlashResult.from_document(line["result"])
            case "halt":
                self.halted, self.why = str(line["wave"]), str(line["why"])
            case "settle":
                self.halted = None

    def _write(self, line: bytes, handle: int) -> None:
        begin = os.lseek(handle, 0, os.SEEK_END)
        try:
            written = os.write(handle, line)
            if written < len(line):  # a disk that is full takes a part, and says so to the next
                os.write(handle, line[written:])
            os.fsync(handle)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(handle, begin)
            raise EdgekitError(
                f"{self.path}: cannot be written: {error.strerror}; no more devices were begun"
            ) from None

    def replay(self, content: bytes) -> None:
        """Take in the events of a file. Raises ConfigError for a line that no edgekit wrote."""
        for number, line in enumerate(content.splitlines()[1:], 2):
            try:
                self._apply(json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError):
                raise ConfigError(f"{self.path}: line {number}: not a line of a record; was it edited?") from None


def make_head(bundle: Bundle, devices: Sequence[Device], policy: Policy) -> Head:
    """A new run. Raises ConfigError where two names mean one device: it would be flashed twice."""
    places: dict[tuple[str, str], str] = {}
    for device in devices:
        other = places.setdefault((str(device.address), device.base), device.name)
        if other != device.name:
            raise ConfigError(f"{other} and {device.name}: one and the same device ({device.address}); name it once")
    found = {device.name: {"address": str(device.address), "base": device.base} for device in devices}
    return Head(bundle.digest, policy, plan_waves(list(found), policy), found)


def _places(found: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    return {name: {key: str(place[key]) for key in ("address", "base")} for name, place in found.items()}


def default_path(bundle: Bundle) -> Path:
    """In $XDG_STATE_HOME/edgekit/flash, by default ~/.local/state/edgekit/flash."""
    base = os.environ.get("XDG_STATE_HOME")
    folder = (Path(base) if base else Path.home() / ".local" / "state") / "edgekit" / "flash"
    return folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{bundle.digest[:8]}-{os.getpid()}.jsonl"


def create_record(path: Path, bundle: Bundle, head: Head) -> Record:
    """Begin a record. Raises ConfigError where there is a file, or none can be."""
    if path.exists():
        raise ConfigError(f"{path}: is there already; --resume {path} goes on from it, another --record begins anew")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(head.document(bundle)) + "\n")
        return Record(head, path, _open(path))
    except OSError as error:
        raise ConfigError(
            f"{path}: no record can be kept there: {error.strerror}; name a place (--record FILE)"
        ) from None


def resume_record(path: Path, bundle: Bundle, devices: Sequence[Device], policy: Policy) -> Record:
    """Open a record to go on from it; what a power cut tore is cut off.

    Raises ConfigError for what is no record, is being written, or is of another bundle, devices or waves.
    """
    try:
        handle = _open(path)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    try:
        head = _read_head(path, whole)
        _check_same(path, head, bundle, devices, policy)
        record = Record(head, path, handle)
        record.replay(whole)
    except ConfigError:
        os.close(handle)
        raise
    os.ftruncate(handle, len(whole))
    return record


def _open(path: Path) -> int:
    """Open it for this process alone."""
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise ConfigError(f"{path}: another edgekit is at work on this run; wait until it has ended") from None
    return handle


def _read_head(path: Path, content: bytes) -> Head:
    try:
        line = json.loads(content.split(b"\n", 1)[0])
        schema = line["schema"] if line["kind"] == KIND else None
        if schema == SCHEMA:
            return Head.from_document(line)
    except (ValueError, KeyError, TypeError, AttributeError, ConfigError):
        schema = None
    if schema is None:
        raise ConfigError(f"{path}: not a record of `edgekit flash`")
    raise ConfigError(f"{path}: schema {schema}, this edgekit knows {SCHEMA}; go on with the edgekit that began it")


def _check_same(path: Path, head: Head, bundle: Bundle, devices: Sequence[Device], policy: Policy) -> None:
    """Whether this is the run that was begun."""
    problems = []
    if head.digest != bundle.digest:
        problems.append(f"begun with bundle {head.digest[:16]}, not with {bundle.named} ({bundle.digest[:16]})")
    given = make_head(bundle, devices, policy).devices
    problems += _unlike("is not given now", set(head.devices) - set(given))
    problems += _unlike("was not among its devices", set(given) - set(head.devices))
    problems += [
        f"{name}: its {key} was {was}, and is {given[name][key]} now"
        for name, place in head.devices.items()
        for key, was in place.items()
        if name in given and given[name][key] != was
    ]
    begun = head.policy.document()
    problems += [
        f"--{key.replace('_', '-')} was {begun[key] or 'not given'}, and is {text} now; leave it out"
        for key, text in policy.document().items()
        if text is not None and text != begun[key]
    ]
    if problems:
        raise ConfigError([f"{path}: {problem}" for problem in problems])


def _unlike(what: str, names: Iterable[str]) -> list[str]:
    """One line for all of them."""
    found = sorted(names)
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return [f"device {found[0]}{more} {what}"] if found else []
