"""SSH keys for the tests, and allowed_signers files of them."""

from __future__ import annotations

import subprocess
from pathlib import Path


def make_key(path: Path, kind: str = "ed25519", *words: str) -> Path:
    """A private key without a passphrase, its public half beside it."""
    made = subprocess.run(
        ["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", path.name, "-f", str(path), *words], capture_output=True
    )
    assert made.returncode == 0, made.stderr
    return path


def allow(signers: Path, *keys: Path, options: str = 'namespaces="edgekit"') -> None:
    """Each key may sign under its file's name."""
    signers.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{k.name}@lab {options} {k.with_suffix('.pub').read_text()}" for k in keys]
    signers.write_text("".join(lines))


def sign_with_namespace(statement: str, key: Path, namespace: str) -> str:
    """A signature file for any statement and namespace."""
    done = subprocess.run(
        ["ssh-keygen", "-q", "-Y", "sign", "-n", namespace, "-f", str(key)],
        input=statement.encode(),
        capture_output=True,
    )
    return statement + done.stdout.decode()
