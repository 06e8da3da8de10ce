"""Who signed a bundle, and when: `manifest.json.sig`, checked by the system's ssh-keygen.

The file is one line, the statement, and the OpenSSH signature of that line (SSHSIG, namespace edgekit):

    {"digest":"<sha256 of manifest.json>","schema":1,"signed_unix":1790000000}
    -----BEGIN SSH SIGNATURE-----
    …

The manifest holds no time, for the same inputs give the same digest; so what orders two bundles is signed beside it.
One number does both: it is the order, and the moment at which the key must have been valid (`valid-before` and the
like of allowed_signers). Whoever has a key that has expired can only sign for the time before that, and such a bundle
is older than what the device runs. The device's own clock has no part in it. One file, not two: it is replaced whole
or not at all.

The text must be exactly as edgekit writes it: base64 has many spellings of the same bytes, and a signature that was
touched is refused even where it would still hold.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import struct
import subprocess
import time
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from .errors import Failed, Refused
from .manifest import SIGNATURE_NAME, is_digest

NAMESPACE = "edgekit"
SCHEMA = 1
MAX_BYTES = 60_000  # a pipe's buffer takes 65,536
#: 2020 to 2100: outside, a clock was wrong.
EARLIEST_UNIX, LATEST_UNIX = 1_577_836_800, 4_102_444_800
KEYGEN_S = 20

_BEGIN, _END = "-----BEGIN SSH SIGNATURE-----\n", "-----END SSH SIGNATURE-----\n"
_MAGIC = b"SSHSIG"
_WIDTH = 70


@dataclass(frozen=True)
class Signature:
    """A signature file that is well-formed; whether it holds is another question."""

    digest: str
    signed_unix: int
    statement: str
    armour: str
    #: Of the key that it says it is by, as ssh-keygen -l writes it.
    fingerprint: str

    @property
    def text(self) -> str:
        """The whole file."""
        return self.statement + self.armour


def make_statement(digest: str, signed_unix: int) -> str:
    """The line that is signed."""
    content = {"digest": digest, "schema": SCHEMA, "signed_unix": signed_unix}
    return json.dumps(content, sort_keys=True, separators=(",", ":")) + "\n"


def parse_signature(text: str) -> Signature:
    """A signature file from its text. Raises Refused for any other spelling than edgekit's."""
    statement, newline, armour = text.partition("\n")
    statement += newline
    try:
        if len(text) > MAX_BYTES:
            raise ValueError
        content = json.loads(statement)
        digest, signed_unix = content["digest"], content["signed_unix"]
        if statement != make_statement(digest, signed_unix) or not is_digest(digest):
            raise ValueError
        if type(signed_unix) is not int or not EARLIEST_UNIX <= signed_unix < LATEST_UNIX:
            raise ValueError
        return Signature(digest, signed_unix, statement, armour, _read_armour(armour))
    except (ValueError, KeyError, TypeError, RecursionError, struct.error, binascii.Error):
        raise Refused(f"{SIGNATURE_NAME}: damaged, or not written by `edgekit sign`; sign the bundle again") from None


def _read_armour(armour: str) -> str:
    """The fingerprint of the key inside an armoured SSHSIG. Raises ValueError where it is not spelt as OpenSSH does."""
    if not (armour.startswith(_BEGIN) and armour.endswith(_END)):
        raise ValueError
    encoded = armour[len(_BEGIN) : -len(_END)]
    blob = base64.b64decode(encoded.replace("\n", ""), validate=True)
    again = base64.b64encode(blob).decode()
    lines = [again[start : start + _WIDTH] for start in range(0, len(again), _WIDTH)]
    if encoded != "".join(f"{line}\n" for line in lines) or not blob.startswith(_MAGIC):
        raise ValueError
    _version, length = struct.unpack_from(">II", blob, len(_MAGIC))
    start = len(_MAGIC) + 8
    if not 0 < length <= len(blob) - start:
        raise ValueError
    return _fingerprint(blob[start : start + length])


def check_signature(signature: Signature, digest: str, signers: Path) -> str:
    """The principal of `signers` (an OpenSSH allowed_signers file) who signed a manifest of this digest.

    Raises Refused where nobody of them did, Failed where it cannot be found out.
    """
    if signature.digest != digest:
        raise Refused(f"{SIGNATURE_NAME}: is of another manifest (or the manifest was changed); sign the bundle again")
    who = f"signed by {signature.fingerprint}"
    known, said = _ask(signature, "find-principals", signers)
    if not known:
        raise Refused(f"{SIGNATURE_NAME}: {who}, which {signers} does not accept{_reason(said)}")
    principal, said = _verify(signature, known, signers)
    lines = [] if principal else _lines_of(signature, signers)
    for line in lines:
        principal, _ = _verify(signature, _ask(signature, "find-principals", line)[0], line)
        if principal:
            break
    if principal is None:
        raise Refused(f"{SIGNATURE_NAME}: {who}, but the signature does not hold{_reason(said)}")
    return principal


def _verify(signature: Signature, principals: str, signers: Path | bytes) -> tuple[str | None, str]:
    """The first of these by whom it is; and what ssh-keygen said of the last."""
    said = ""
    for principal in principals.splitlines():
        good, said = _ask(signature, "verify", signers, "-n", NAMESPACE, "-I", principal)
        if good:
            return principal, said
    return None, said


def _lines_of(signature: Signature, signers: Path) -> list[bytes]:
    """The lines of allowed_signers with the signature's key, where there are several: find-principals tells of one.

    Each of them may be for another namespace, or for another time.
    """
    try:
        lines = signers.read_bytes().splitlines()
    except OSError:
        return []
    found = [line for line in lines if len(line) < MAX_BYTES and any(_is_key(w, signature) for w in line.split())]
    return found if len(found) > 1 else []


def _is_key(word: bytes, signature: Signature) -> bool:
    try:
        return _fingerprint(base64.b64decode(word, validate=True)) == signature.fingerprint
    except binascii.Error:
        return False


def _fingerprint(key: bytes) -> str:
    """Of a public key, as ssh-keygen -l writes it."""
    return "SHA256:" + base64.b64encode(sha256(key).digest()).decode().rstrip("=")


def _ask(signature: Signature, what: str, signers: Path | bytes, *words: str) -> tuple[str, str]:
    """`ssh-keygen -Y WHAT`: what it printed where it succeeded, else ""; and what it said on stderr.

    `signers` is the file, or what it would hold. What is no file goes through a pipe, so that nothing is written to a
    disk that may be full or read-only.
    """
    at = time.strftime("%Y%m%d%H%M%S", time.gmtime(signature.signed_unix))
    pipes = [_pipe(signature.armour.encode())]
    if isinstance(signers, bytes):
        pipes.append(_pipe(signers + b"\n"))
    listed = f"/dev/fd/{pipes[-1]}" if isinstance(signers, bytes) else str(signers)
    try:
        done = subprocess.run(
            ["ssh-keygen", "-Y", what, "-f", listed, *words, f"-Overify-time={at}", "-s", f"/dev/fd/{pipes[0]}"],
            input=signature.statement.encode(), capture_output=True, pass_fds=pipes, timeout=KEYGEN_S,
            env={**os.environ, "TZ": "UTC0", "LC_ALL": "C"},
        )  # fmt: skip
    except FileNotFoundError:
        raise Failed(f"{listed} asks for signed bundles, but there is no ssh-keygen: install openssh-client") from None
    except subprocess.TimeoutExpired:
        raise Failed(f"ssh-keygen -Y {what} did not answer within {KEYGEN_S} s") from None
    finally:
        for pipe in pipes:
            os.close(pipe)
    said = done.stderr.decode("utf-8", "replace").strip()
    return (done.stdout.decode("utf-8", "replace").strip() if done.returncode == 0 else ""), said


def _pipe(content: bytes) -> int:
    """The end of a pipe that this can be read from."""
    inside, outside = os.pipe()
    os.write(outside, content)
    os.close(outside)
    return inside


def _reason(said: str) -> str:
    """The first line that ssh-keygen said, for the end of an error."""
    lines = [line.strip() for line in said.splitlines() if line.strip() and line.strip() != "No principal matched."]
    return f" ({lines[0][:200]})" if lines else ""


def check_order(signed_unix: int | None, current: int | None, allow_older: bool) -> None:
    """Refuse what was signed before that which runs. Unsigned (None) is older than anything signed."""
    if allow_older or current is None or (signed_unix is not None and signed_unix >= current):
        return
    when = "unsigned" if signed_unix is None else f"signed {_day(signed_unix)}"
    raise Refused(
        f"older than what this device runs ({when}; current: signed {_day(current)}); sign it again, or say that older "
        "is meant (flash --allow-older, devices rollback --force)"
    )


def _day(unix: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(unix))
