"""Counted regions: marks, between which an emulator counts the instructions that it executes, around answers.

A mark is a system call with a number that no kernel has, so on a real device it does nothing. Here are only the
marks; what lies between them is read on the host.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import platform
from pathlib import Path
from typing import Any

from ..runtimes.buckets import installed_version
from ..verify import compare_golden, read_golden
from .command import positive, subject_options
from .workload import BundleWorkload, What, Workload, describe, find, load

#: "EDGE"; the emulator's plugin knows it too.
MARKER = 0x45444745
#: The tags of marks that stand in pairs: around nothing, and around the answers.
EMPTY, ANSWERS = 0, 1
#: So many pairs around nothing; the last of them says what a pair of marks itself costs.
EMPTY_PAIRS = 4
#: The interpreter specialises its bytecode, and libraries fill their caches, in the first answers; they are spread
#: over the samples, whose lengths differ.
WARM_UP_ANSWERS = 16
#: What the counts depend on besides the model.
SOFTWARE = ("numpy", "tokenizers")


def add_count_command(commands: Any, here: Path) -> None:
    """Add `count` to the command line; `here` is the bundle around this package."""
    count = commands.add_parser(
        "count", parents=[subject_options(here)], help="answer between marks, for an emulator that counts instructions"
    )
    count.add_argument("--inferences", type=positive, default=16, help="in whole rounds of the samples (%(default)s)")
    count.set_defaults(run=run_count)


def run_count(given: argparse.Namespace) -> int:
    """Print what was answered, as one JSON document; the emulator has counted meanwhile."""
    what = find(given.model or given.bundle, given.runtime, given.threads, given.device)
    print(json.dumps(count(what, given.samples, given.seed, given.inferences), ensure_ascii=False))
    return 0


def count(what: What, samples: Path | None, seed: int, inferences: int) -> dict[str, Any]:
    """Answer every sample equally often, at least `inferences` times in all, between marks.

    The document: `subject`, `samples` as in a profile; `software`, versions by name; `inferences` that were marked;
    `golden`, how many of the bundle's golden samples were answered as on the host, or None; `notes`.
    Raises OnDeviceError.
    """
    workload = load(what, samples, seed)
    rounds = -(-inferences // workload.count)
    gc.collect()
    gc.disable()
    for number in range(WARM_UP_ANSWERS):
        workload.answer(number * workload.count // WARM_UP_ANSWERS)
    mark_answers(workload, rounds)
    gc.enable()
    golden = None
    if isinstance(workload, BundleWorkload) and not samples:  # an emulated core may compute wrongly
        found = compare_golden(workload.predictor, read_golden(what.path))["samples"]
        golden = {"agree": sum(sample["ok"] for sample in found), "of": len(found)}
    return {
        "subject": describe(what),
        "samples": {"source": workload.source, "count": workload.count, "digest": workload.digest},
        "software": {
            "python": platform.python_version(),
            "libc": " ".join(platform.libc_ver()),
            **{name: found for name in SOFTWARE for found in [installed_version(name)] if found},
        },
        "inferences": rounds * workload.count,
        "golden": golden,
        "notes": workload.notes,
    }


def mark_answers(workload: Workload, rounds: int) -> None:
    """Every sample `rounds` times, between a pair of marks; before it, pairs around nothing."""
    system_call = ctypes.CDLL(None).syscall
    number, empty, around = ctypes.c_long(MARKER), ctypes.c_long(EMPTY), ctypes.c_long(ANSWERS)
    for _ in range(EMPTY_PAIRS):
        system_call(number, empty)
        system_call(number, empty)
    system_call(number, around)
    for _ in range(rounds):
        for index in range(workload.count):
            workload.answer(index)
    system_call(number, around)
