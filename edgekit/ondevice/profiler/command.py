"""`python3 -m ondevice profile` and `first`: what they take, and where their words go."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path
from typing import Any

from .scenarios import SCENARIOS
from .session import Listener, Request, profile
from .startup import answer_once
from .workload import find


def add_profile_commands(commands: Any, here: Path) -> None:
    """Add them to the command line; `here` is the bundle around this package."""
    subject = subject_options(here)
    measure = commands.add_parser(
        "profile", parents=[subject], help="latency, memory, energy here; the last line on stdout is one JSON document"
    )
    add_profile_options(measure)
    measure.set_defaults(run=run_profile)
    first = commands.add_parser("first", parents=[subject], help="load, answer once, print the monotonic clock")
    first.set_defaults(run=run_first)


def subject_options(here: Path) -> argparse.ArgumentParser:
    """What is measured: a bundle or a model file."""
    options = argparse.ArgumentParser(add_help=False)
    which = options.add_mutually_exclusive_group()
    which.add_argument("--bundle", type=Path, default=here, help="its folder; default: the one around this package")
    which.add_argument("--model", type=Path, help="a model file instead: .tflite, .xml (OpenVINO IR) or .onnx")
    options.add_argument(
        "--samples", type=Path, help="a text a line; of a model file: .npz, its arrays named as the inputs"
    )
    options.add_argument("--runtime", help="another runtime of the same format")
    options.add_argument("--threads", type=positive, help="default: what the bundle says; a model file: 1")
    options.add_argument("--device", help="CPU, GPU, NPU, CUDA, TENSORRT; default: the bundle's; a model file: CPU")
    options.add_argument("--seed", type=_from_zero, default=0, help="of sample order, arrivals, and random inputs")
    return options


def add_profile_options(command: argparse.ArgumentParser) -> None:
    """How it is measured."""
    default = Request(Path())
    add = command.add_argument
    add("--scenario", action="append", choices=SCENARIOS, help="may be repeated; default: all but Server")
    add("--min-seconds", type=_above_zero, default=default.min_seconds, help="of each scenario (%(default)s)")
    add("--min-queries", type=positive, default=default.min_queries, help="of each scenario (%(default)s)")
    add("--warmup-seconds", type=_above_zero, default=default.warmup_seconds, help="(%(default)s)")
    add("--sustained-seconds", type=_above_zero, help="SingleStream for this long, with a time series")
    add(
        "--qps",
        type=_above_zero,
        help="Server: arrivals a second; without it the highest that keeps --sla-ms is searched",
    )
    add("--sla-ms", type=_above_zero, help="Server: what p99 must keep")
    add("--affinity", type=_processors, default=(), help="processors to run on, such as 2,3")
    add("--idle-seconds", type=_above_zero, default=default.idle_seconds, help="idle power before it (%(default)s)")
    add("--hz", type=_above_zero, default=default.hz, help="power readings a second (%(default)s)")
    add("--power-w", type=_above_zero, help="the board's watts under load, as you know them; labelled so")
    add("--cold-starts", type=_from_zero, default=default.cold_starts, help="fresh processes to time (%(default)s)")
    add("--ops", action="store_true", help="per-operator times by the runtime's own profiler")
    add("--root", type=Path, default=Path("/"), help="read sensors and the machine's state below this folder")
    add("--loadgen", action="store_true", help="let MLPerf's own load generator issue the queries (x86-64)")


def positive(word: str) -> int:
    """A whole number from 1 on."""
    number = int(word)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _from_zero(word: str) -> int:
    number = int(word)
    if number < 0:
        raise argparse.ArgumentTypeError("must be at least 0")
    return number


def _above_zero(word: str) -> float:
    number = float(word)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError("must be above 0")
    return number


def _processors(word: str) -> tuple[int, ...]:
    try:
        return tuple(int(number) for number in word.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"found {word!r}; expected numbers such as 0,1") from None


def run_profile(given: argparse.Namespace) -> int:
    """Progress on stderr; on stdout the document after each scenario, the last one whole. A signal ends it early."""
    stopped: list[str] = []

    def stop(number: int, _: object) -> None:
        stopped.append(f"stopped by {signal.Signals(number).name}")
        signal.signal(number, signal.SIG_DFL)  # the second one is meant

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    request = Request(
        path=given.model or given.bundle,
        samples=given.samples,
        runtime=given.runtime,
        threads=given.threads,
        device=given.device,
        affinity=given.affinity,
        scenarios=given.scenario or default_scenarios(given.qps or given.sla_ms),
        min_seconds=given.min_seconds,
        min_queries=given.min_queries,
        warmup_seconds=given.warmup_seconds,
        sustained_seconds=given.sustained_seconds,
        qps=given.qps,
        sla_ms=given.sla_ms,
        seed=given.seed,
        idle_seconds=given.idle_seconds,
        hz=given.hz,
        power_w=given.power_w,
        cold_starts=given.cold_starts,
        operators=given.ops,
        loadgen=given.loadgen,
        root=given.root,
    )
    listener = Listener(
        say=lambda line: print(f"ondevice: {line} …", file=sys.stderr, flush=True),
        keep=lambda document: print(json.dumps(document, ensure_ascii=False), flush=True),
        stopped=lambda: stopped[0] if stopped else None,
    )
    document = profile(request, listener)
    print(json.dumps(document, ensure_ascii=False), flush=True)
    return 1 if document["partial"] else 0


def default_scenarios(server: object) -> tuple[str, ...]:
    """All but Server; that one too where its rate or its SLA is given."""
    return tuple(name for name in SCENARIOS if server or name != "Server")


def run_first(given: argparse.Namespace) -> int:
    """For the cold start: when the first answer was there, in nanoseconds of the monotonic clock."""
    what = find(given.model or given.bundle, given.runtime, given.threads, given.device)
    print(answer_once(what, given.samples, given.seed))
    return 0
