"""The systemd unit that serves what `current` leads to: what it may do, and nothing more.

Settings: systemd.exec(5), systemd.resource-control(5), systemd.service(5); of systemd 245 (Debian 11, Ubuntu 20.04) and
newer. An older one passes over what it does not know; LoadCredential, of 247, is asked for only where it is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

#: The service says it is ready once a release has answered its golden samples, which may be slow on a small board.
START_S, STOP_S = 180, 45

_SERVICE = """\
Type=notify
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
RestartSec=2
KillMode=mixed
OOMPolicy=continue
TasksMax=64
UMask=0077
NoNewPrivileges=yes
LockPersonality=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
SystemCallErrorNumber=EPERM
KeyringMode=private
"""
#: What needs a view of the file system of its own; a user's manager gets that from a user namespace only.
_OWN_VIEW = """\
PrivateTmp=yes
ProtectSystem=strict
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
"""


@dataclass(frozen=True)
class Unit:
    """What differs from device to device."""

    current: Path  # the link
    words: tuple[str, ...]  # the interpreter and its arguments
    token_file: str | None
    memory_max_mb: float
    system: bool
    own_view: bool  # whether it gets a view of the file system of its own
    cpu_only: bool  # whether the model needs no device of its own
    loopback: bool
    runtime_folder: bool  # for its Unix socket
    user: str | None  # None in the system's scope: one that exists while it runs
    group: str | None

    def text(self) -> str:
        """The unit file."""
        lines = [
            "[Unit]",
            f"Description=edgekit: serves {_plain(str(self.current))}",
            "After=network.target",
            "StartLimitIntervalSec=120",
            "StartLimitBurst=5",
            "",
            "[Service]",
            f"WorkingDirectory={_plain(str(self.current))}",
            f"ExecStart={' '.join([*map(quote, self.words), *self._token_words()])}",
            f"MemoryMax={round(self.memory_max_mb * 1e6)}",
            f"TimeoutStartSec={START_S}",
            f"TimeoutStopSec={STOP_S}",
            *_SERVICE.splitlines(),
            *(self._view() if self.own_view else []),
            *(["IPAddressAllow=localhost", "IPAddressDeny=any"] if self.loopback and self.system else []),
            *(["RuntimeDirectory=edgekit", "RuntimeDirectoryMode=0755"] if self.runtime_folder else []),
            *self._who(),
            "",
            "[Install]",
            f"WantedBy={'multi-user' if self.system else 'default'}.target",
        ]
        return "\n".join(lines) + "\n"

    def _view(self) -> list[str]:
        used = (*self.current.parents, *Path(self.words[0]).parents)
        at_home = Path("/home") in used or Path("/root") in used
        home = "read-only" if at_home or not self.system else "yes"
        lines = [*_OWN_VIEW.splitlines(), f"ProtectHome={home}"]
        if self.cpu_only:
            lines.append("PrivateDevices=yes")
        if not self.system:
            lines.append("PrivateUsers=yes")
        return lines

    def _token_words(self) -> list[str]:
        """The user of a system's service may not read the token itself; systemd hands it over."""
        if self.token_file is None:
            return []
        return ["--token-file", "${CREDENTIALS_DIRECTORY}/token" if self.system else quote(self.token_file)]

    def _who(self) -> list[str]:
        if not self.system:
            return []
        lines = [f"User={self.user}" if self.user else "DynamicUser=yes", "CapabilityBoundingSet="]
        lines += [f"Group={self.group}"] if self.group else []
        return [*lines, f"LoadCredential=token:{_plain(self.token_file)}"] if self.token_file else lines


def quote(word: str) -> str:
    """One word of a command line (systemd.service(5), Command lines): neither specifiers nor variables act in it."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return '"' + _plain(escaped).replace("$", "$$") + '"'


def _plain(text: str) -> str:
    """Text in which no specifier acts."""
    return text.replace("%", "%%")
