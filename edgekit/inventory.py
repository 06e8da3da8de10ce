"""The devices that a user has names for: hosts and groups in one TOML file.

[hosts.kitchen]
address = "pi@kitchen.local"      # user@host[:port], a name of ~/.ssh/config, or local:FOLDER
target = "raspberrypi4"           # bundles of another arch or runtime are refused
base = "/opt/edgekit"             # instead of ~/.edgekit
python = "/usr/bin/python3.11"    # instead of python3
options = { IdentityFile = "~/.ssh/lab" }      # as ssh -o

[groups]
house = ["kitchen", "attic"]      # hosts and groups
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from .errors import ConfigError, did_you_mean
from .tomlfile import read_toml, validate
from .transports import Address, parse_address

#: Where an inventory is looked for when none is named: here, then in the user's configuration.
DEFAULT = "devices.toml"
VARIABLE = "EDGEKIT_DEVICES"
BASE = "~/.edgekit"
_BASES = ("/", "~/")


class Table(BaseModel):
    """What every table has in common: strict types, no unknown keys, immutable."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Host(Table):
    """One device."""

    address: Annotated[str, Field(description="user@host[:port], a name of ~/.ssh/config, or local:FOLDER")]
    target: Annotated[str | None, Field(description="a name of targets/, or a file")] = None
    base: Annotated[str | None, Field(description="edgekit's folder there; default: ~/.edgekit")] = None
    python: Annotated[str | None, Field(description="an interpreter there; default: python3")] = None
    options: Annotated[dict[str, str], Field(default_factory=dict, description="as ssh -o KEY=VALUE")]


class Content(Table):
    """The file."""

    hosts: Annotated[dict[str, Host], Field(default_factory=dict)]
    groups: Annotated[dict[str, list[str]], Field(default_factory=dict, description="name -> hosts and groups")]


@dataclass(frozen=True)
class Device:
    """A device to talk to. `name` is how the user calls it."""

    name: str
    address: Address
    base: str = BASE
    python: str | None = None
    target: str | None = None
    ssh_options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Inventory:
    """Named devices, and named groups of them. `path` is None where there is no file."""

    path: Path | None
    hosts: Mapping[str, Device]
    groups: Mapping[str, Sequence[str]]

    def find(self, words: Sequence[str], base: str | None = None, python: str | None = None) -> list[Device]:
        """The devices of DEVICE arguments, each once, in their order; `base` and `python` go before the file's.

        A word that is no name and no group is an address. Raises ConfigError for one that resembles a name.
        """
        if base is not None and not base.startswith(_BASES):
            raise ConfigError(f"--base: found {base!r}, expected /a/folder or ~/a/folder")
        if python is not None and not python.startswith("/"):
            raise ConfigError(f"--python: found {python!r}, expected the whole path of an interpreter there")
        found = {device.name: device for word in words for device in self._resolve(word)}
        return [
            Device(
                device.name, device.address, base or device.base, python or device.python, device.target,
                device.ssh_options,
            )
            for device in found.values()
        ]  # fmt: skip

    def _resolve(self, word: str) -> Iterator[Device]:
        if word in self.hosts:
            yield self.hosts[word]
        elif word in self.groups:
            for member in self.groups[word]:
                yield from self._resolve(member)
        else:
            yield self._address(word)

    def _address(self, word: str) -> Device:
        """A device that the file does not name. A plain word may be a host of ~/.ssh/config, or a slip of the pen."""
        hint = did_you_mean(word, [*self.hosts, *self.groups])
        if "did you mean" in hint and not set(word) & set("@:[."):
            raise ConfigError(f"{self.path}: no device or group '{word}'{hint}")
        address = parse_address(word)
        return Device(word, address, address.host if address.transport == "local" else BASE)


def load_inventory(path: Path | None = None) -> Inventory:
    """The inventory at `path`, $EDGEKIT_DEVICES, ./devices.toml or ~/.config/edgekit/devices.toml; else an empty one.

    Raises ConfigError with a line for every fault.
    """
    named = path or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None)
    places = [named] if named else [Path(DEFAULT), Path("~/.config/edgekit").expanduser() / DEFAULT]
    source = next((place for place in places if place == named or place.is_file()), None)
    if source is None:
        return Inventory(None, {}, {})
    content = validate(Content, read_toml(source), str(source))
    problems = list(_problems(content))
    if problems:
        raise ConfigError([f"{source}: {problem}" for problem in problems])
    hosts = {name: _device(name, host) for name, host in content.hosts.items()}
    return Inventory(source, hosts, content.groups)


def _device(name: str, host: Host) -> Device:
    address = parse_address(host.address)
    base = host.base or (address.host if address.transport == "local" else BASE)
    return Device(name, address, base, host.python, host.target, host.options)


def _problems(content: Content) -> Iterator[str]:
    """What types alone do not say."""
    known: dict[str, Any] = {**content.hosts, **content.groups}
    for name, host in content.hosts.items():
        try:
            parse_address(host.address)
        except ConfigError as error:
            yield f"hosts {name}: key 'address': {error}"
        if host.base is not None and not host.base.startswith(_BASES):
            yield f"hosts {name}: key 'base': found {host.base!r}, expected /a/folder or ~/a/folder"
        if host.python is not None and not host.python.startswith("/"):
            yield f"hosts {name}: key 'python': found {host.python!r}, expected the whole path of an interpreter there"
    for name, members in content.groups.items():
        if name in content.hosts:
            yield f"groups: '{name}' is a host too; give one of them another name"
        yield from (
            f"groups: '{name}': no device or group '{member}'{did_you_mean(member, known)}"
            for member in members
            if member not in known
        )
        if _is_circular(name, content.groups):
            yield f"groups: '{name}' goes round in a circle"


def _is_circular(name: str, groups: Mapping[str, Sequence[str]]) -> bool:
    waiting, seen = list(groups[name]), set[str]()
    while waiting:
        member = waiting.pop()
        if member == name:
            return True
        if member not in seen:
            seen.add(member)
            waiting += groups.get(member, ())
    return False
