"""A Debian package: its postinst lets the agent install the bundle, and fails where that does.

A package that fails to configure leaves the device with what it ran. One of these can be installed at a time, for a
device runs one bundle: each provides, conflicts with and replaces `edgekit-bundle`. Format: deb(5), Debian Policy 3.7
(names), 5.6.12 (versions), 6 (maintainer scripts), 7.4 (virtual packages), 12.5 (copyright).
Compressed by gzip: weights and wheels hardly shrink, at whatever cost.
"""

from __future__ import annotations

import hashlib
import re
import shlex
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path

from ..agent.systemd import NAME as SERVICE
from ..atomic import write_bytes
from ..devicebase import MADE
from ..errors import ConfigError
from .parcel import Exported, Parcel
from .place import writing
from .tars import EPOCH, gzip, pack

#: As the kernel calls a processor, and as Debian does.
_ARCHES = {"aarch64": "arm64", "x86_64": "amd64", "armv7l": "armhf", "i686": "i386", "riscv64": "riscv64", None: "all"}
IS_FOLDER = False
_MAINTAINER = re.compile(r"[^<>\n,]+ <[^<>@\s]+@[^<>@\s]+>\Z")

_POSTINST = """\
#!/bin/sh
set -e
if [ "$1" = configure ]; then
    python3 -I -B {folder}/handover.py install
fi
"""
_PRERM = """\
#!/bin/sh
set -e
if [ "$1" = remove ] && [ "${{2:-}}" != in-favour ]; then
    python3 -I -B {folder}/handover.py remove || true
fi
"""
#: What the agent made, by name, where it did; what the owner put there stays, and so does all that another such
#: package uses. A service that no `remove` could end goes here.
_POSTRM = """\
#!/bin/sh
set -e
if [ "$1" = purge ] && ! ls /usr/lib/edgekit/*/handover.py >/dev/null 2>&1 && [ -d {base} ]; then
    cd {base}
    if [ -f journal.jsonl ] && [ -d releases ]; then
        if grep -q '"scope": "system"' service.json 2>/dev/null; then
            if [ -d /run/systemd/system ]; then deb-systemd-invoke stop {service} || true; fi
            rm -f /etc/systemd/system/{service} /etc/systemd/system/*.wants/{service}
            if [ -d /run/systemd/system ]; then systemctl --system daemon-reload || true; fi
        fi
        rm -rf {made}
    fi
    cd /
    rmdir --ignore-fail-on-non-empty {base}
fi
"""


@dataclass(frozen=True)
class Options:
    """`maintainer`: who answers for the package, `Name <address>`."""

    maintainer: str = "edgekit <root@localhost>"


def file_name(parcel: Parcel) -> str:
    """What it is called."""
    return f"{_package(parcel)}_{_version(parcel)}_{_arch(parcel)}.deb"


def export(parcel: Parcel, options: Options, out: Path) -> Exported:
    """Write the package. Raises ConfigError for a maintainer that is none."""
    if not _MAINTAINER.match(options.maintainer):
        raise ConfigError(f"--maintainer {options.maintainer!r}: expected Name <address>: Fleet <fleet@example.com>")
    with writing(out):
        files = _files(parcel, options)
        content = _ar(
            {
                "debian-binary": b"2.0\n",
                "control.tar.gz": gzip(_control(parcel, options, files)),
                "data.tar.gz": gzip(pack(files, prefix="./")),
            }
        )
        write_bytes(out, content)
    after = f"sudo apt install {shlex.quote(str(out.absolute()))}"
    return Exported(out, hashlib.sha256(content).hexdigest(), len(content), after, parcel.notes)


def _files(parcel: Parcel, options: Options) -> dict[str, bytes]:
    """What it unpacks to."""
    folder, docs = _folder(parcel)[1:], f"usr/share/doc/{_package(parcel)}"
    when = formatdate(EPOCH).replace("-0000", "+0000")
    changes = (
        f"{_package(parcel)} ({_version(parcel)}) unstable; urgency=medium\n\n"
        f"  * Release {parcel.digest}.\n\n -- {options.maintainer}  {when}\n"
    )
    return {
        **{f"{folder}/{path}": content for path, content in parcel.files.items()},
        f"{docs}/copyright": _copyright(parcel.licence).encode(),
        f"{docs}/changelog.gz": gzip(changes.encode(), 9),
    }


def _control(parcel: Parcel, options: Options, files: Mapping[str, bytes]) -> bytes:
    """What dpkg reads and runs."""
    needs = "python3 (>= 3.9)"
    if parcel.brings_runtime and not parcel.brings_pip:
        needs += ", python3-venv"
    fields = {
        "Package": _package(parcel),
        "Version": _version(parcel),
        "Architecture": _arch(parcel),
        "Maintainer": options.maintainer,
        "Installed-Size": str(sum(-(-len(c) // 1024) for c in files.values())),
        "Depends": needs,
        "Suggests": "openssh-client, systemd",
        "Provides": "edgekit-bundle",
        "Conflicts": "edgekit-bundle",
        "Replaces": "edgekit-bundle",
        "Section": "misc",
        "Priority": "optional",
        "Description": f"edgekit bundle {parcel.name}\n{_wrapped(parcel.about)}\n .\n Release {parcel.digest}.",
    }
    sums = "".join(f"{hashlib.md5(c, usedforsecurity=False).hexdigest()}  {p}\n" for p, c in sorted(files.items()))
    scripts = {
        name: text.format(folder=_folder(parcel), base=parcel.base, made=" ".join(MADE), service=SERVICE).encode()
        for name, text in (("postinst", _POSTINST), ("prerm", _PRERM), ("postrm", _POSTRM))
    }
    control = "".join(f"{key}: {value}\n" for key, value in fields.items())
    return pack({"control": control.encode(), "md5sums": sums.encode(), **scripts}, prefix="./", programs=scripts)


def _package(parcel: Parcel) -> str:
    """Its name: small letters, digits, + - and dots."""
    name = re.sub(r"[^a-z0-9+.-]", "-", parcel.name.lower())
    return name if name.startswith("edgekit-") else f"edgekit-{name}"


def _version(parcel: Parcel) -> str:
    """A hyphen would begin Debian's own revision."""
    return parcel.version.replace("-", "~")


def _arch(parcel: Parcel) -> str:
    return _ARCHES.get(parcel.arch) or str(parcel.arch)


def _folder(parcel: Parcel) -> str:
    return f"/usr/lib/edgekit/{_package(parcel)}"


def _copyright(licence: str) -> str:
    """What the bundle says of its licence. Whose the copyright is and since when, it does not know."""
    apache = "apache" in licence.lower()
    where = "\nThe Apache License 2.0 is in /usr/share/common-licenses/Apache-2.0 on Debian.\n" if apache else ""
    return f"Copyright and licence are those of what the model was made of:\n\n{licence.rstrip()}\n{where}"


def _wrapped(text: str) -> str:
    """Lines of an extended description."""
    return "\n".join(f" {line}" for line in textwrap.wrap(text, 78))


def _ar(members: Mapping[str, bytes]) -> bytes:
    """The outer archive, as ar(5) and deb(5) say."""
    parts = [b"!<arch>\n"]
    for name, content in members.items():
        parts.append(f"{name:<16}{EPOCH:<12}{0:<6}{0:<6}{0o100644:<8o}{len(content):<10}`\n".encode())
        parts.append(content + b"\n" * (len(content) % 2))
    return b"".join(parts)
