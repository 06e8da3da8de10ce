"""A Mender artifact, format 3, of payload type `directory`: the update module of that name comes with Mender's client.

The module unpacks the parcel to a folder; state scripts then let the agent install it from there. A script that fails
makes the client roll back, which puts the folder back and, by another script, what ran before. Format: Mender's
artifact-format-v3.md; the files of the payload: its directory-artifact-gen; the scripts: its documentation's
"State scripts" (exit codes 0 and 1 only, stderr is logged, each may run again after a power cut).
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..atomic import write_bytes
from ..errors import ConfigError
from .parcel import Exported, Parcel
from .place import writing
from .tars import gzip, join, pack

IS_FOLDER = False
SUFFIX = ".mender"
#: What the device says it provides, in Mender's words: file system, software, version.
SOFTWARE = "rootfs-image.edgekit"
_DEVICE_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}\Z")

_CALL = "python3 -I -B {folder}/handover.py"
#: Runs as root in no folder in particular; without the folder, a module that failed has left nothing to do.
_SCRIPTS = {
    "ArtifactInstall_Leave_00_edgekit": f"{_CALL} install --remember || exit 1\n",
    "ArtifactCommit_Enter_00_edgekit": f"{_CALL} install --remember || exit 1\n",
    "ArtifactRollback_Enter_00_edgekit": (
        f"test -f {{folder}}/handover.py || exit 0\n{_CALL} back {{digest}} || exit 1\n"
    ),
}


@dataclass(frozen=True)
class Options:
    """`device_types`: which devices may take it, as Mender's server knows them."""

    device_types: Sequence[str]


def file_name(parcel: Parcel) -> str:
    """What it is called."""
    return f"{_artifact_name(parcel)}{SUFFIX}"


def export(parcel: Parcel, options: Options, out: Path) -> Exported:
    """Write the artifact. Raises ConfigError for a device type that Mender would not take."""
    if not options.device_types:
        raise ConfigError("--device-type: needed, as in /var/lib/mender/device_type of the devices: raspberrypi4_64")
    for kind in options.device_types:
        if not _DEVICE_TYPE.match(kind):
            raise ConfigError(f"--device-type {kind!r}: expected letters, digits and . _ + -: raspberrypi4_64")
    with writing(out):
        content = _artifact(parcel, options)
        write_bytes(out, content)
    file = shlex.quote(str(out))
    by_hand = f"mender-update install {file}; mender-update commit"
    return Exported(
        out,
        hashlib.sha256(content).hexdigest(),
        len(content),
        f"mender-cli artifacts upload {file}   (one device by hand: {by_hand})",
        parcel.notes,
    )


def _artifact(parcel: Parcel, options: Options) -> bytes:
    """version, manifest, header, data: in the order that the format asks for."""
    version = _json({"format": "mender", "version": 3})
    header = gzip(_header(parcel, options))
    payload = {"dest_dir": f"{_folder(parcel)}\n".encode(), "update.tar": pack(parcel.files, prefix="./")}
    sums = {"version": version, "header.tar.gz": header, **{f"data/0000/{k}": v for k, v in payload.items()}}
    manifest = "".join(f"{hashlib.sha256(c).hexdigest()}  {name}\n" for name, c in sorted(sums.items()))
    return join(
        [
            ("version", version),
            ("manifest", manifest.encode()),
            ("header.tar.gz", header),
            ("data/0000.tar.gz", gzip(join(sorted(payload.items())))),
        ]
    )


def _header(parcel: Parcel, options: Options) -> bytes:
    """What it is and for whom, then the scripts, then what the payload is."""
    about = {
        "payloads": [{"type": "directory"}],
        "artifact_provides": {"artifact_name": _artifact_name(parcel)},
        "artifact_depends": {"device_type": list(dict.fromkeys(options.device_types))},
    }
    kind = {
        "type": "directory",
        "artifact_provides": {f"{SOFTWARE}.version": _artifact_name(parcel)},
        "clears_artifact_provides": [f"{SOFTWARE}.*"],
    }
    scripts = {f"scripts/{name}": _script(text, parcel) for name, text in sorted(_SCRIPTS.items())}
    listed: list[tuple[str, bytes | None]] = [
        ("header-info", _json(about)),
        *scripts.items(),
        ("headers/0000/type-info", _json(kind)),
    ]
    return join(listed, programs=scripts)


def _script(text: str, parcel: Parcel) -> bytes:
    filled = text.format(folder=_folder(parcel), digest=parcel.digest)
    return f"#!/bin/sh\n# edgekit: {parcel.name}, release {parcel.digest[:16]}\n{filled}exit 0\n".encode()


def _folder(parcel: Parcel) -> str:
    """Beside the base, so that the agent can link what lies there: the module empties it before each update."""
    return f"{parcel.base}-mender"


def _artifact_name(parcel: Parcel) -> str:
    """One for each content: Mender takes two of one name for the same."""
    return f"{parcel.name}-{parcel.version}" + ("" if parcel.digest[:8] in parcel.version else f"-{parcel.digest[:8]}")


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()
