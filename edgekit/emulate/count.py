"""From a bundle or a model file to its instructions per inference on an emulated core."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

from .. import ondevice
from ..bundle import NEWER_NUMPY, NUMPY, open_bundle
from ..errors import BundleError, ProfileError
from ..ondevice.errors import OnDeviceError
from ..ondevice.profiler.document import document_id
from ..ondevice.profiler.regions import ANSWERS, EMPTY
from ..ondevice.profiler.workload import find
from ..ondevice.runtimes import load_runtime
from .cores import Core, find_core
from .document import KIND, LABEL, SCHEMA, Instructions, check_instructions
from .guest import Given, Guest, Outcome
from .qemu import CLASSES, Emulator, Mark, missing_tools, open_emulator
from .userland import Report, default_cache, fetch_userland, fetch_wheels, userland_folder

ARCH = "aarch64"
INFERENCES = 16
RUNS = 2


def count_instructions(
    path: Path,
    core: str,
    *,
    inferences: int = INFERENCES,
    runs: int = RUNS,
    samples: Path | None = None,
    seed: int = 0,
    sysroot: Path | None = None,
    cache: Path | None = None,
    report: Report = lambda line: None,
) -> Instructions:
    """Count what one inference of a bundle's folder, or of a model file, executes on an emulated core.

    It answers its own texts (a model file: valid random inputs), or those of the file `samples`, `inferences` times
    in whole rounds, in `runs` fresh processes, each with one thread. Counts to be set beside each other should
    have the same `inferences`: what settles in a long run is up to 0.1 % of a very small model. `sysroot` is an aarch64
    userland with Python instead of the one that is fetched; `report` hears what takes long.

    Raises ConfigError for an unknown core, BundleError for a bundle that is not whole or not for aarch64, ProfileError
    for all else, before any long work where it can be known then.
    """
    chosen = find_core(core)
    given = look_at(path, samples, seed)
    place = cache or default_cache()
    missing_tools(fetching=sysroot is None and not userland_folder(place).is_dir())
    emulator = open_emulator(chosen, place)
    userland = sysroot or fetch_userland(place, report)
    outcomes = []
    with TemporaryDirectory(prefix="edgekit-") as scratch:
        guest = Guest(Path(scratch), chosen, emulator, userland)
        guest.link("wheels", fetch_wheels(place, given.requirements, *guest.ask_python(), report))
        guest.add(given)
        for number in range(1, runs + 1):
            report(f"{chosen.name}: run {number} of {runs}")
            outcomes.append(guest.count(given, inferences))
    return _document(chosen, emulator, given, outcomes)


def look_at(path: Path, samples: Path | None, seed: int) -> Given:
    """What is to be counted, and what the device would install for it. Raises BundleError or ProfileError."""
    own = Path(ondevice.__file__).parent
    where = samples.resolve() if samples else None
    try:
        if not path.is_dir():
            what = find(path, None, 1)
            module = load_runtime(what.runtime)
            requirements = f"{module.PACKAGE}=={module.version()}\n{NUMPY}\n{NEWER_NUMPY}\n"
            return Given(path.resolve(), False, requirements, own, where, seed)
    except OnDeviceError as error:
        raise ProfileError(str(error)) from None
    bundle = open_bundle(path)
    target = bundle.manifest.get("target") or {}
    if target.get("arch", ARCH) != ARCH:
        raise BundleError(
            f"{path}: is for {target['arch']}, and --emulate counts what an {ARCH} device executes; "
            "build it for such a target: edgekit targets"
        )
    requirements = (path / "requirements.txt").read_text(encoding="utf-8")
    its = path.resolve() / "ondevice"
    if (its / "profiler" / "regions.py").is_file():
        return Given(path.resolve(), True, requirements, its, where, seed)
    if not samples:
        raise BundleError(
            f"{path}: older than --emulate, with no texts to count; build it again or give --samples FILE"
        )
    return Given(path.resolve(), True, requirements, own, where, seed)


def per_inference(marks: Sequence[Mark], inferences: int) -> list[float]:
    """Counts by class between the marks around the answers, without what a pair of marks itself executes."""
    empty, answers = ([mark.counts for mark in marks if mark.tag == tag] for tag in (EMPTY, ANSWERS))
    if len(empty) < 2 or len(answers) != 2:
        raise ProfileError("the emulated program did not mark what it answered; the counts are lost")
    (*_, begin, end), (first, last) = empty, answers
    return [(d - c - (b - a)) / inferences for a, b, c, d in zip(begin, end, first, last, strict=True)]


def _document(core: Core, emulator: Emulator, given: Given, outcomes: Sequence[Outcome]) -> Instructions:
    """The runs' means, and how far apart they were."""
    said = outcomes[0][0]
    counted = [per_inference(marks, guest["inferences"]) for guest, marks in outcomes]
    totals = [sum(row) for row in counted]
    means = [fmean(column) for column in zip(*counted, strict=True)]
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "kind": KIND,
        "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "label": LABEL,
        "subject": said["subject"],
        "core": core.name,
        "board": core.board,
        "emulator": emulator.version,
        "software": said["software"],
        "code": "bundle" if given.is_own_code else "edgekit",
        "samples": said["samples"],
        "inferences": said["inferences"],
        "runs": len(outcomes),
        "spread_percent": (max(totals) - min(totals)) / fmean(totals) * 100 if len(totals) > 1 else None,
        "counts": {"total": sum(means), **dict(zip(CLASSES, means, strict=True))},
        "golden": said["golden"],
        "notes": [*said["notes"], *_notes(given, said, outcomes)],
    }
    document["id"] = document_id(document)
    return check_instructions(document, given.path.name)


def _notes(given: Given, said: dict[str, Any], outcomes: Sequence[Outcome]) -> list[str]:
    """What the user should know of these counts."""
    notes = []
    if given.is_bundle and not given.is_own_code:
        notes.append("the bundle's own ondevice/ cannot count yet: edgekit's current one was run instead")
    golden = said["golden"]
    if golden and golden["agree"] < golden["of"]:
        notes.append(f"only {golden['agree']} of {golden['of']} golden samples were answered as on the host")
    threads = max(mark.threads for _, marks in outcomes for mark in marks)
    if threads > 1:
        notes.append(f"the runtime started {threads} threads: all are counted, but repeat less well")
    return notes
