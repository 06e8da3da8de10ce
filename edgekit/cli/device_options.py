"""What every command that talks with devices offers: which ones, and how to get there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .numbers import SECONDS

if TYPE_CHECKING:
    from ..inventory import Device
    from ..transports import Options


@dataclass(frozen=True)
class Way:
    """The options of `device_options`, as they were given."""

    inventory: Path | None
    base: str | None
    python: str | None
    ssh_config: Path | None
    connect_timeout: float
    silence_timeout: float
    timeout: float

    def find(self, words: Sequence[str]) -> list[Device]:
        """The devices of DEVICE arguments. Raises ConfigError."""
        from ..inventory import load_inventory

        return load_inventory(self.inventory).find(words, self.base, self.python)

    def find_named(self, word: str) -> list[Device]:
        """The devices of a word that could also be a file's name: none where it is neither a name nor an address."""
        from ..inventory import load_inventory

        inventory = load_inventory(self.inventory)
        is_device = word in inventory.hosts or word in inventory.groups or "@" in word or word.startswith("local:")
        return inventory.find([word], self.base, self.python) if is_device else []

    def line(self, device: Device | None = None) -> Options:
        """The transport's options, with a device's own."""
        from ..transports import Options

        return Options(
            self.connect_timeout, self.silence_timeout, self.timeout, self.ssh_config,
            device.ssh_options if device else {},
        )  # fmt: skip


_OPTIONS = (
    click.option(
        "--inventory",
        type=click.Path(path_type=Path),
        help="Names and groups of devices.  [default: $EDGEKIT_DEVICES, devices.toml, ~/.config/edgekit/devices.toml]",
    ),
    click.option("--base", metavar="FOLDER", help="Edgekit's folder on the device.  [default: ~/.edgekit]"),
    click.option(
        "--python", metavar="PATH", help="The interpreter there.  [default: BASE/venv/bin/python, else python3]"
    ),
    click.option("--ssh-config", type=click.Path(path_type=Path), help="As ssh -F.  [default: ~/.ssh/config]"),
    click.option("--connect-timeout", type=SECONDS, default=10.0, show_default=True, help="Seconds to log in."),
    click.option(
        "--silence-timeout",
        type=SECONDS,
        default=15.0,
        show_default=True,
        help="Seconds without a sign of life after which the line is given up.",
    ),
    click.option(
        "--timeout", type=SECONDS, default=300.0, show_default=True, help="Seconds that one step may take there."
    ),
)


def device_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options; the command gets them as one argument, `way`."""
    names = Way.__dataclass_fields__

    @wraps(command)
    def with_way(*words: Any, **given: Any) -> Any:
        way = Way(**{name: given.pop(name) for name in names})
        return command(*words, way=way, **given)

    for option in reversed(_OPTIONS):
        with_way = option(with_way)
    return with_way


devices_argument = click.argument("devices", metavar="DEVICE...", nargs=-1, required=True)
