"""`edgekit run`: answer texts and other samples with a bundle, here or on a device, by the code that ships in it."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import BundleError, DeviceError
from .console import json_option, print_json
from .device_options import Way, device_options

if TYPE_CHECKING:
    from ..bundle import Bundle


@click.command("run", epilog='Example: edgekit run dist/distilbert-int8-raspberrypi "the display stays black"')
@click.argument("bundle", required=False, metavar="[BUNDLE]")
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@click.option("--file", type=click.Path(path_type=Path), help="Texts, one a line.  [default: standard input]")
@click.option("--threads", type=click.IntRange(min=1), help="[default: what the bundle says]")
@click.option("--device", metavar="CPU|GPU|NPU", help="[default: what the bundle was made for]")
@click.option("--on", metavar="DEVICE", help="Let the bundle that this device runs answer; BUNDLE is left out then.")
@device_options
@json_option
def command(
    bundle: str | None, texts: tuple[str, ...], file: Path | None, threads: int | None,
    device: str | None, on: str | None, way: Way, as_json: bool,
) -> None:  # fmt: skip
    """Answer with a bundle: labels and probabilities of texts, say. Empty lines are left out."""
    if on:
        _run_there(on, (*([bundle] if bundle else []), *texts), file, _computing(threads, device), way, as_json)
    elif bundle:
        from ..bundle import open_as_folder

        with open_as_folder(Path(bundle)) as opened:
            _run_here(opened, texts, file, threads, device, as_json)
    else:
        raise click.UsageError("Missing argument 'BUNDLE', or --on DEVICE")


def _run_here(
    opened: Bundle, texts: tuple[str, ...], file: Path | None, threads: int | None, device: str | None,
    as_json: bool,
) -> None:  # fmt: skip
    from ..ondevice.errors import OnDeviceError
    from ..ondevice.infer import Predictor
    from ..quiet import redirected

    answers = []
    try:
        with redirected(Path(os.devnull)):  # runtimes greet on stderr; what goes wrong is raised
            predictor = Predictor(opened.path, threads, device=device)
        if predictor.substitute:
            click.echo(f"edgekit: {predictor.substitute}", err=True)
        for text in texts or _lines(file):
            answer = predictor.answer(predictor.task.parse_word(text))
            if as_json:
                answers.append({"input": text, **answer})
            else:
                click.echo(f"{predictor.task.show(answer)}\t{click.format_filename(text)}")
    except OnDeviceError as error:
        raise BundleError(str(error)) from None
    if as_json:
        print_json(
            {
                "bundle": opened.digest,
                "computed_on": predictor.device,
                "truncated": predictor.truncated,
                "answers": answers,
            }
        )
    elif predictor.truncated:
        click.echo(f"edgekit: {predictor.truncated} texts were longer than the model reads and were cut", err=True)


def _computing(threads: int | None, device: str | None) -> list[str]:
    """How to compute, in the on-device package's words."""
    return [*(["--threads", str(threads)] if threads else []), *(["--device", device] if device else [])]


def _run_there(
    on: str, texts: tuple[str, ...], file: Path | None, computing: list[str], way: Way, as_json: bool
) -> None:
    """The answers of what a device runs, all at once: its model is loaded for them."""
    from ..flash import Remote, run_there
    from ..transports import connect

    devices = way.find([on])
    if len(devices) != 1:
        raise click.UsageError(f"--on {on}: {len(devices)} devices; name one")
    given = list(texts) or list(_lines(file))
    words = ["infer", "--json", *computing]
    heard: list[str] = []
    answer: dict[str, Any] = {}

    def take(line: str) -> None:
        with contextlib.suppress(ValueError):  # a runtime's own chatter
            found = json.loads(line)
            if isinstance(found, dict) and "answers" in found:
                answer.update(found)

    with connect(devices[0].address, way.line(devices[0])) as transport:
        lines = "\n".join(text.replace("\n", " ") for text in given) + "\n"
        code = run_there(
            Remote(transport, devices[0]), words, lines if given else "", take, heard.append, way.timeout, way.python
        )
    if code or not answer:
        said = heard[-1].removeprefix("ondevice: ") if heard else f"exit code {code}"
        raise DeviceError(f"{devices[0].name}: {said}")
    if as_json:
        print_json({"device": str(devices[0].address), **answer})
        return
    for row in answer["answers"]:
        click.echo(f"{row['shown']}\t{row['input']}")
    if answer["truncated"]:
        click.echo(f"edgekit: {answer['truncated']} texts were longer than the model reads and were cut", err=True)


def _lines(file: Path | None) -> Iterator[str]:
    """The lines of a file or of standard input that hold something."""
    try:
        stream = file.open("rb") if file else sys.stdin.buffer
    except OSError as error:
        raise click.FileError(str(file), error.strerror) from None
    with stream:
        for number, line in enumerate(stream, start=1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError:
                raise click.ClickException(f"{file or 'standard input'}: line {number} is not UTF-8") from None
            if text.strip():
                yield text
