"""A bundle into a copy of an image: copy, look, fit, write, check. The copy appears when all of it is right."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ..agent.errors import Trouble
from ..agent.manifest import SIGNATURE_NAME, read_manifest
from ..agentfile import build_agent
from ..atomic import sync_folder
from ..bundle import Bundle, unpack
from ..devicebase import is_own, is_within
from ..errors import BundleError, ConfigError
from ..flash import Step
from ..sign import check as check_signature
from .copy import copy_image, finish
from .ext import ExtFiles, File
from .fat import Fat
from .filesystem import EXT, FAT, Ext, kind_of, read_ext
from .firstboot import BUNDLE, CMDLINE, HERE, SCRIPT, UNIT, UNIT_LINK, Plan, Way, boot_file, own_files
from .fit import objections
from .place import check_base, check_out
from .system import System, is_root, look
from .table import Partition, read_table
from .tools import DISK, check_tools
from .work import work_folder

SCHEMA = 1
KIND = "edgekit-image"
BASE = "/opt/edgekit"
#: Room on the boot partition for what is written there, now and at the first boot.
_BOOT_BYTES = 64 << 10
_PATH = re.compile(r"(/[A-Za-z0-9_+@][A-Za-z0-9_.+@-]*)+\Z")
_ACCOUNT = re.compile(r"[a-z_][a-z0-9_-]{0,31}\Z")


@dataclass(frozen=True)
class ImageOptions:
    """What the board gets. `way` None is the image's own; `account` None its first user; `service` None for none."""

    base: str = BASE
    python: str | None = None
    account: str | None = None
    way: Way | None = None
    service: Mapping[str, Any] | None = None
    signers: Path | None = None  # who may sign for this board, from now on
    health_s: float = 300.0
    replace: bool = False


@dataclass
class ImageResult:
    """An image with a bundle in it. sha256 of the whole file, as rpi-imager and others compare it."""

    path: Path
    size_bytes: int
    sha256: str
    base: Path
    base_sha256: str
    system: System
    way: Way
    options: ImageOptions
    bundle: Bundle
    steps: list[Step] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """For --json."""
        return {
            "schema": SCHEMA,
            "kind": KIND,
            "image": {"path": str(self.path.absolute()), "size_bytes": self.size_bytes, "sha256": self.sha256},
            "base": {"path": str(self.base), "sha256": self.base_sha256},
            "system": {**asdict(self.system), "packages": sorted(self.system.packages)},
            "bundle": {"name": self.bundle.manifest.get("name"), "digest": self.bundle.digest},
            "first_boot": self.way,
            "device_base": self.options.base,
            "service": None if self.options.service is None else dict(self.options.service),
            "steps": [asdict(step) for step in self.steps],
        }


class Watcher(Protocol):
    """Sees the steps pass by."""

    def started(self, name: str) -> None:
        """A step begins."""

    def progress(self, done: int, total: int | None) -> None:
        """Bytes of the running step, and of how many where that is known."""

    def finished(self, step: Step) -> None:
        """A step is done."""


def make_image(base: Path, bundle: Bundle, out: Path, options: ImageOptions, watcher: Watcher) -> ImageResult:
    """Write the image `out`: `base` with the bundle, which the board installs at its first boot.

    Raises ConfigError for an image or a place that cannot be used, BundleError for a bundle that a board refuses.
    """
    _check_options(options)
    check_tools()
    try:
        is_xz = check_base(base)
        real = check_out(out, base, options.replace)
        with work_folder(real.parent) as work:
            if bundle.path.is_file():
                bundle = unpack(bundle.path, work / "unpacked")
            _check_bundle(bundle, options)
            (work / "bundle").symlink_to(bundle.path.resolve())
            result = _Run(base, bundle, options, watcher, work).go(is_xz)
            (work / DISK).replace(real)
        sync_folder(real.parent)
    except OSError as error:
        raise ConfigError(f"{out}: cannot be made: {error.strerror} ({error.filename or 'while writing'})") from None
    result.path = out
    return result


def _check_options(options: ImageOptions) -> None:
    """Raise ConfigError with a line for each that no board could follow."""
    problems = []
    for option, value in (("--base", options.base), ("--python", options.python)):
        if value is not None and not _PATH.match(value):
            problems.append(f"{option}: found {value!r:.80}, expected a whole path on the board, without blanks")
    if not problems and (not is_own(options.base) or is_within(options.base, HERE) or is_within(HERE, options.base)):
        problems.append(
            f"--base: found {options.base!r:.80}, expected a folder that only edgekit uses, two levels deep or more: "
            f"{BASE}, /srv/edgekit"
        )
    if options.account is not None and not _ACCOUNT.match(options.account):
        problems.append(f"--user: found {options.account!r:.80}, expected an account's name, such as pi")
    if problems:
        raise ConfigError(problems)


def _check_bundle(bundle: Bundle, options: ImageOptions) -> None:
    try:
        read_manifest((bundle.path / "manifest.json").read_bytes())
    except Trouble as trouble:
        raise BundleError(f"{bundle.path}: the board would refuse it: {trouble}") from None
    if options.signers is not None:
        check_signature(bundle.path, options.signers)


class _Run:
    """One image in the making."""

    def __init__(
        self, base: Path, bundle: Bundle, options: ImageOptions, watcher: Watcher, work: Path
    ) -> None:  # fmt: skip
        self.base = base
        self.name = str(base)
        self.bundle = bundle
        self.partial = work / DISK
        self.options = options
        self.watcher = watcher
        self.work = work
        self.steps: list[Step] = []

    def go(self, is_xz: bool) -> ImageResult:
        """The steps in their order."""
        if not is_xz:
            read_table(self.base, self.name)  # what can be refused at once is not copied first
        with self._step("copy") as note:
            base_sha256 = copy_image(self.base, is_xz, self.partial, self.watcher.progress)
            note.append(f"{self.partial.stat().st_size / 1e6:.1f} MB; the original's sha256 is {base_sha256}")
        with self._step("look") as note:
            files, fat, room = self._find()
            system = look(files, fat, self.options.python, self.name)
            way = self._way(system)
            note.append(
                f"{system.name}, {system.arch}, Python {system.python[0]}.{system.python[1]}; first boot: {way}"
            )
            self._fit(system, room, fat)
        with self._step("write") as note:
            note.append(self._write(files, fat, system, way))
        with self._step("check") as note:
            files.check()
            sha256 = finish(self.partial, self.watcher.progress)
            note.append("e2fsck finds no fault")
        size = self.partial.stat().st_size
        return ImageResult(
            self.partial, size, sha256, self.base, base_sha256, system, way, self.options, self.bundle, self.steps
        )

    def _find(self) -> tuple[ExtFiles, Fat | None, Ext]:
        """The root and the boot partition. Raises ConfigError where it is not plain which these are."""
        partitions = read_table(self.partial, self.name)
        kinds = {partition: kind_of(self.partial, partition) for partition in partitions}
        layout = ", ".join(f"{p.number}: {kind or 'unknown'}" for p, kind in kinds.items())
        exts = {p: read_ext(self.partial, p) for p, kind in kinds.items() if kind == EXT}
        if not exts:
            raise ConfigError(f"{self.name}: unknown layout ({layout}); expected an ext4 partition with the system")
        for partition, ext in exts.items():
            if ext.problem:
                advice = "fetch it again, or let e2fsck mend it"
                raise ConfigError(f"{self.name}: partition {partition.number} (ext4) {ext.problem}; {advice}")
        self.now_unix = max(ext.written_unix for ext in exts.values())
        opened = {p: ExtFiles(self.work, p, self.name, self.now_unix) for p in exts}
        roots = [p for p, files in opened.items() if is_root(files)]
        if len(roots) != 1:
            found = f"partitions {' and '.join(str(p.number) for p in roots)} hold" if roots else "no partition holds"
            raise ConfigError(
                f"{self.name}: unknown layout ({layout}): {found} an operating system, expected one; flash such "
                "a device when it runs"
            )
        return opened[roots[0]], self._find_fat([p for p, kind in kinds.items() if kind == FAT]), exts[roots[0]]

    def _find_fat(self, partitions: list[Partition]) -> Fat | None:
        """The boot partition: the FAT one with a cmdline.txt, else the first."""
        fats = [Fat(self.work, p, self.name, self.now_unix) for p in partitions]
        return next((fat for fat in fats if CMDLINE in fat.names()), fats[0] if fats else None)

    def _way(self, system: System) -> Way:
        way = self.options.way or system.ways[0]
        if way not in system.ways:
            raise ConfigError(f"{self.name}: no way to begin a first boot by {way}; possible: {', '.join(system.ways)}")
        return way

    def _fit(self, system: System, room: Ext, fat: Fat | None) -> None:
        problems = objections(self.bundle, system, room)
        if fat is not None and fat.free() < _BOOT_BYTES:
            problems.append(
                f"its boot partition has {fat.free() / 1e3:.0f} kB free, {_BOOT_BYTES / 1e3:.0f} are needed"
            )
        if problems:
            raise ConfigError([f"{self.name}: {problem}" for problem in problems])

    def _write(self, files: ExtFiles, fat: Fat | None, system: System, way: Way) -> str:
        options = self.options
        plan = Plan(
            way, options.base, options.python, options.account, system.boot, options.health_s, options.service
        )  # fmt: skip
        added = self._files(plan)
        files.write(added, {UNIT_LINK: f"../{UNIT}"} if way == "unit" else {})
        cmdline = fat.read(CMDLINE).decode("utf-8", "surrogateescape") if fat and way == "firstrun" else ""
        on_card = boot_file(way, cmdline)
        if on_card and fat:
            fat.write(on_card[0], on_card[1].encode("utf-8", "surrogateescape"))
        total = sum((self.work / file.source).stat().st_size for file in added.values())
        return f"{len(added)} files, {total / 1e6:.2f} MB{f'; {on_card[0]} on the boot partition' if on_card else ''}"

    def _files(self, plan: Plan) -> dict[str, File]:
        """Path in the image -> the file that gets there."""
        signed = [SIGNATURE_NAME] if (self.bundle.path / SIGNATURE_NAME).is_file() else []
        names = sorted([*self.bundle.manifest["files"], "manifest.json", *signed])
        found = {f"{BUNDLE}/{name}": File(f"bundle/{name}") for name in names}
        own = {path: content.encode() for path, content in own_files(plan).items()}
        own[f"{HERE}/agent.pyz"] = build_agent().content
        if self.options.signers is not None:
            own[f"{HERE}/allowed_signers"] = self.options.signers.read_bytes()
        for number, (path, content) in enumerate(own.items()):
            local = f"own-{number}"
            (self.work / local).write_bytes(content)
            found[path] = File(local, executable=path == SCRIPT)
        return found

    @contextmanager
    def _step(self, name: str) -> Iterator[list[str]]:
        """A step that is reported; what is put into the list is its note."""
        self.watcher.started(name)
        began, note = time.monotonic(), list[str]()
        yield note
        step = Step(name, time.monotonic() - began, "; ".join(note))
        self.steps.append(step)
        self.watcher.finished(step)
