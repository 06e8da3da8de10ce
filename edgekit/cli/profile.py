"""`edgekit profile`: latency, memory and energy of a bundle or a model file, measured here."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import ProfileError
from .console import json_option, print_json
from .device_options import Way, device_options
from .numbers import ABOVE_ZERO, SECONDS, WEEK_S
from .profile_text import describe

if TYPE_CHECKING:
    from ..inventory import Device
    from ..profile import Profile

#: Of a bundle; edgekit.tarball's.
ARCHIVE = ".tar.zst"
SCENARIOS = ("SingleStream", "MultiStream", "Server", "Offline")
#: What `--emulate` takes beside itself.
_OF_A_COUNT = {"what", "out", "samples", "seed", "emulate", "quiet", "as_json"}
_UNITS = {"s": 1, "m": 60, "h": 3600}


def duration(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """Seconds of 90s, 10m or 1h."""
    if value is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", value)
    seconds = float(match[1]) * _UNITS[match[2] or "s"] if match else 0.0
    if not 0 < seconds <= WEEK_S:
        raise click.BadParameter(f"found {value!r}; possible: 90s, 10m, 1h, a week at most")
    return seconds


@click.command(
    "profile", epilog="Example: edgekit profile dist/distilbert-int8-raspberrypi --ops -o profiles/here.json"
)
@click.argument("what", metavar="BUNDLE|MODEL|PROFILE|DEVICE", type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), help="[default: profiles/<name>-<id>.json]")
@click.option(
    "--scenario",
    multiple=True,
    type=click.Choice(SCENARIOS, case_sensitive=False),
    help="May be repeated.  [default: all but Server; Server too with --qps or --sla-ms]",
)
@click.option("--min-seconds", type=SECONDS, default=10.0, show_default=True, help="Of each scenario.")
@click.option("--min-queries", type=click.IntRange(min=1), default=100, show_default=True, help="Of each scenario.")
@click.option("--warmup-seconds", type=SECONDS, default=1.0, show_default=True, help="Answers before it, not counted.")
@click.option(
    "--sustained",
    "sustained_seconds",
    callback=duration,
    metavar="10m",
    help="SingleStream for this long, with temperature, frequency and power over time.",
)
@click.option("--qps", type=ABOVE_ZERO, help="Server: Poisson arrivals a second.")
@click.option(
    "--sla-ms", type=ABOVE_ZERO, help="Server: what p99 must keep; without --qps the highest rate is searched."
)
@click.option("--samples", type=click.Path(path_type=Path), help="A text a line; of a model file: .npz or .npy.")
@click.option("--runtime", metavar="NAME", help="Another runtime of the same format, such as tflite.")
@click.option("--threads", type=click.IntRange(min=1), help="[default: what the bundle says; a model file: 1]")
@click.option("--device", metavar="CPU|GPU|NPU", help="[default: what the bundle says; a model file: CPU]")
@click.option("--affinity", metavar="0,1", help="Processors to run on.")
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Of sample order, arrivals and random inputs.",
)
@click.option(
    "--cold-starts", type=click.IntRange(min=0), default=5, show_default=True, help="Fresh processes to time."
)
@click.option("--idle-seconds", type=SECONDS, default=3.0, show_default=True, help="Idle power before the run.")
@click.option("--hz", type=ABOVE_ZERO, default=10.0, show_default=True, help="Power readings a second.")
@click.option("--power-w", type=ABOVE_ZERO, help="Watts under load as you know them; labelled so in every view.")
@click.option("--external", type=click.Path(path_type=Path), help="CSV log of a wall or USB meter of the run's time.")
@click.option("--external-offset", metavar="+02:00", help="The log's time zone, where its times do not say it.")
@click.option("--ops", is_flag=True, help="Per-operator times by the runtime's own profiler.")
@click.option("--loadgen", is_flag=True, help="MLPerf's own load generator issues the queries (x86-64).")
@click.option("--emulate", metavar="CORE", help="Count ARM instructions instead, under QEMU: cortex-a72, cortex-a76.")
@device_options
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@json_option
def command(
    what: Path, out: Path | None, external: Path | None, external_offset: str | None, emulate: str | None,
    way: Way, quiet: bool, as_json: bool, **options: Any,
) -> None:  # fmt: skip
    """Measure latency in MLPerf's scenarios, memory and energy of a bundle, a .tflite, .xml or .onnx on this machine.

    Of a DEVICE (user@host[:port], a name of the inventory, local:FOLDER): the bundle that it runs, measured there.
    Given a profile's JSON, --external adds a meter's log to it afterwards.
    """
    say = (lambda _: None) if quiet else _progress
    keeper = Keeper(out, as_json)
    if emulate:
        _refuse_beside_emulate()
        _count(what, emulate, options, say, keeper)
        return
    if what.suffix == ".json" and external:
        from ..profile import read_profile

        profile = read_profile(what)
    elif not what.exists() and (devices := way.find_named(str(what))):
        profile = _measure_there(devices, options, way, say)
    else:
        profile = _measure(what, options, say)
    if external:
        from ..meter import add_external

        keeper.keep(profile.document(), profile.subject.name)  # whatever the log is like
        profile = add_external(profile, external, external_offset)
    keeper.deliver(profile.document(), profile.subject.name, describe(profile))
    if profile.partial:
        raise click.exceptions.Exit(1)


def _measure(what: Path, options: dict[str, Any], say: Callable[[str], None]) -> Profile:
    from ..measure import run_profiler
    from ..profile import check_profile

    if what.name.endswith(ARCHIVE):
        from ..bundle import open_as_folder

        with open_as_folder(what) as bundle:
            return check_profile(run_profiler(["--bundle", str(bundle.path), *_words(options)], say), str(what))
    words = ["--bundle" if what.is_dir() else "--model", str(what), *_words(options)]
    return check_profile(run_profiler(words, say), str(what))


def _measure_there(devices: Sequence[Device], options: dict[str, Any], way: Way, say: Callable[[str], None]) -> Profile:
    """What a device runs, measured there; --samples is a file of the device then."""
    from ..flash import Remote, run_there
    from ..measure import run_profiler_elsewhere
    from ..profile import check_profile
    from ..transports import connect

    if len(devices) != 1:
        raise click.UsageError(f"{len(devices)} devices ({', '.join(d.name for d in devices)}); profile one at a time")
    device = devices[0]
    with connect(device.address, way.line(device)) as transport:
        remote = Remote(transport, device)
        words = ["profile", *_words(options)]
        document = run_profiler_elsewhere(
            lambda out, err: run_there(remote, words, None, out, err, way.timeout, way.python), str(device.address), say
        )
    return check_profile(document, device.name)


class Keeper:
    """Where documents go. The place is looked at before anything is measured. Raises ProfileError."""

    def __init__(self, out: Path | None, as_json: bool) -> None:
        self._out, self._as_json = out, as_json
        folder = out.parent if out else Path("profiles")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ProfileError(f"{folder}: cannot be made: {error.strerror}; choose another place by --out") from None
        if out and out.is_dir():
            raise ProfileError(f"{out}: is a folder; name a file by --out")
        if not os.access(folder, os.W_OK):
            raise ProfileError(f"{folder}: no permission to write there; choose another place by --out")

    def keep(self, document: dict[str, Any], name: str) -> Path:
        """Write it, whole or not at all; the path."""
        from ..atomic import write_text

        safe = re.sub(r"[^\w.+-]+", "_", name).lstrip(".")
        path = self._out or Path("profiles") / f"{safe}-{document['id']}.json"
        try:
            write_text(path, json.dumps(document, ensure_ascii=False) + "\n")
        except OSError as error:
            raise ProfileError(f"{path}: cannot be written: {error.strerror}") from None
        return path

    def deliver(self, document: dict[str, Any], name: str, lines: Sequence[str]) -> None:
        """Keep it and show it."""
        path = self.keep(document, name)
        if self._as_json:
            print_json(document)
        else:
            click.echo("\n".join([*lines, f"kept in {path}"]))


def _refuse_beside_emulate() -> None:
    """Options that say how to measure mean nothing to a count. Raises UsageError naming them."""
    context = click.get_current_context()
    given = [
        param.opts[0]
        for param in context.command.params
        if param.name not in _OF_A_COUNT
        and context.get_parameter_source(str(param.name)) is click.core.ParameterSource.COMMANDLINE
    ]
    if given:
        raise click.UsageError(f"{', '.join(given)}: not with --emulate, which counts instructions")


def _count(what: Path, core: str, options: dict[str, Any], say: Callable[[str], None], keeper: Keeper) -> None:
    """Instructions of an emulated core instead of milliseconds."""
    from ..emulate.count import count_instructions

    found = count_instructions(what, core, samples=options["samples"], seed=options["seed"], report=say)
    total = found.counts.total
    spread = "one run" if found.spread_percent is None else f"{found.runs} runs within {found.spread_percent:.4f} %"
    golden = (
        f"; {found.golden.agree} of {found.golden.of} golden samples answered as on the host" if found.golden else ""
    )
    lines = [
        f"{found.subject.name}: {found.subject.runtime_package} {found.subject.runtime_version} on {found.core} "
        f"({found.board}), {found.emulator}, one thread",
        f"{found.label}",
        "",
        f"{'per inference':14} {'million':>10} {'share':>7}",
        *(
            f"{name.replace('_', ' '):14} {count / 1e6:10.4f} {count / total:7.1%}"
            for name, count in found.counts.model_dump().items()
        ),
        "",
        f"{found.inferences} inferences in each run, {spread}{golden}",
        *(f"  note: {note}" for note in found.notes),
    ]
    keeper.deliver(found.document(), f"{found.subject.name}-{found.core}", lines)


def _progress(line: str) -> None:
    click.echo(f"  {line} …", err=True)


def _words(options: dict[str, Any]) -> list[str]:
    """The options as the on-device profiler spells them."""
    words: list[str] = []
    for name, value in options.items():
        word = f"--{name.replace('_', '-')}"
        if isinstance(value, tuple):
            words += [part for one in value for part in (word, one)]
        elif value is True:
            words.append(word)
        elif value is not None and value is not False:
            words += [word, str(value)]
    return words
