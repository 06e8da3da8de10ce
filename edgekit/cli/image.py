"""`edgekit image`: a bundle into a copy of an operating system's image, for a card that runs it from the start."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .console import duration, json_option, print_json, size
from .ending import orderly_end
from .numbers import SECONDS
from .service_options import check_listening

if TYPE_CHECKING:
    from ..flash import Step
    from ..image import ImageResult

_CLEAR = "\r\x1b[K"


class Lines:
    """A line per finished step; while bytes are copied, how far."""

    def __init__(self, quiet: bool, err: bool) -> None:
        self._quiet = quiet
        self._err = err
        self._is_terminal = (sys.stderr if err else sys.stdout).isatty()
        self._name = ""
        self._spoke = 0.0

    def started(self, name: str) -> None:
        """Nothing yet."""
        self._name, self._spoke = name, time.monotonic()

    def progress(self, done: int, total: int | None) -> None:
        """On a terminal a line that moves, elsewhere one every ten seconds."""
        now = time.monotonic()
        if now - self._spoke < (0.2 if self._is_terminal else 10):
            return
        self._spoke = now
        line = f"  {self._name:6} {size(done)}{f' of {size(total)}' if total else ''}"
        self._say(f"{_CLEAR}{line}" if self._is_terminal else line, nl=not self._is_terminal)

    def finished(self, step: Step) -> None:
        """What was done, how long it took."""
        self._say(f"{_CLEAR if self._is_terminal else ''}  {step.name:6} {step.seconds:6.2f} s  {step.note}".rstrip())

    def _say(self, text: str, nl: bool = True) -> None:
        if not self._quiet:
            click.echo(text, err=self._err, nl=nl)


def write_line(result: ImageResult) -> str:
    """The command that writes the image to a card; rpi-imager reads it back and compares unless told not to."""
    words = ["sudo", "rpi-imager", "--cli", "--sha256", result.sha256, str(result.path)]
    return f"{shlex.join(words)} /dev/sdX"


@click.command(
    "image", epilog="Example: edgekit image raspios-lite.img.xz dist/distilbert-int8-raspberrypi -o card.img"
)
@click.argument("base", metavar="BASE.img", type=click.Path(path_type=Path))
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="The image to write, a file.")
@click.option("--force", is_flag=True, help="Replace that file.")
@click.option(
    "--first-boot", type=click.Choice(["cloud-init", "firstrun", "unit"]),
    help="What begins the installation on the board.  [default: the image's own way]",
)  # fmt: skip
@click.option(
    "--base", "device_base", metavar="FOLDER", default="/opt/edgekit", show_default=True,
    help="Edgekit's folder on the board.",
)  # fmt: skip
@click.option(
    "--user", metavar="NAME", help="Whose that folder is, to flash later.  [default: the first user, id 1000]"
)
@click.option("--python", metavar="PATH", help="The interpreter on the board.  [default: /usr/bin/python3]")
@click.option(
    "--allowed-signers", type=click.Path(path_type=Path), help="From now on, the board takes what these sign only."
)
@click.option("--service/--no-service", default=True, show_default=True, help="Also serve the bundle, by systemd.")
@click.option("--host", metavar="ADDRESS", help="Where the service listens.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(1, 65535), help="On which port.  [default: 8476]")
@click.option("--socket", is_flag=True, help="A Unix socket instead.")
@click.option("--token-file", metavar="PATH", help="A file on the board; whoever asks the service needs what it holds.")
@click.option(
    "--timeout", type=SECONDS, default=300.0, show_default=True,
    help="Seconds that the golden samples may take there.",
)  # fmt: skip
@click.option("-q", "--quiet", is_flag=True, help="Only errors and the result.")
@json_option
def command(
    base: Path, bundle: Path, out: Path, force: bool, first_boot: Any, device_base: str, user: str | None,
    python: str | None, allowed_signers: Path | None, timeout: float, service: bool, quiet: bool, as_json: bool,
    **listen: Any,
) -> None:  # fmt: skip
    """Put a bundle into a copy of an OS image: the board installs, checks and serves it at its first boot.

    BASE.img is the image of a whole card (.img or .img.xz): Raspberry Pi OS, Ubuntu, Debian and others with ext4 and
    systemd. Nothing is mounted, nothing needs root, and no device is written: the line that does that is printed.
    """
    from ..bundle import open_bundle
    from ..image import ImageOptions, make_image

    serve = _service(service, **listen)
    options = ImageOptions(device_base, python, user, first_boot, serve, allowed_signers, timeout, force)
    began = time.monotonic()
    with orderly_end():
        result = make_image(base, open_bundle(bundle), out, options, Lines(quiet, as_json))
    if as_json:
        print_json({**result.document(), "write": write_line(result)})
        return
    click.echo(f"{out}  {size(result.size_bytes)}  sha256 {result.sha256}  ({duration(time.monotonic() - began)})")
    if not quiet:
        click.echo(f"write and verify, where /dev/sdX is the card (lsblk):\n  {write_line(result)}")
        click.echo(f"later: edgekit flash BUNDLE {user or 'USER'}@BOARD --base {device_base}")


def _service(wanted: bool, **listen: Any) -> dict[str, Any] | None:
    """The fields of the agent's command `service`. Raises UsageError for what the board would refuse."""
    given = {key: value for key, value in listen.items() if value not in (None, False)}
    if not wanted:
        if given:
            option = next(iter(given)).replace("_", "-")
            raise click.UsageError(f"--no-service: leaves nothing for --{option} to say")
        return None
    check_listening(**listen)
    return given
