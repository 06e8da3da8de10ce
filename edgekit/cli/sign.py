"""`edgekit sign`: sign a bundle with an SSH key, or say who did."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from .console import json_option, open_console, print_json


@click.command("sign", epilog="Example: edgekit sign dist/distilbert-int8-raspberrypi --key ~/.ssh/id_ed25519")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--key", type=click.Path(path_type=Path), help="A private SSH key, or the public half of an agent's.")
@click.option("--check", "checked", is_flag=True, help="Sign nothing; say who signed it.")
@click.option("--signers", type=click.Path(path_type=Path), help="With --check: an OpenSSH allowed_signers file.")
@json_option
def command(bundle: Path, key: Path | None, checked: bool, signers: Path | None, as_json: bool) -> None:
    """Sign a bundle's folder (manifest.json.sig, by ssh-keygen), or check its signature.

    A device that has an allowed_signers file in its edgekit folder takes only what one of those has signed, and
    nothing that was signed before what it runs.
    """
    from ..sign import check, sign

    if checked == (key is not None) or checked != (signers is not None):
        raise click.UsageError("say either --key KEY, or --check --signers FILE")
    if signers is not None:
        found = check(bundle, signers)
    else:
        assert key is not None
        found = sign(bundle, key)
    if as_json:
        print_json({
            "bundle": found.digest, "signed_unix": found.signed_unix, "fingerprint": found.fingerprint,
            "principal": found.principal,
        })  # fmt: skip
        return
    when = datetime.fromtimestamp(found.signed_unix, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    by = f"{found.principal}, {found.fingerprint}" if found.principal else found.fingerprint
    open_console().print(f"{bundle}: sha256 {found.digest}, signed {when} by {by}", markup=False)
