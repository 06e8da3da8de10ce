"""A device that costs nothing: the system's sshd on loopback (0.06 s), with a home, keys and a known_hosts of its own.

    def test_something(sshd: Sshd) -> None:            # a device, logged in to as whoever runs the tests
        flash(bundle, sshd.address)                     # root@127.0.0.1:40231
        sshd.ssh_options                                # -F of a private config: key, known_hosts, no agent
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
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest
from lab.device import (
    DIES_WITH_US,
    HOST,
    Device,
    Keyring,
    all_pids,
    await_banner,
    folder_of,
    free_port,
    make_key,
    missing_packages,
    read_process,
)

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
#: package: a program of it
NEEDED = {"openssh-server": SSHD, "openssh-client": "ssh-keygen"}


class Sshd(Device):
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
        if (user or disk_mb) and os.getuid() != 0:
            pytest.skip("a device with a user or a disk of its own needs root here, to mount them")
        super().__init__(keyring, user or pwd.getpwuid(os.getuid()).pw_name, free_port())
        self.folder = Path(tempfile.mkdtemp(prefix="edgekit-lab-"))
        self.folder.chmod(0o755)
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
            keyring.know(self.port, self.host_key)
            self.start()
        except BaseException:
            self.stop()
            raise

    @property
    def home(self) -> Path:
        """The device's $HOME."""
        return self.folder / "home"

    def start(self) -> None:
        """Listen, after `shut()`; __init__ has done so already."""
        words = [*DIES_WITH_US, SSHD, "-D", "-f", str(self._write_config()), "-E", str(self.log)]
        if self.user == "root":
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        elif os.getuid() == 0:
            words = self._as_another(words)
        self._listener = subprocess.Popen(words, stdin=subprocess.DEVNULL, env=_ENVIRONMENT)
        if not await_banner(self.port, lambda: self._listener is not None and self._listener.poll() is None, _START_S):
            raise AssertionError(f"sshd did not start; it said {self.log.read_text() if self.log.exists() else ''}")

    def shut(self) -> None:
        """Listen no longer: the next connection is refused. Open ones live on."""
        if self._listener:
            self._orphans = self._connections()
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

    def processes(self) -> list[int]:
        """What sessions have started and still runs, also where its parent is gone.

        By its environment, and by its folder: while the kernel loads a program, there is no environment to be read.
        """
        mark = f"{_MARK}={self._mark}".encode()
        home = str(self.home.resolve())
        return [
            pid
            for pid in all_pids()
            if mark in read_process(pid, "environ").split(b"\0") or folder_of(pid).startswith(home)
        ]

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

    def _listener_id(self) -> int | None:
        return self._listener.pid if self._listener else None

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
    if why := missing_packages(NEEDED):
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
