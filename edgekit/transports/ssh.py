"""The system's OpenSSH, one connection per device: a master that everything else is multiplexed over (ssh_config(5),
ControlMaster), in a private folder, without questions (BatchMode), and never to a host whose key is not known.
"""

from __future__ import annotations

import contextlib
import io
import shlex
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from ..errors import ConfigError, TransportError
from .process import Feed, finish, kill_session
from .ssh_faults import explain, explain_unwritten
from .transport import Address, Done, Hear, NoAnswer, Options, Progress

_BLOCK = 1 << 16
#: dd writes at whole blocks of this size; up to as much of a file is sent a second time when it is continued.
_DD_BLOCK = 1 << 14
#: ssh's own exit code for a line that could not be opened or broke; a program there hardly uses it.
_SSH_FAILED = 255
#: Names of ssh_config(5) that edgekit's promises hang on, lower case.
_OURS = {
    "batchmode", "controlmaster", "controlpath", "controlpersist", "stricthostkeychecking", "updatehostkeys",
    "remotecommand", "requesttty",
}  # fmt: skip
#: A Unix socket's path has 108 bytes (unix(7)), and ssh appends 17 to it while it is not ready.
_MAX_SOCKET_FOLDER = 64


class Ssh:
    """A device behind one connection of the system's ssh."""

    def __init__(self, address: Address, options: Options) -> None:
        self.address = address
        self.options = options
        self.bytes_sent = 0
        self._folder = Path(tempfile.mkdtemp(prefix="edgekit-ssh-", dir=_short_folder()))
        self._socket = self._folder / "s"
        try:
            self.master = self._open()
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise

    def run(
        self, words: Sequence[str], stdin: bytes = b"", timeout_s: float | None = None, hear: Hear | None = None
    ) -> Done:
        """Run it by the user's login shell there."""
        limit = timeout_s or self.options.command_s
        self.bytes_sent += len(stdin)
        done = finish(self.stream(words), stdin, limit, hear)
        if done is None:
            raise NoAnswer(self.address, limit)
        self.check(done.code, done.stderr)
        return done

    def stream(self, words: Sequence[str]) -> subprocess.Popen[bytes]:
        """One more session of the connection."""
        # Where the master is gone ssh would open a connection of its own, past all options: the proxy keeps it from it.
        through = ["-F", "none", "-S", str(self._socket), "-o", "ControlMaster=no", "-o", "ProxyCommand=false"]
        return _start(self.address, ["ssh", *through, "-T", "-a", "-x", "--", "device", shlex.join(words)])

    def check(self, code: int, stderr: str) -> None:
        """ssh says by its exit code that the line is at fault; or it was killed."""
        if code != _SSH_FAILED and code >= 0:
            return
        last = self._last_words() or stderr
        raise TransportError(
            f"{self.address}: the connection broke{_because(last)}; the same command goes on from here"
        )

    def put(self, local: Path, remote: str, offset: int, progress: Progress) -> None:
        """Through the device's own dd, which can write in the middle of a file."""
        begin = offset // _DD_BLOCK

        def feed(pipe: IO[bytes], pat: Callable[[], None]) -> None:
            with local.open("rb") as source:
                source.seek(begin * _DD_BLOCK)
                while block := source.read(_BLOCK):
                    pipe.write(block)
                    pipe.flush()
                    pat()
                    self.bytes_sent += len(block)
                    progress(len(block))

        self._receive(["dd", f"of={remote}", f"bs={_DD_BLOCK}", f"seek={begin}", "conv=notrunc"], feed, remote)

    def put_small(self, files: Mapping[str, Path], folder: str, progress: Progress) -> None:
        """Through the device's own tar and gzip."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=9, format=tarfile.USTAR_FORMAT) as tar:
            for name, local in files.items():
                content = local.read_bytes()
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode, entry.mtime = len(content), 0o644, int(time.time())
                tar.addfile(entry, io.BytesIO(content))

        def feed(pipe: IO[bytes], pat: Callable[[], None]) -> None:
            pipe.write(packed.getvalue())
            self.bytes_sent += len(packed.getvalue())

        self._receive(["sh", "-c", 'gzip -dc | tar -C "$1" -xf -', "sh", folder], feed, folder)
        progress(sum(local.stat().st_size for local in files.values()))

    def _receive(self, words: Sequence[str], feed: Feed, place: str) -> None:
        done = finish(self.stream(words), feed, self.options.command_s, None)
        if done is None:
            raise NoAnswer(self.address, self.options.command_s)
        self.check(done.code, done.stderr)
        if done.code:
            raise explain_unwritten(self.address, done.stderr, place)

    def close(self) -> None:
        """End the connection."""
        with self.master:
            with contextlib.suppress(ProcessLookupError):
                self.master.terminate()  # it says goodbye to the device
            try:
                self.master.wait(2.0)
            except subprocess.TimeoutExpired:
                kill_session(self.master)
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> subprocess.Popen[bytes]:
        """The master, once it takes sessions."""
        with (self._folder / "said").open("wb") as said:
            master = _start(self.address, self._master_words(), stderr=said)
        deadline = time.monotonic() + 2 * self.options.connect_s  # ssh counts them to the login, the login comes after
        try:
            while not self._socket.exists():
                if master.poll() is not None:
                    raise explain(self.address, self._last_words(), self.options, self._resolve())
                if time.monotonic() > deadline:
                    raise explain(self.address, "Connection timed out", self.options, {})
                time.sleep(0.002)
        except BaseException:
            kill_session(master)
            with master:
                raise
        return master

    def _master_words(self) -> list[str]:
        options = {
            **_checked(self.options.ssh_options), "ControlMaster": "yes", "ControlPath": str(self._socket),
            "ControlPersist": "no", "BatchMode": "yes", "StrictHostKeyChecking": "yes", "UpdateHostKeys": "no",
            "ConnectTimeout": f"{max(1, round(self.options.connect_s))}", "ConnectionAttempts": "1",
            "ServerAliveInterval": f"{max(1, round(self.options.silence_s / 3))}", "ServerAliveCountMax": "2",
            "RemoteCommand": "none", "RequestTTY": "no", "PermitLocalCommand": "no", "ClearAllForwardings": "yes",
            "LogLevel": "ERROR",
        }  # fmt: skip
        # The master ends with its own session, which ends with our end of the pipe: however this process dies.
        return ["ssh", "-T", "-a", "-x", *self._destination(options), "exec cat > /dev/null"]

    def _destination(self, options: Mapping[str, str]) -> list[str]:
        config = ["-F", str(self.options.ssh_config)] if self.options.ssh_config else []
        given = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
        user = ["-l", self.address.user] if self.address.user else []
        port = ["-p", str(self.address.port)] if self.address.port else []
        return [*config, *given, *user, *port, "--", self.address.host]

    def _resolve(self) -> dict[str, str]:
        """What ssh makes of the address by its configuration, if in time: hostname, port, userknownhostsfile …"""
        words = ["ssh", "-G", *self._destination(self.options.ssh_options)]
        try:
            done = subprocess.run(words, capture_output=True, text=True, timeout=self.options.connect_s, check=False)
        except subprocess.TimeoutExpired:
            return {}
        return dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)

    def _last_words(self) -> str:
        try:
            return (self._folder / "said").read_text(encoding="utf-8", errors="replace").strip()
        except FileNotFoundError:
            return ""


def connect(address: Address, options: Options) -> Ssh:
    """Log in. Raises TransportError with one line that says what to do."""
    return Ssh(address, options)


def _start(address: Address, words: list[str], stderr: IO[bytes] | int = subprocess.PIPE) -> subprocess.Popen[bytes]:
    """A process that Ctrl-C does not reach by itself."""
    stdout = subprocess.PIPE if stderr == subprocess.PIPE else subprocess.DEVNULL
    try:
        return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=stdout, stderr=stderr, start_new_session=True)
    except FileNotFoundError:
        raise TransportError(f"{address}: no `ssh` on this machine: sudo apt install openssh-client") from None
    except OSError as error:
        raise TransportError(f"{address}: ssh cannot be started: {error.strerror}") from None


def _checked(options: Mapping[str, str]) -> dict[str, str]:
    for key in options:
        if key.lower() in _OURS:
            raise ConfigError(f"ssh option '{key}': is edgekit's own; it cannot be set")
    return dict(options)


def _because(stderr: str) -> str:
    last = next((line for line in reversed(stderr.splitlines()) if line.strip()), "")
    return f": {last.strip()}" if last else ""


def _short_folder() -> str:
    folder = tempfile.gettempdir()
    return folder if len(folder) <= _MAX_SOCKET_FOLDER else "/tmp"
