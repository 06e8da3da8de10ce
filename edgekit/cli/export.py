"""`edgekit export`: a bundle as what a fleet's own update system takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import wraps
from pathlib import Path
from typing import Any

import click

from .console import json_option, open_console, print_json, size
from .numbers import Finite
from .service_options import check_listening

_COMMON = (
    click.argument("bundle", type=click.Path(path_type=Path)),
    click.option("-o", "--out", type=click.Path(path_type=Path), help="What is written.  [default: beside the bundle]"),
    click.option("--version", "number", help="MAJOR.MINOR.PATCH.  [default: when the bundle was signed]"),
    click.option("--base", default="/var/lib/edgekit", show_default=True, help="Where releases lie on the device."),
    click.option("--python", help="The device's interpreter that has the runtime, where the bundle brings no wheels."),
    click.option("--health-seconds", type=Finite(1, 3600), default=300, show_default=True,
                 help="The most that one check may take on the device."),
    click.option("--allow-older", is_flag=True, help="Also where the device runs what was signed later."),
    click.option("--service", is_flag=True, help="Serve it by a systemd unit of the system."),
    click.option("--host", help="With --service: the address to serve at.  [default: 127.0.0.1]"),
    click.option("--port", type=click.IntRange(1, 65535), help="With --service.  [default: 8476]"),
    click.option("--socket", is_flag=True, help="With --service: a Unix socket instead."),
    click.option("--token-file", help="With --service: a file on the device; needed for a --host that is not local."),
    json_option,
)  # fmt: skip
#: What the example of a format needs beside the bundle.
_EXAMPLES = {"mender": ["--device-type raspberrypi4_64"], "greengrass": ["--bucket s3://acme-fleet"]}


@click.group("export", epilog="Example: edgekit export deb dist/distilbert-int8-raspberrypi --service")
def command() -> None:
    """A bundle as a Mender artifact, a Greengrass component, a Debian package or an OCI image.

    On the device the golden samples decide as they do with `edgekit flash`: what does not answer there as it did here
    does not become current, and the update system is told so.
    """


def exporter(write: Callable[..., dict[str, Any]]) -> click.Command:
    """A subcommand of the function's name; the function's options are the format's own, what it gives its `Options`."""
    name = write.__name__

    @wraps(write)
    def run(bundle: Path, out: Path | None, as_json: bool, **given: Any) -> None:
        from ..bundle import open_bundle
        from ..export import load_format
        from ..export.parcel import Settings, make_parcel
        from ..export.place import default_path

        form = load_format(name)
        served = _service(*(given.pop(key) for key in ("service", "host", "port", "socket", "token_file")))
        settings = Settings(
            base=given.pop("base"), python=given.pop("python"), version=given.pop("number"),
            health_s=given.pop("health_seconds"), allow_older=given.pop("allow_older"), service=served,
        )  # fmt: skip
        parcel = make_parcel(open_bundle(bundle), settings)
        path = default_path(out, bundle, form.file_name(parcel), form.IS_FOLDER)
        done = form.export(parcel, form.Options(**write(**given)), path)
        if as_json:
            print_json({**asdict(done), "name": parcel.name, "version": parcel.version, "digest": parcel.digest})
            return
        console = open_console()
        console.print(f"{done.path}  {size(done.size_bytes)}  sha256 {done.sha256}", markup=False)
        for note in done.notes:
            console.print(f"note: {note}", markup=False)
        console.print(f"next: {done.next}", markup=False)

    wrapped: Any = run
    for option in reversed(_COMMON):
        wrapped = option(wrapped)
    example = f"Example: edgekit export {name} dist/distilbert-int8-raspberrypi"
    return command.command(name, epilog=" ".join([example, *_EXAMPLES.get(name, ())]))(wrapped)


def _service(
    asked: bool, host: str | None, port: int | None, socket: bool, token_file: str | None
) -> dict[str, Any] | None:
    """The fields of the agent's command `service`; refused here: what every device would refuse."""
    check_listening(host, port, socket, token_file)
    fields = {"host": host, "port": port, "socket": socket or None, "token_file": token_file}
    chosen = {key: value for key, value in fields.items() if value is not None}
    if chosen and not asked:
        raise click.UsageError(f"--{next(iter(chosen)).replace('_', '-')} goes with --service")
    return chosen if asked else None


@exporter
@click.option("--device-type", "device_types", multiple=True, help="Which devices may take it, as Mender knows them.")
def mender(device_types: tuple[str, ...]) -> dict[str, Any]:
    """A Mender artifact: update module `directory`, with state scripts that check, and go back."""
    return {"device_types": device_types}


@exporter
@click.option("--bucket", default="s3://BUCKET", show_default=True, help="Where its zip will lie: s3://NAME/PREFIX.")
@click.option("--component", help="Its name.  [default: edgekit.NAME]")
@click.option("--publisher", default="edgekit", show_default=True, help="Who made it.")
def greengrass(bucket: str, component: str | None, publisher: str) -> dict[str, Any]:
    """An AWS IoT Greengrass v2 component: recipe and zip, in the folders of a local deployment."""
    return {"bucket": bucket, "component": component, "publisher": publisher}


@exporter
@click.option("--maintainer", default="edgekit <root@localhost>", show_default=True, help="Who answers for it.")
def deb(maintainer: str) -> dict[str, Any]:
    """A Debian package: installing it installs the bundle, or fails and leaves what ran."""
    return {"maintainer": maintainer}


@exporter
def oci() -> dict[str, Any]:
    """An OCI image layout: the files, without a system."""
    return {}
