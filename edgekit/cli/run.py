"""`edgekit run`: answer texts with a bundle, on this machine, through the code that ships in it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import click

from ..errors import BundleError
from .console import json_option, print_json


@click.command("run", epilog='Example: edgekit run dist/distilbert-int8-raspberrypi "the display stays black"')
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@click.option("--file", type=click.Path(path_type=Path), help="Texts, one a line.  [default: standard input]")
@click.option("--batch", type=click.IntRange(min=1), default=64, show_default=True, help="Texts answered at a time.")
@click.option("--threads", type=click.IntRange(min=1), help="[default: what the bundle says]")
@json_option
def command(
    bundle: Path, texts: tuple[str, ...], file: Path | None, batch: int, threads: int | None, as_json: bool
) -> None:
    """Predict labels and probabilities with a bundle. Empty lines are left out."""
    from ..bundle import open_bundle
    from ..ondevice.errors import OnDeviceError
    from ..ondevice.infer import Predictor
    from ..quiet import redirected

    opened = open_bundle(bundle)
    if opened.path.is_file():
        raise BundleError(f"{bundle}: an archive; unpack it first: tar --zstd -xf {bundle}")
    answers = []
    try:
        with redirected(Path(os.devnull)):  # runtimes greet on stderr; what goes wrong is raised
            predictor = Predictor(opened.path, threads)
        lines = iter(texts) if texts else _lines(file)
        while block := list(islice(lines, batch)):
            for text, row in zip(block, predictor.probabilities(block), strict=True):
                label = predictor.labels[int(row.argmax())]
                shares = {name: round(float(p), 6) for name, p in zip(predictor.labels, row, strict=True)}
                if as_json:
                    answers.append({"text": text, "label": label, "probabilities": shares})
                else:
                    click.echo("\t".join((label, f"{shares[label]:.4f}", text)))
    except OnDeviceError as error:
        raise BundleError(str(error)) from None
    if as_json:
        print_json({"bundle": opened.digest, "truncated": predictor.truncated, "answers": answers})
    elif predictor.truncated:
        click.echo(f"edgekit: {predictor.truncated} texts were longer than the model reads and were cut", err=True)


def _lines(file: Path | None) -> Iterator[str]:
    """The lines of a file or of standard input that hold something."""
    try:
        stream = file.open("rb") if file else sys.stdin.buffer
    except OSError as error:
        raise click.FileError(str(file), error.strerror) from None
    with stream:
        for number, line in enumerate(stream, start=1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            except UnicodeDecodeError:
                raise click.ClickException(f"{file or 'standard input'}: line {number} is not UTF-8") from None
            if text:
                yield text
