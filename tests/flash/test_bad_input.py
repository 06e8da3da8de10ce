"""`edgekit flash` as a user types it, to devices that cannot be reached or cannot run the bundle: one line on stderr
that says what to do, nothing is changed there, and after that was done the same command works.
"""

from __future__ import annotations

import json
import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from fake_bundle import MODEL_BYTES, assert_runs, make_bundle
from faulty import assert_healthy, fill, sent, write_python
from lab.device import HOST
from lab.sshd import Sshd, StartSshd

from edgekit.bundle import Bundle
from edgekit.cli import cli
from edgekit.errors import BundleError, ConfigError, EdgekitError

SIZE = 200_000
LITERT = {"name": "litert", "package": "ai-edge-litert", "version": "2.3.0"}
#: A Python without any packages, which takes itself for one of another machine by the lines of $1.
_ELSEWHERE = """\
exec {python} -S -c 'import sys; import os, pathlib, runpy
{patch}
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")' "$@"
"""


class User:
    """Types commands."""

    def __init__(self, sshd: Sshd) -> None:
        self.sshd = sshd

    def flash(self, bundle: Bundle, *words: str, to: str = "") -> tuple[int, str, str]:
        """Exit code, stdout, stderr."""
        line = ["--ssh-config", str(self.sshd.ssh_config), "--connect-timeout", "10"]
        done = CliRunner().invoke(cli, ["flash", str(bundle.path), to or self.sshd.address, *line, *words])
        if isinstance(done.exception, EdgekitError):  # `edgekit` itself prints it so, see edgekit.cli.main
            return done.exception.exit_code, done.stdout, f"{done.stderr}edgekit: {done.exception}\n"
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done.exit_code, done.stdout, done.stderr

    def refused(self, bundle: Bundle, *words: str, to: str = "", code: int = 9) -> str:
        """The one line of a command that fails."""
        found, out, err = self.flash(bundle, *words, to=to)
        assert (found, err.count("\n")) == (code, 1), (out, err)
        assert err.startswith("edgekit: ")
        assert "Traceback" not in out + err
        return err.removeprefix("edgekit: ").rstrip()

    def flashed(self, bundle: Bundle, *words: str) -> None:
        """The same command works."""
        code, out, err = self.flash(bundle, *words)
        assert (code, err) == (0, ""), out
        assert_runs(self.sshd.base, bundle)


@pytest.fixture
def old(tmp_path: Path) -> Bundle:
    return make_bundle(tmp_path / "old", size=SIZE)


@pytest.fixture
def new(tmp_path: Path) -> Bundle:
    return make_bundle(tmp_path / "new", 2, model=2, size=SIZE)


@pytest.fixture
def user(sshd: Sshd, old: Bundle) -> User:
    """Before a device that runs the old bundle."""
    sent(old, sshd)
    return User(sshd)


def test_a_device_that_cannot_be_reached(user: User, old: Bundle, new: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    sshd, keyring = user.sshd, user.sshd.keyring
    where = f"{HOST} port {sshd.port}"
    line = user.refused(new, to="pi@nosuch.invalid")
    assert "host name 'nosuch.invalid' is not known; check its spelling and the network" in line

    keyring.forget(sshd.port)
    line = user.refused(new)
    assert "its host key is not known here" in line
    assert f"ssh-keyscan -p {sshd.port} {HOST} >> {keyring.known_hosts}" in line
    keyring.know(sshd.port, sshd.host_key)

    keys = sshd.folder / "authorized_keys"
    allowed = keys.read_text()
    sshd.refuse_key()
    assert "the device refuses this user or key; let it in by `ssh-copy-id" in user.refused(new)
    keys.write_text(allowed)

    sshd.shut()
    assert f"connection refused at {where}; is the device on" in user.refused(new)
    sshd.start()

    with socket.create_server((HOST, 0)) as deaf:
        address = f"pi@{HOST}:{deaf.getsockname()[1]}"
        line = user.refused(new, "--connect-timeout", "1", to=address)
    assert "no answer within 1 s; is the device on and in this network? (--connect-timeout waits longer)" in line

    with monkeypatch.context() as here:
        here.setenv("PATH", "/nowhere")
        assert "no `ssh` on this machine: sudo apt install openssh-client" in user.refused(new)

    sshd.change_host_key()
    line = user.refused(new)
    assert "its host key is not the one in" in line
    assert f"ssh-keygen -f {keyring.known_hosts} -R '[{HOST}]:{sshd.port}'" in line
    keyring.know(sshd.port, sshd.host_key)

    assert_healthy(sshd, old)
    user.flashed(new)


def test_words_that_are_no_device(user: User, new: Bundle, tmp_path: Path) -> None:
    assert "possible: user@host, user@host:port, a name" in user.refused(
        new, to="pi@-oProxyCommand=x", code=ConfigError.exit_code
    )
    assert "port: found '0', expected 1 to 65535" in user.refused(new, to="pi@kitchen:0", code=ConfigError.exit_code)
    assert "local:/a/folder" in user.refused(new, to="local:", code=ConfigError.exit_code)
    inventory = tmp_path / "devices.toml"
    inventory.write_text('[hosts.kitchen]\naddress = "pi@kitchen"\ntarget = "raspberypi4"\n')
    line = user.refused(new, "--inventory", str(inventory), to="kitchen", code=ConfigError.exit_code)
    assert "no target 'raspberypi4'; did you mean 'raspberrypi4'" in line


def test_a_bundle_of_another_arch_or_target(user: User, old: Bundle, new: Bundle, tmp_path: Path) -> None:
    other = make_bundle(tmp_path / "arm", 3, size=SIZE, target={"arch": "armv7l"}, runtime=LITERT)
    line = user.refused(other, code=10)
    assert "the bundle is for armv7l, the device is" in line
    assert "build it for a target of that arch" in line
    inventory = tmp_path / "devices.toml"
    inventory.write_text(f'[hosts.kitchen]\naddress = "{user.sshd.address}"\ntarget = "raspberrypi4"\n')
    line = user.refused(other, "--inventory", str(inventory), to="kitchen", code=10)
    assert "the bundle is for armv7l, and the inventory says it is raspberrypi4, aarch64" in line
    assert_healthy(user.sshd, old)
    user.flashed(new)


def test_a_device_without_python(start_sshd: StartSshd, new: Bundle, tmp_path: Path) -> None:
    bare = tmp_path / "bin"
    bare.mkdir()
    for name in ("sh", "cat", "mkdir", "wc", "mv", "rm", "sync", "dd", "tar", "gzip"):
        (bare / name).symlink_to(f"/bin/{name}")
    user = User(start_sshd(path=str(bare)))
    line = user.refused(new, code=10)
    assert "no python3 there, which edgekit needs (3.9 or newer): sudo apt install python3" in line
    assert "no /opt/python there; name another" in user.refused(new, "--python", "/opt/python", code=10)
    (bare / "python3").symlink_to(sys.executable)
    user.flashed(new)


@pytest.mark.parametrize(
    ("patch", "lines"),
    [
        (
            'os.confstr = lambda name: "glibc 2.17"',
            ["ai-edge-litert needs glibc 2.27 or newer, and this system has 2.17", "install a newer system"],
        ),
        ('os.confstr = lambda name: ""', ["ai-edge-litert needs glibc, and this system has "]),
        (
            'os.uname = lambda: os.uname_result(["Linux", "x", "5", "1", "riscv64"])',
            ["ai-edge-litert has no wheels for riscv64; possible: aarch64, x86_64"],
        ),
        (
            "read = pathlib.Path.read_text; pathlib.Path.read_text = lambda path, **how: "
            '"MemTotal: 65536 kB" if str(path) == "/proc/meminfo" else read(path, **how)',
            ["67 MB of memory, and a model of 3.0 MB needs about 73 MB", "build a smaller one"],
        ),
        (
            "",
            [
                "ai-edge-litert not installed for",
                "run this on the device, then flash again",
                "-m pip install --no-deps",
            ],
        ),
    ],
    ids=["glibc", "musl", "arch", "memory", "runtime"],
)
def test_a_machine_that_cannot_run_it(
    start_sshd: StartSshd, old: Bundle, tmp_path: Path, patch: str, lines: list[str]
) -> None:
    """It does not know of a Python with the runtime, and is another machine in one respect."""
    folder = tmp_path / "bin"
    path = write_python(folder, _ELSEWHERE.format(python=Path(sys.base_prefix, "bin", "python3"), patch=patch))
    wants = make_bundle(
        tmp_path / "wants", 2, size=MODEL_BYTES, runtime=LITERT, requirements="ai-edge-litert==2.3.0\n"
    )  # fmt: skip
    board = start_sshd(path=f"{path.partition(':')[0]}:/usr/bin:/bin")
    user = User(board)
    line = user.refused(wants, code=10)
    for part in lines:
        assert part in line
    assert not (board.base / "incoming").exists(), "nothing has travelled"
    (folder / "python3").unlink()
    (folder / "python3").symlink_to(sys.executable)
    user.flashed(old)


def test_too_little_disk_and_the_advice_helps(start_sshd: StartSshd, tmp_path: Path) -> None:
    """Old releases are what fills it. Making room works with no room left at all."""
    user = User(start_sshd(disk_mb=7))
    sshd = user.sshd
    bundles = [make_bundle(tmp_path / str(n), n, model=n, size=1_500_000) for n in range(4)]
    for bundle in bundles[:3]:
        sent(bundle, sshd)
    line = user.refused(bundles[3], code=10)
    assert "MB are needed" in line
    assert "`edgekit devices prune` removes old releases" in line
    fill(sshd.home)()
    assert_healthy(sshd, bundles[2])
    prune = ["devices", "prune", sshd.address, "--ssh-config", str(sshd.ssh_config)]
    done = CliRunner().invoke(cli, prune)
    assert (done.exit_code, done.stderr) == (0, "")
    assert "1 releases removed" in done.stdout
    (sshd.home / "ballast").unlink()
    user.flashed(bundles[3])


def make_file(base: Path) -> None:
    base.write_text("mine")


def make_closed(base: Path) -> None:
    base.mkdir(mode=0o555)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [(make_file, "cannot be written there"), (make_closed, "Permission denied")],
    ids=["file", "closed"],
)
def test_a_base_that_is_not_the_users(
    start_sshd: StartSshd, tmp_path: Path, spoil: Callable[[Path], None], said: str
) -> None:
    new = make_bundle(tmp_path / "new", size=SIZE, requirements="")  # runs on any Python, such as this user's
    board = start_sshd(user="edge")
    user = User(board)
    spoil(board.base)
    line = user.refused(new, code=10)
    assert said in line
    assert "--base" in line
    shutil.rmtree(board.base) if board.base.is_dir() else board.base.unlink()
    user.flashed(new)


def test_a_bundle_that_is_damaged_here(user: User, new: Bundle) -> None:
    """No device is asked."""
    for name in ("model/model.bin", "manifest.json"):
        whole = (new.path / name).read_bytes()
        (new.path / name).write_bytes(whole[:-9])
        assert name in user.refused(new, to="pi@nosuch.invalid", code=BundleError.exit_code)
        (new.path / name).write_bytes(whole)
    user.flashed(new)


def test_a_device_that_hangs(start_sshd: StartSshd, old: Bundle, new: Bundle, tmp_path: Path) -> None:
    path = write_python(tmp_path / "bin", '[ ! -e "$HOME/hang" ] || exec sleep 600; exec "$REAL" "$@"')
    user = User(start_sshd(path=path))
    sent(old, user.sshd)
    (user.sshd.home / "hang").write_text("")
    line = user.refused(new, "--timeout", "1")
    assert "no answer within 1 s; it is busy or hangs: try again, or wait longer (--timeout)" in line
    code, out, _ = user.flash(new, "--timeout", "1", "--json")
    assert code == 9
    (device,) = json.loads(out)["devices"]
    assert device["error"] == line
    (user.sshd.home / "hang").unlink()
    assert_healthy(user.sshd, old)
    user.flashed(new)
