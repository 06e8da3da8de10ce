"""A device that costs nothing: the system's sshd on loopback (0.06 s), with a home, keys and a known_hosts of its own.

    def test_something(sshd: Sshd) -> None:            # a device, logged in to as whoever runs the tests
        ssh(*sshd.ssh_options, sshd.address)            # -F of a private config: key, known_hosts, no agent
        (sshd.home / ".edgekit")                        # the device's files, seen from here
        sshd.kill_connections()                         # the line breaks; the next connection works
        sshd.kill_processes()                           # and all that ran on the device is gone too: SIGKILL

    def test_others(start_sshd: StartSshd) -> None:     # several, or special ones
        plain = start_sshd(user="edge")                 # a user without rights (needs root here, else skipped)
        small = start_sshd(disk_mb=8)                   # its home is a disk of 8 MB (needs root here, else skipped)
        bare = start_sshd(path="/nowhere")              # no python3, no anything, on its PATH

The device sees this machine's files and /proc. Only $HOME and the folder that a session starts in are its own.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

HOST = "127.0.0.1"
SSHD = "/usr/sbin/sshd"
#: This Python first, with the runtimes that the tests have; then what sshd gives everybody.
PATH = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
#: Who `user="edge"` is. The name exists in the device's own /etc/passwd only.
EDGE_ID = 64017
#: sshd's own environment; sessions get `Sshd`'s.
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
_MARK = "EDGEKIT_LAB"
_START_S = 10.0

_SSHD_CONFIG = """\
ListenAddress {host}
Port {port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
StrictModes no
UsePAM no
UseDNS no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
PrintMotd no
LogLevel VERBOSE
MaxStartups 1000
MaxSessions 100
Subsystem sftp {sftp}
SetEnv {environment}
ForceCommand exec /bin/sh {folder}/session
"""
#: What sshd does by itself, but in the device's own home.
_SESSION = """\
cd "$HOME" || exit 70
if [ -z "$SSH_ORIGINAL_COMMAND" ]; then exec /bin/sh; fi
exec /bin/sh -c "$SSH_ORIGINAL_COMMAND"
"""
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


def missing_sshd() -> str | None:
    """Why no sshd can be started here."""
    needed = {"openssh-server": SSHD, "openssh-client": "ssh-keygen"}
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


class Keyring:
    """A client's side: one key, one known_hosts and one ssh_config that reach every device of the lab."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
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


class Sshd:
    """An sshd on loopback, and the device behind it. `stop()` it, or let the fixtures do so."""

    def __init__(
        self,
        keyring: Keyring,
        *,
        user: str | None = None,
        path: str = PATH,
        environment: dict[str, str] | None = None,
        disk_mb: int | None = None,
    ) -> None:
        if why := missing_sshd():
            pytest.skip(why)
        if (user or disk_mb) and os.getuid() != 0:
            pytest.skip("a device with a user or a disk of its own needs root here, to mount them")
        self.keyring = keyring
        self.user = user or pwd.getpwuid(os.getuid()).pw_name
        self.folder = Path(tempfile.mkdtemp(prefix="edgekit-lab-"))
        self.folder.chmod(0o755)
        self.home = self.folder / "home"
        self.home.mkdir(mode=0o755)
        self.log = self.folder / "log"
        self._is_mounted = False
        self._mark = secrets.token_hex(8)
        self._variables = {"HOME": str(self.home), "PATH": path, _MARK: self._mark, **(environment or {})}
        self._listener: subprocess.Popen[bytes] | None = None
        try:
            if disk_mb:
                self._mount(disk_mb)
            if user:
                os.chown(self.home, EDGE_ID, EDGE_ID)
            (self.folder / "session").write_text(_SESSION)
            (self.folder / "authorized_keys").write_text(keyring.public + "\n")
            self.host_key = make_key(self.folder / "host_key")
            self.port = free_port()
            keyring.know(self.port, self.host_key)
            self.start()
        except BaseException:
            self.stop()
            raise

    @property
    def address(self) -> str:
        """`user@127.0.0.1:port`, as edgekit takes it."""
        return f"{self.user}@{HOST}:{self.port}"

    @property
    def base(self) -> Path:
        """Edgekit's default folder on the device."""
        return self.home / ".edgekit"

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
        words = ["ssh", *self.ssh_options, "-o", "BatchMode=yes", "-p", str(self.port), f"{self.user}@{HOST}", command]
        return subprocess.run(words, input=stdin, capture_output=True, timeout=timeout_s, check=False)

    def start(self) -> None:
        """Listen, after `shut()`; __init__ has done so already."""
        words = [SSHD, "-D", "-f", str(self._write_config()), "-E", str(self.log)]
        if self.user == "root":
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        elif os.getuid() == 0:
            words = self._as_another(words)
        self._listener = subprocess.Popen(words, stdin=subprocess.DEVNULL, env=_ENVIRONMENT)
        self._await_banner()

    def shut(self) -> None:
        """Listen no longer: the next connection is refused. Open ones live on."""
        if self._listener:
            self._listener.kill()
            self._listener.wait()
            self._listener = None

    def stop(self) -> None:
        """End all that runs on the device and remove its files."""
        self.shut()
        self.kill_processes()
        if self._is_mounted:
            subprocess.run(["umount", "--lazy", str(self.home)], check=True)
            self._is_mounted = False
        shutil.rmtree(self.folder, ignore_errors=True)

    def kill_connections(self) -> int:
        """Break every open connection, as a lost line does: what runs on the device goes on. How many there were."""
        return _signal_all(self._connections(), signal.SIGKILL)

    def freeze_connections(self) -> int:
        """Let every open connection fall silent without an end, as a pulled cable does. How many there were."""
        return _signal_all(self._connections(), signal.SIGSTOP)

    def kill_processes(self) -> int:
        """SIGKILL all that was ever started by a session, at once, with the connections. How many there were."""
        return _signal_all([*self._connections(), *self.processes()], signal.SIGKILL)

    def processes(self) -> list[int]:
        """What sessions have started and still runs, also where its parent is gone."""
        mark = f"{_MARK}={self._mark}".encode()
        return [pid for pid in _pids() if mark in _read(pid, "environ").split(b"\0")]

    def change_host_key(self) -> None:
        """Be another machine at the same address."""
        self.shut()
        (self.folder / "host_key").unlink()
        self.host_key = make_key(self.folder / "host_key")
        self.start()

    def refuse_key(self) -> None:
        """Do not know the client's key any more."""
        (self.folder / "authorized_keys").write_text("")

    def set_read_only(self, is_read_only: bool) -> None:
        """Remount the device's own disk (`disk_mb`)."""
        mode = "ro" if is_read_only else "rw"
        subprocess.run(["mount", "-o", f"remount,{mode}", str(self.home)], check=True)

    def _connections(self) -> list[int]:
        """sshd's processes for the open connections: they alone hold the config's path and a parent of that name."""
        if not self._listener:
            return []
        found, generation = [], [self._listener.pid]
        parents = {pid: _parent(pid) for pid in _pids()}
        while generation:
            generation = [pid for pid, above in parents.items() if above in generation and _is_sshd(pid)]
            found += generation
        return found

    def _write_config(self) -> Path:
        config = self.folder / "sshd_config"
        sftp = next((p for p in ("/usr/lib/openssh/sftp-server", "/usr/libexec/sftp-server") if Path(p).exists()), "")
        environment = " ".join(f'"{name}={value}"' for name, value in self._variables.items())
        config.write_text(
            _SSHD_CONFIG.format(host=HOST, port=self.port, folder=self.folder, sftp=sftp, environment=environment)
        )
        return config

    def _as_another(self, words: list[str]) -> list[str]:
        """The same as EDGE_ID, in a mount namespace whose /etc/passwd has that user."""
        passwd = self.folder / "passwd"
        line = f"{self.user}:x:{EDGE_ID}:{EDGE_ID}::{self.home}:/bin/sh\n"
        passwd.write_text(Path("/etc/passwd").read_text() + line)
        self.log.touch()
        for name in ("log", "host_key"):
            os.chown(self.folder / name, EDGE_ID, EDGE_ID)
        become = ["setpriv", f"--reuid={EDGE_ID}", f"--regid={EDGE_ID}", "--clear-groups", *words]
        script = f"mount --bind {shlex.quote(str(passwd))} /etc/passwd && exec {shlex.join(become)}"
        return ["unshare", "--mount", "/bin/sh", "-c", script]

    def _mount(self, disk_mb: int) -> None:
        words = ["mount", "-t", "tmpfs", "-o", f"size={disk_mb}000000,mode=755", "edgekit-lab", str(self.home)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
        self._is_mounted = True

    def _await_banner(self) -> None:
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            assert self._listener
            if self._listener.poll() is not None:
                break
            with contextlib.suppress(OSError), socket.create_connection((HOST, self.port), 1.0) as connection:
                if connection.recv(4) == b"SSH-":
                    return
            time.sleep(0.005)
        said = self.log.read_text() if self.log.exists() else "nothing"
        raise AssertionError(f"sshd did not start within {_START_S:.0f} s; it said {said}")


class StartSshd(Protocol):
    """Starts a device; the arguments are `Sshd`'s."""

    def __call__(
        self,
        *,
        user: str | None = None,
        path: str = PATH,
        environment: dict[str, str] | None = None,
        disk_mb: int | None = None,
    ) -> Sshd: ...


@pytest.fixture(scope="session")
def keyring(tmp_path_factory: pytest.TempPathFactory) -> Keyring:
    """One client for all devices of a run."""
    if why := missing_sshd():
        pytest.skip(why)
    return Keyring(tmp_path_factory.mktemp("keyring"))


@pytest.fixture
def start_sshd(keyring: Keyring) -> Iterator[StartSshd]:
    """Starts devices; all are stopped after the test."""
    with contextlib.ExitStack() as started:

        def start(
            *,
            user: str | None = None,
            path: str = PATH,
            environment: dict[str, str] | None = None,
            disk_mb: int | None = None,
        ) -> Sshd:
            sshd = Sshd(keyring, user=user, path=path, environment=environment, disk_mb=disk_mb)
            started.callback(sshd.stop)
            return sshd

        yield start


@pytest.fixture
def sshd(start_sshd: StartSshd) -> Sshd:
    """A device, logged in to as whoever runs the tests."""
    return start_sshd()


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _read(pid: int, name: str) -> bytes:
    """A file of /proc/PID; empty where the process is gone or another's."""
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def _parent(pid: int) -> int:
    """Field 4 of /proc/PID/stat (proc(5)), counted from behind the name, which may hold blanks."""
    fields = _read(pid, "stat").rpartition(b")")[2].split()
    return int(fields[1]) if len(fields) > 1 else 0


def _is_sshd(pid: int) -> bool:
    return _read(pid, "cmdline").startswith(b"sshd:")


def _signal_all(pids: list[int], number: signal.Signals) -> int:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
    return len(pids)
