"""Signs bundles with an SSH key, and checks such signatures with the very code that a device checks them with.

`manifest.json.sig` lies beside the manifest and is not listed in it; what it holds and why is told in agent/trust.py.
"""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from .agent.errors import Trouble
from .agent.manifest import NAME, SIGNATURE_NAME, read_manifest
from .agent.trust import (
    EARLIEST_UNIX,
    LATEST_UNIX,
    MAX_BYTES,
    NAMESPACE,
    Signature,
    check_signature,
    make_statement,
    parse_signature,
)
from .atomic import write_text
from .bundle import Bundle, open_bundle
from .errors import BundleError, ConfigError


@dataclass(frozen=True)
class Signed:
    """A bundle's signature; `principal` is the signer by name, once an allowed_signers file has said it."""

    bundle: Path
    digest: str
    signed_unix: int
    fingerprint: str
    principal: str | None = None


def sign(path: Path, key: Path, signed_unix: int | None = None) -> Signed:
    """Sign a bundle's folder, all of whose files are checked first, and put the signature beside its manifest.

    `key` is a private key, or the public half of one that ssh-agent holds. `signed_unix` orders bundles; default: now.
    Raises BundleError for a bundle that a device would not take, ConfigError for a key that cannot sign.
    """
    bundle = _open(path)
    if not key.expanduser().is_file():
        raise ConfigError(f"{key}: no such key; ssh-keygen -t ed25519 makes one")
    when = int(time.time()) if signed_unix is None else signed_unix
    if not EARLIEST_UNIX <= when <= LATEST_UNIX:
        today = time.strftime("%Y-%m-%d", time.gmtime(when))
        raise ConfigError(f"{path}: not signed: bundles are ordered by their signing time, and this clock says {today}")
    statement = make_statement(bundle.digest, when)
    text = statement + _ask_keygen(statement, key.expanduser())
    signature = _parse(text, str(key))
    write_text(path / SIGNATURE_NAME, text)
    return _describe(path, signature)


def check(path: Path, signers: Path) -> Signed:
    """Who of `signers`, an OpenSSH allowed_signers file, signed a bundle's folder, all of whose files are checked too.

    Raises BundleError where nobody did, ConfigError where there is no such file.
    """
    bundle = _open(path)
    if not signers.is_file():
        raise ConfigError(f'{signers}: no such file; a line of it: name namespaces="{NAMESPACE}" ssh-ed25519 AAAA…')
    signature = read_signature(path)
    if signature is None:
        raise BundleError(f"{path}: unsigned; edgekit sign {path} --key KEY")
    try:
        principal = check_signature(signature, bundle.digest, signers.absolute())
    except Trouble as trouble:
        raise BundleError(f"{path}: {trouble}") from None
    return _describe(path, signature, principal)


def read_signature(path: Path) -> Signature | None:
    """The signature beside a bundle's manifest, None where there is none. Raises BundleError for a damaged one."""
    file = path / SIGNATURE_NAME
    if not file.is_file():
        return None
    with file.open("rb") as stream:
        return _parse(stream.read(MAX_BYTES + 1).decode("utf-8", "replace"), str(path))


def _open(path: Path) -> Bundle:
    """A bundle's folder that a device would take as well."""
    bundle = open_bundle(path)
    if bundle.path.is_file():
        raise BundleError(f"{path}: an archive; sign the folder that it was made of, then archive it again")
    try:
        read_manifest((path / NAME).read_bytes())
    except Trouble as trouble:
        raise BundleError(f"{path}: a device would refuse it: {trouble}") from None
    return bundle


def _ask_keygen(statement: str, key: Path) -> str:
    """The armoured signature by the system's ssh-keygen, which asks on the terminal for a passphrase or a touch."""
    try:
        done = subprocess.run(
            ["ssh-keygen", "-Y", "sign", "-n", NAMESPACE, "-f", str(key)],
            input=statement.encode(), capture_output=True, check=False,
        )  # fmt: skip
    except FileNotFoundError:
        raise ConfigError("there is no ssh-keygen here: install openssh-client") from None
    if done.returncode:
        said = [line.strip() for line in done.stderr.decode("utf-8", "replace").splitlines() if line.strip()]
        raise ConfigError(f"{key}: cannot sign: {said[-1] if said else 'ssh-keygen did not say why'}")
    return done.stdout.decode()


def _parse(text: str, name: str) -> Signature:
    try:
        return parse_signature(text)
    except Trouble as trouble:
        raise BundleError(f"{name}: {trouble}") from None


def _describe(path: Path, signature: Signature, principal: str | None = None) -> Signed:
    return Signed(path, signature.digest, signature.signed_unix, signature.fingerprint, principal)
