"""What every export carries to the device: the bundle, the agent, and what the update system calls there."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ..agentfile import build_agent
from ..bundle import Bundle, unpack
from ..devicebase import is_own
from ..errors import BundleError, ConfigError
from ..sign import read_signature

BASE = "/var/lib/edgekit"
#: The time that all of it may take on the device, as a multiple of what one health check may: verify, switch, serve.
TIMES_HEALTH = 4
_VERSION = re.compile(r"(0|[1-9]\d{0,5})\.(0|[1-9]\d{0,5})\.(0|[1-9]\d{0,5})\Z")
#: What may stand in scripts, recipes and control files without quotes.
_PATH = re.compile(r"(/[A-Za-z0-9][A-Za-z0-9._+-]*){2,12}\Z")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}\Z")
WAIT_S = 600


@dataclass(frozen=True)
class Settings:
    """What the agent is asked for on the device."""

    base: str = BASE
    python: str | None = None  # of the device; None: its own venv where the bundle brings wheels, else its python3
    version: str | None = None  # MAJOR.MINOR.PATCH; None: when the bundle was signed
    health_s: float = 300.0
    allow_older: bool = False
    service: Mapping[str, Any] | None = None  # the fields of the agent's command `service`


@dataclass(frozen=True)
class Parcel:
    """A bundle, ready for the journey."""

    name: str
    digest: str
    version: str
    arch: str | None  # as the kernel says it: aarch64
    about: str  # one line
    licence: str
    base: str
    timeout_s: int
    brings_runtime: bool
    brings_pip: bool
    files: Mapping[str, bytes] = field(repr=False)  # by path on the device, below a folder of the format's choice
    notes: tuple[str, ...] = ()

    @property
    def size_bytes(self) -> int:
        """What it takes on disk."""
        return sum(map(len, self.files.values()))


@dataclass(frozen=True)
class Exported:
    """What was written."""

    path: Path
    sha256: str | None  # None for a folder
    size_bytes: int
    next: str  # the command that comes after
    notes: tuple[str, ...] = ()


def make_parcel(bundle: Bundle, settings: Settings) -> Parcel:
    """Read a bundle's folder or archive. Raises ConfigError for settings that cannot be, BundleError for the bundle."""
    problems = _problems(settings)
    if problems:
        raise ConfigError(problems)
    if bundle.path.is_file():
        with TemporaryDirectory() as folder:
            return make_parcel(unpack(bundle.path, Path(folder) / "bundle"), settings)
    manifest = bundle.manifest
    name = str(manifest["name"])
    if not _NAME.match(name):
        raise BundleError(f"{bundle.path}: name {name!r}: letters, digits and . _ + - only; build it under another")
    files = {
        f"bundle/{path}": (bundle.path / path).read_bytes()
        for path in (*manifest["files"], "manifest.json", "manifest.json.sig")
        if path != "manifest.json.sig" or (bundle.path / path).is_file()
    }
    files["agent.pyz"] = build_agent().content
    files["handover.py"] = Path(__file__).with_name("handover.py").read_bytes()
    files["install.json"] = json.dumps(_request(settings), indent=1, sort_keys=True).encode() + b"\n"
    wheels = [path for path in manifest["files"] if path.startswith("wheels/")]
    runtime = manifest["runtime"]
    package = f"{runtime.get('package', runtime['name'])} {runtime.get('version') or ''}".strip()
    return Parcel(
        name=name,
        digest=bundle.digest,
        version=settings.version or _signed_version(bundle),
        arch=manifest.get("target", {}).get("arch"),
        about=f"{name}: a model for {package}, which runs where it answers as validated",
        licence=files["bundle/LICENSE"].decode("utf-8", "replace") if "bundle/LICENSE" in files else "unknown\n",
        base=settings.base,
        timeout_s=round(TIMES_HEALTH * settings.health_s + WAIT_S),
        brings_runtime=bool(wheels),
        brings_pip=any(path.startswith("wheels/pip-") for path in wheels),
        files=files,
        notes=tuple(_notes(settings, package, bool(wheels), "bundle/manifest.json.sig" in files)),
    )


def _problems(settings: Settings) -> list[str]:
    """What of the settings could not work on any device."""
    found = []
    if not _PATH.match(settings.base):
        found.append(
            f"--base {settings.base}: expected a folder of the device, two levels deep or more, "
            f"of letters, digits and . _ + -: {BASE}"
        )
    elif not is_own(settings.base):
        found.append(
            f"--base {settings.base}: is the system's; expected a folder that only edgekit uses: {BASE}, /opt/edgekit"
        )
    if settings.python is not None and not _PATH.match(settings.python):
        found.append(f"--python {settings.python}: expected the path of a Python on the device: /opt/venv/bin/python3")
    if settings.version is not None and not _VERSION.match(settings.version):
        found.append(f"--version {settings.version}: expected MAJOR.MINOR.PATCH, each a number up to 999999")
    return found


def _request(settings: Settings) -> dict[str, Any]:
    """The agent's request, but for where the bundle lies."""
    service = None if settings.service is None else {"action": "install", "scope": "system", **settings.service}
    return {
        "protocol": 1, "base": settings.base, "wait_s": WAIT_S, "python": settings.python,
        "health_s": settings.health_s, "allow_older": settings.allow_older, "service": service,
    }  # fmt: skip


def _signed_version(bundle: Bundle) -> str:
    """When it was signed, as a version: a later signature is a higher one. Unsigned ones have no order."""
    signature = read_signature(bundle.path)
    if signature is None:
        return f"0.0.0-g{bundle.digest[:8]}"
    at = time.gmtime(signature.signed_unix)
    return f"{at.tm_year}.{at.tm_mon * 100 + at.tm_mday}.{at.tm_hour * 10000 + at.tm_min * 100 + at.tm_sec}"


def _notes(settings: Settings, package: str, has_wheels: bool, is_signed: bool) -> list[str]:
    found = []
    if not has_wheels and settings.python is None:
        found.append(
            f"it brings no runtime: the device's own python3 needs {package}; "
            "build it with --with-runtime, or name another interpreter there by --python"
        )
    if not is_signed and settings.version is None:
        found.append("unsigned, so its version says nothing of what is newer; sign it, or say --version")
    return found
