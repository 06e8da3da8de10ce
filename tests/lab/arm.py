"""A Raspberry Pi that a PC pretends to be: an aarch64 Debian under QEMU's user mode, with its own sshd on loopback.

    def test_something(arm: ArmDevice) -> None:       # pi@127.0.0.1, python3 with the real aarch64 wheels
        arm.ssh("uname -m"); arm.home / ".edgekit"    # all of lab.device.Device: address, ssh_options, kill_…()

`arm` is one device for the whole run (it starts in half a second), emptied before each test; `start_arm()` starts
others. `arm.set_cpu("max")` is another processor, on which ai-edge-litert 2.3.0 computes wrongly and says nothing.
The userland (Debian 12, 200 MB) and the wheels stay in edgekit's cache; the first run fetches them, half a minute.
Files of a run lie in an overlay, and all of the device's processes in a PID and a mount namespace, so nothing stays.

Needs root, for the mounts and the chroot, and that the kernel starts aarch64 programs by qemu-aarch64-static
(binfmt_misc; done here as the package itself does where it is not yet so). Time here is no ARM time.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
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
    free_port,
    make_key,
    missing_packages,
    parent,
)

from edgekit.bundle import NEWER_NUMPY, NUMPY
from edgekit.emulate.cores import find_core, write_machine
from edgekit.emulate.userland import default_cache, fetch_userland, fetch_wheels
from edgekit.ondevice.runtimes import litert, tflite

#: package: a program of it
NEEDED = {
    "openssh-client": "ssh-keygen",
    "qemu-user-static": "qemu-aarch64-static",
    "mmdebstrap": "mmdebstrap",
    "util-linux": "unshare",
}
#: What a Raspberry Pi has that matters here; venv as the base of --with-runtime, ssh-keygen for signatures.
PACKAGES = (
    "python3", "python3-venv", "libstdc++6", "libatomic1", "libgomp1", "bash", "dash", "coreutils", "findutils",
    "grep", "sed", "tar", "gzip", "libc-bin", "openssh-server", "openssh-client", "openssh-sftp-server", "procps",
    "util-linux",
)  # fmt: skip
CORE = "cortex-a72"
USER, USER_ID = "pi", 1000
HOME = "home/pi"
#: On the device: the venv with the runtime. /usr/bin/python3 has none.
VENV = "opt/venv"
PYTHON_VERSION, GLIBC_MINOR = "3.11", 36
SITE = f"{VENV}/lib/python{PYTHON_VERSION}/site-packages"
_BINFMT = Path("/proc/sys/fs/binfmt_misc")
_BINFMT_RULE = Path("/usr/lib/binfmt.d/qemu-aarch64.conf")
_START_S = 60.0

SSHD_CONFIG = """\
ListenAddress {host}
Port {port}
HostKey /etc/ssh/host_key
AuthorizedKeysFile {keys}
PidFile none
StrictModes no
UsePAM no
UseDNS no
PasswordAuthentication no
PermitRootLogin prohibit-password
PrintMotd no
MaxStartups 100
MaxSessions 100
Subsystem sftp internal-sftp
SetEnv PATH=/{venv}/bin:/usr/local/bin:/usr/bin:/bin LANG=C.UTF-8 {more}
"""
_PASSWD = """\
root:x:0:0:root:/root:/bin/bash
sshd:x:101:65534::/run/sshd:/usr/sbin/nologin
pi:x:1000:1000::/home/pi:/bin/bash
"""
#: '*', not '!': with UsePAM no, sshd refuses locked accounts.
_SHADOW = "root:*:19000:0:99999:7:::\nsshd:*:19000:0:99999:7:::\npi:*:19000:0:99999:7:::\n"
_INIT = """\
set -e
cd {folder}
mount -t overlay overlay -o lowerdir={userland},upperdir=disk,workdir=work root
mount -t proc proc root/proc
for name in cpuinfo meminfo; do mount --bind machine/proc/$name root/proc/$name; done
mount --bind machine/sys root/sys
mount --rbind /dev root/dev
mount -t tmpfs -o mode=755 run root/run
mkdir root/run/sshd
mount --bind {wheels} root/{site}
hostname raspberrypi
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin QEMU_CPU={core} {chroot} root /usr/sbin/sshd -D -e -f /etc/ssh/lab.conf
"""


class ArmDevice(Device):
    """An emulated aarch64 device. Raises nothing: where it cannot be, the test is skipped and told why."""

    def __init__(self, keyring: Keyring, *, user: str = USER, cpu: str = CORE) -> None:
        if os.getuid() != 0:
            pytest.skip("an emulated ARM device needs root here, for its mounts and its chroot")
        if why := missing_packages(NEEDED):
            pytest.skip(why)
        _register_binfmt()
        super().__init__(keyring, user, free_port())
        self.userland, self.wheels = fetch_device()
        self.folder = Path(tempfile.mkdtemp(prefix="edgekit-lab-"))
        self.log = self.folder / "log"
        self._namespace: subprocess.Popen[bytes] | None = None
        try:
            self._write(cpu)
            self._start()
        except BaseException:
            self.stop()
            raise

    @property
    def root(self) -> Path:
        """The device's / seen from here."""
        return Path(f"/proc/{self._listener_id()}/root")

    @property
    def home(self) -> Path:
        """The user's home, seen from here."""
        return self.root / ("root" if self.user == "root" else HOME)

    @property
    def python(self) -> str:
        """The interpreter with the runtime, as the device calls it; first on its PATH too."""
        return f"/{VENV}/bin/python3"

    def set_cpu(self, cpu: str) -> None:
        """Run what later sessions start on another of QEMU's processors."""
        listener = self._listener_id()
        assert listener
        self._write_config(cpu)
        os.kill(listener, signal.SIGHUP)  # sshd(8): it reads its configuration again
        deadline = time.monotonic() + _START_S
        while self.ssh("echo $QEMU_CPU").stdout.decode().strip() != cpu:
            assert time.monotonic() < deadline, "the emulated sshd did not come back"

    def clear(self) -> None:
        """As before the first flash: nothing of ours runs, the home is empty."""
        self.kill_processes()
        for entry in self.home.iterdir():
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()

    def processes(self) -> list[int]:
        """All in the device's PID namespace but sshd's own."""
        listener = self._listener_id()
        if not listener:
            return []
        ours, connections = _namespace_of(listener), self._connections()
        return [pid for pid in all_pids() if _namespace_of(pid) == ours and pid not in (listener, *connections)]

    def stop(self) -> None:
        """End all: the namespaces go with their first process, and the mounts with them."""
        if self._namespace:
            self._namespace.kill()
            self._namespace.wait()
            self._namespace = None
        shutil.rmtree(self.folder, ignore_errors=True)

    def _listener_id(self) -> int | None:
        """The namespace's first process."""
        if not self._namespace:
            return None
        return next((pid for pid in all_pids() if parent(pid) == self._namespace.pid), None)

    def _write(self, cpu: str) -> None:
        """The device's own files, in the overlay's upper folder."""
        write_machine(find_core(CORE), self.folder / "machine")
        for name in ("work", "root"):
            (self.folder / name).mkdir()
        self.folder.chmod(0o755)
        self.host_key = write_system(self.folder / "disk", self.userland)
        self.keyring.know(self.port, self.host_key)
        (self._etc() / "ssh" / "authorized_keys").write_text(self.keyring.public + "\n")
        self._write_config(cpu)

    def _write_config(self, cpu: str) -> None:
        config = self._etc() / "ssh" / "lab.conf"
        keys = "/etc/ssh/authorized_keys"
        config.write_text(SSHD_CONFIG.format(host=HOST, port=self.port, keys=keys, venv=VENV, more=f"QEMU_CPU={cpu}"))

    def _etc(self) -> Path:
        """The device's /etc: the overlay where that is mounted, and before the folder that will be its upper one."""
        return self.root / "etc" if self._namespace else self.folder / "disk" / "etc"

    def _start(self) -> None:
        names = {"folder": self.folder, "userland": self.userland, "wheels": self.wheels}
        quoted = {name: shlex.quote(str(path)) for name, path in names.items()}
        chroot = shutil.which("chroot", path="/usr/sbin:/sbin:/usr/bin:/bin")
        script = _INIT.format(site=SITE, core=CORE, chroot=chroot, **quoted)
        words = [
            *DIES_WITH_US,
            "unshare",
            "--mount",
            "--pid",
            "--uts",
            "--fork",
            "--kill-child",
            "/bin/sh",
            "-c",
            script,
        ]
        with self.log.open("wb") as log:
            self._namespace = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        process = self._namespace
        if not await_banner(self.port, lambda: process.poll() is None, _START_S):
            said = self.log.read_text(errors="replace").strip()
            if "mount" in said:
                pytest.skip(f"an emulated ARM device cannot be mounted here: {said.splitlines()[0]}")
            raise AssertionError(f"the emulated sshd did not start; it said {said}")


class StartArm(Protocol):
    """Starts an emulated device; the arguments are `ArmDevice`'s."""

    def __call__(self, *, user: str = USER, cpu: str = CORE) -> ArmDevice: ...


@pytest.fixture
def start_arm(keyring: Keyring) -> Iterator[StartArm]:
    """Starts emulated devices; all are stopped after the test."""
    with contextlib.ExitStack() as started:

        def start(*, user: str = USER, cpu: str = CORE) -> ArmDevice:
            device = ArmDevice(keyring, user=user, cpu=cpu)
            started.callback(device.stop)
            return device

        yield start


@pytest.fixture(scope="session")
def one_arm(keyring: Keyring) -> Iterator[ArmDevice]:
    """The one that `arm` empties."""
    device = ArmDevice(keyring)
    yield device
    device.stop()


@pytest.fixture
def arm(one_arm: ArmDevice) -> ArmDevice:
    """An emulated Raspberry Pi 4 with an empty home."""
    one_arm.clear()
    return one_arm


def write_system(disk: Path, userland: Path) -> str:
    """What an unconfigured userland lacks: users, a host key, the venv's frame. The public host key."""
    for name in ("dev", "proc", "sys", "run", "root", "etc/ssh", HOME, f"{VENV}/bin"):
        (disk / name).mkdir(parents=True, exist_ok=True)
    os.chown(disk / HOME, USER_ID, USER_ID)
    (disk / SITE).mkdir(parents=True)
    (disk / VENV / "bin" / "python3").symlink_to("/usr/bin/python3")
    (disk / VENV / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\n")
    if not (userland / "bin" / "sh").exists():
        (disk / "bin").mkdir()
        (disk / "bin" / "sh").symlink_to("dash")
    etc = disk / "etc"
    (etc / "passwd").write_text(_PASSWD)
    (etc / "shadow").write_text(_SHADOW)
    (etc / "group").write_text("root:x:0:\npi:x:1000:\nnogroup:x:65534:\n")
    (etc / "machine-id").write_text(f"{os.urandom(16).hex()}\n")
    return make_key(etc / "ssh" / "host_key")


def fetch_device() -> tuple[Path, Path]:
    """The cached userland, and the folder of wheels of this machine's own versions."""
    cache = default_cache()
    versions = [f"{module.PACKAGE}=={module.version()}" for module in (litert, tflite) if module.version()]
    lines = [*versions, NUMPY, NEWER_NUMPY, "tokenizers"]
    userland = fetch_userland(cache, print, PACKAGES)
    return userland, fetch_wheels(cache, "\n".join(lines) + "\n", PYTHON_VERSION, GLIBC_MINOR, print)


def _register_binfmt() -> None:
    """Let the kernel start aarch64 programs by QEMU: the package's own rule, if no one has told the kernel yet."""
    if not (_BINFMT / "register").exists():
        words = ["mount", "-t", "binfmt_misc", "binfmt_misc", str(_BINFMT)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"needs binfmt_misc, to start aarch64 programs: {done.stderr.strip()}")
    if not (_BINFMT / "qemu-aarch64").exists():
        if not _BINFMT_RULE.exists():
            pytest.skip(f"needs the rule of Debian's qemu-user-static for binfmt_misc, {_BINFMT_RULE}")
        (_BINFMT / "register").write_text(_BINFMT_RULE.read_text())


def _namespace_of(pid: int) -> str:
    try:
        return str(Path(f"/proc/{pid}/ns/pid").readlink())
    except OSError:
        return ""
