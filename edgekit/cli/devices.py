"""`edgekit devices`: what runs where, and the way back."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .console import json_option, print_json, print_table, size
from .device_options import Way, device_options, devices_argument

if TYPE_CHECKING:
    from ..flash import Remote


@click.group("devices", epilog="Example: edgekit devices rollback pi@kitchen.local")
def command() -> None:
    """See what devices run, go back, make room, read what was done there."""


@command.command("ls", epilog="Example: edgekit devices ls")
@click.option("--inventory", type=click.Path(path_type=Path), help="[default: as of `edgekit flash`]")
@json_option
def list_devices(inventory: Path | None, as_json: bool) -> None:
    """The inventory's hosts and groups; no device is asked."""
    from ..inventory import load_inventory

    found = load_inventory(inventory)
    if as_json:
        hosts = [
            {"name": d.name, "address": str(d.address), "base": d.base, "python": d.python, "target": d.target}
            for d in found.hosts.values()
        ]
        groups = {name: list(members) for name, members in found.groups.items()}
        print_json({"inventory": found.path and str(found.path), "hosts": hosts, "groups": groups})
        return
    if found.path is None:
        click.echo('no inventory; devices.toml: [hosts.kitchen] address = "pi@kitchen.local"')
        return
    rows = [(d.name, str(d.address), d.target or "", d.base) for d in found.hosts.values()]
    print_table(("device", "address", "target", "base"), rows)
    if found.groups:
        print_table(("group", "members"), [(name, ", ".join(members)) for name, members in found.groups.items()])


@command.command("show", epilog="Example: edgekit devices show kitchen")
@devices_argument
@device_options
@json_option
def show(devices: tuple[str, ...], way: Way, as_json: bool) -> None:
    """The releases on devices: which is current, which is the way back, and what they take."""
    _each(way, devices, as_json, lambda remote: remote.call("show"), _print_show)


@command.command("rollback", epilog="Example: edgekit devices rollback kitchen")
@devices_argument
@click.option("--to", metavar="DIGEST", help="A release that is there; its beginning is enough.  [default: previous]")
@click.option("--force", is_flag=True, help="Also to one that was signed before the one that runs.")
@device_options
@json_option
def rollback(devices: tuple[str, ...], to: str | None, force: bool, way: Way, as_json: bool) -> None:
    """Let devices run the release before, if it is healthy there."""

    def go(remote: Remote) -> dict[str, Any]:
        digest = _whole_digest(remote, to)
        return remote.switch("rollback", way.timeout, to=digest, force=force, python=way.python)

    _each(way, devices, as_json, go, lambda answer: [f"runs {answer['digest'][:16]} now, healthy"])


@command.command("prune", epilog="Example: edgekit devices prune kitchen --keep 1")
@devices_argument
@click.option("--keep", type=click.IntRange(min=0), default=0, show_default=True, help="Beside current and previous.")
@device_options
@json_option
def prune(devices: tuple[str, ...], keep: int, way: Way, as_json: bool) -> None:
    """Remove old releases, files of no release, and transfers that were never finished."""
    _each(
        way, devices, as_json, lambda remote: remote.call("prune", keep=keep),
        lambda answer: [f"{len(answer['removed'])} releases removed, {size(answer['freed_bytes'])} freed"],
    )  # fmt: skip


@command.command("logs", epilog="Example: edgekit devices logs kitchen -n 50")
@devices_argument
@click.option("-n", "count", type=click.IntRange(min=1), default=20, show_default=True, help="Lines.")
@device_options
@json_option
def logs(devices: tuple[str, ...], count: int, way: Way, as_json: bool) -> None:
    """What was switched, kept and rolled back on devices, and when by their clocks."""
    _each(
        way, devices, as_json, lambda remote: remote.call("logs", keep=count),
        lambda answer: [_journal_line(entry) for entry in answer["lines"]] or ["nothing was done yet"],
    )  # fmt: skip


def _each(
    way: Way, words: Sequence[str], as_json: bool, do: Callable[[Remote], dict[str, Any]],
    lines: Callable[[dict[str, Any]], list[str]],
) -> None:  # fmt: skip
    """Ask one device after the other; one that fails does not stop the others, and decides the exit code."""
    from ..errors import EdgekitError
    from ..flash import Remote
    from ..transports import connect

    code, answers = 0, []
    for device in way.find(words):
        began = time.monotonic()
        try:
            with connect(device.address, way.line(device)) as transport:
                answer = do(Remote(transport, device))
        except EdgekitError as error:
            code = code or error.exit_code
            answer = {"ok": False, "error": str(error)}
            for line in str(error).splitlines():
                click.echo(f"edgekit: {line}", err=True)
        took = round(time.monotonic() - began, 3)
        answers.append({"device": device.name, "address": str(device.address), "seconds": took, **answer})
        if answer["ok"] and not as_json:
            click.echo("\n".join(f"{device.name}: {line}" for line in lines(answer)))
    if as_json:
        print_json({"ok": not code, "devices": answers})
    if code:
        raise click.exceptions.Exit(code)


def _whole_digest(remote: Remote, to: str | None) -> str | None:
    """The one release there whose digest begins so."""
    from ..errors import DeviceError

    if to is None:
        return None
    there: list[str] = [release["digest"] for release in remote.call("show")["releases"]]
    found: list[str] = [digest for digest in there if digest.startswith(to)]
    if len(found) != 1:
        possible = ", ".join(digest[:16] for digest in there) or "none"
        what = "no release" if not found else f"{len(found)} releases"
        raise DeviceError(f"{remote.device.name}: {what} there of digest {to}; possible: {possible}")
    return found[0]


def _print_show(answer: dict[str, Any]) -> list[str]:
    lines = [
        f"{_marks(release):10} {release['digest'][:16]}  {release['name'] or '?'}"
        + (f", {size(release['size_bytes'])}" if release["size_bytes"] is not None else "")
        + (f", signed {_time(release['signed_unix'])}" if release["signed_unix"] else "")
        + ("" if release["verified"] else ", never verified")
        + (f"; {release['problem']}" if release["problem"] else "")
        for release in answer["releases"]
    ]
    waiting = f", {size(answer['incoming_bytes'])} of unfinished transfers" if answer["incoming_bytes"] else ""
    trust = "; takes signed bundles only" if answer["trusts_signed_only"] else ""
    return [*(lines or ["no bundle yet"]), f"{answer['base']}: {size(answer['blob_bytes'])}{waiting}{trust}"]


def _marks(release: dict[str, Any]) -> str:
    return "current" if release["current"] else "previous" if release["previous"] else ""


def _journal_line(entry: dict[str, Any]) -> str:
    facts = {key: value for key, value in entry.items() if key not in ("event", "time_unix") and value is not None}
    said = ", ".join(f"{key} {str(value)[:16] if _is_digest(value) else value}" for key, value in facts.items())
    return f"{_time(entry.get('time_unix'))}  {entry.get('event')}: {said}"


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")


def _time(unix: object) -> str:
    """A device's word for a time, which may be any number."""
    try:
        return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError, OSError):
        return "?"
