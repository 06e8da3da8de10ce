"""What the lab's devices have in common: a client that reaches them by ssh, their processes, and how these end."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path

HOST = "127.0.0.1"
#: Before a device's first word: it ends with the thread that started it, however that ends (prctl(2)).
DIES_WITH_US = ("setpriv", "--pdeathsig", "KILL")
#: What one try to hear from an sshd may take.
_BANNER_S = 3.0
_SSH_CONFIG = """\
Host *
    IdentityFile {folder}/key
    IdentitiesOnly yes
    IdentityAgent none
    UserKnownHostsFile {folder}/known_hosts
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
    UpdateHostKeys no
"""


def missing_packages(needed: dict[str, str]) -> str | None:
    """Which of the programs (package: program) are not here, as a reason for a skip."""
    missing = [package for package, program in needed.items() if not shutil.which(program)]
    return f"needs apt-get install {' '.join(missing)}" if missing else None


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def make_key(path: Path) -> str:
    """A new key pair at `path` and `path`.pub; the public line."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "edgekit-lab", "-f", str(path)], check=True)
    return path.with_name(f"{path.name}.pub").read_text().strip()


def await_banner(port: int, is_up: Callable[[], bool], timeout_s: float) -> bool:
    """Wait for an sshd at this port. False where it does not come, or `is_up` says that it is gone."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and is_up():
        with contextlib.suppress(OSError), socket.create_connection((HOST, port), _BANNER_S) as connection:
            if connection.recv(4) == b"SSH-":
                return True
        time.sleep(0.005)
    return False


class Keyring:
    """A client's side: one key, one known_hosts and one ssh_config that reach every device of the lab."""

    def __init__(self, folder: Path) -> None:
        self.key = folder / "key"
        self.public = make_key(self.key)
        self.known_hosts = folder / "known_hosts"
        self.known_hosts.write_text("")
        self.config = folder / "ssh_config"
        self.config.write_text(_SSH_CONFIG.format(folder=folder))

    def know(self, port: int, public: str) -> None:
        """Trust this host key at this port, and no other there."""
        self.forget(port)
        with self.known_hosts.open("a") as file:
            file.write(f"[{HOST}]:{port} {public}\n")

    def forget(self, port: int) -> None:
        """Have never seen the host at this port."""
        lines = self.known_hosts.read_text().splitlines(keepends=True)
        self.known_hosts.write_text("".join(line for line in lines if not line.startswith(f"[{HOST}]:{port} ")))


class Machine(ABC):
    """Whatever is reached by ssh on loopback."""

    host_key: str

    def __init__(self, keyring: Keyring, user: str, port: int) -> None:
        self.keyring, self.user, self.port = keyring, user, port

    @property
    def address(self) -> str:
        """`user@127.0.0.1:port`, as edgekit takes it."""
        return f"{self.user}@{HOST}:{self.port}"

    @property
    def ssh_config(self) -> Path:
        """What `ssh -F` takes: this client's key and known_hosts, nothing of the user's own."""
        return self.keyring.config

    @property
    def ssh_options(self) -> list[str]:
        """Words after `ssh`, `sftp` or `scp`."""
        return ["-F", str(self.ssh_config)]

    def ssh(self, command: str, *, stdin: bytes = b"", timeout_s: float = 60.0) -> subprocess.CompletedProcess[bytes]:
        """Run a command on the device by a plain ssh of its own."""
        return subprocess.run(self.ssh_words(command), input=stdin, capture_output=True, timeout=timeout_s, check=False)

    def ssh_words(self, command: str, *options: str) -> list[str]:
        """The whole line of words of such an ssh."""
        here = ["-p", str(self.port), f"{self.user}@{HOST}", command]
        return ["ssh", *self.ssh_options, "-o", "BatchMode=yes", *options, *here]

    @abstractmethod
    def stop(self) -> None:
        """End all that runs on the device and remove its files."""


class Device(Machine):
    """A device whose files and processes are seen from here."""

    def __init__(self, keyring: Keyring, user: str, port: int) -> None:
        super().__init__(keyring, user, port)
        self._orphans: list[int] = []

    @property
    @abstractmethod
    def home(self) -> Path:
        """The user's home on the device, seen from here."""

    @property
    def base(self) -> Path:
        """Edgekit's default folder on the device, seen from here."""
        return self.home / ".edgekit"

    @abstractmethod
    def processes(self) -> list[int]:
        """What sessions have started and still runs, also where its parent is gone."""

    @abstractmethod
    def _listener_id(self) -> int | None:
        """The process that listens."""

    def kill_connections(self) -> int:
        """Break every open connection, as a lost line does: what runs on the device goes on. How many processes."""
        return signal_all(self._connections(), signal.SIGKILL)

    def freeze_connections(self) -> int:
        """Let every open connection fall silent without an end, as a pulled cable does. How many processes."""
        return signal_all(self._connections(), signal.SIGSTOP)

    def kill_processes(self) -> int:
        """SIGKILL all that was ever started by a session, at once, with the connections. How many processes.

        Returns when none is left: one that was being forked while the others were counted is killed too.
        """
        killed = alive = {*self._connections(), *self.processes()}
        while alive:
            signal_all([*alive], signal.SIGKILL)
            time.sleep(0.005)
            alive = {pid for pid in (*self._connections(), *self.processes()) if not is_over(pid)}
            killed = killed | alive
        return len(killed)

    def _connections(self) -> list[int]:
        """The listener's descendants that are sshd's own, and what an earlier listener has left."""
        found = [pid for pid in self._orphans if is_sshd(pid)]
        listener = self._listener_id()
        generation = [*found, listener] if listener else [*found]
        parents = {pid: parent(pid) for pid in all_pids()}
        while generation:
            generation = [pid for pid, above in parents.items() if above in generation and is_sshd(pid)]
            found += generation
        return found


def all_pids() -> list[int]:
    """Every process that /proc shows."""
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def read_process(pid: int, name: str) -> bytes:
    """A file of /proc/PID; empty where the process is gone or another's."""
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def folder_of(pid: int) -> str:
    """Where a process works; empty where it is gone or another's."""
    try:
        return str(Path(f"/proc/{pid}/cwd").readlink())
    except OSError:
        return ""


def parent(pid: int) -> int:
    """Field 4 of /proc/PID/stat (proc(5)), counted from behind the name, which may hold blanks."""
    fields = read_process(pid, "stat").rpartition(b")")[2].split()
    return int(fields[1]) if len(fields) > 1 else 0


def is_over(pid: int) -> bool:
    """Whether it has ended, though perhaps nobody has asked for its exit code yet: field 3 of /proc/PID/stat."""
    return read_process(pid, "stat").rpartition(b")")[2].split()[:1] in ([], [b"Z"], [b"X"])


def is_sshd(pid: int) -> bool:
    """By its command line, which is its title where it is not emulated."""
    words = read_process(pid, "cmdline").split(b"\0")
    return any(word.startswith(b"sshd:") or word.endswith(b"/sshd") for word in words)


def signal_all(pids: Sequence[int], number: signal.Signals) -> int:
    """Send a signal to those that are still there; how many were meant."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
    return len(pids)
