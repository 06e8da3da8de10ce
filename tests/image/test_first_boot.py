"""The first boot's script, run for real: by this system's shell, where /opt and others are a board's own folders."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from agent.agent_device import digest_of, write_bundle

from edgekit.agentfile import build_agent
from edgekit.image.firstboot import HERE, LOG, Plan, extend_cmdline, own_files

#: Also for other accounts than this one.
PYTHON = "/usr/bin/python3" if os.access("/usr/bin/python3", os.X_OK) else sys.executable
HOOK = "systemd.run=/opt/edgekit-image/first-boot"
#: Over these the board's own folders are mounted.
_OWN = ("/opt", "/var/log", "/boot", "/etc/systemd/system")
_SYSTEMCTL = '#!/bin/sh\necho "$@" >> /opt/systemctl\n'


@dataclass
class Board:
    """A system that has just been switched on: its folders lie below `folder`."""

    folder: Path

    def path(self, path: str) -> Path:
        own = next(own for own in _OWN if path.startswith(own))
        return self.folder / own.strip("/").replace("/", "-") / path.removeprefix(own).strip("/")

    def text(self, path: str) -> str:
        return self.path(path).read_text()

    def boot(self, *, killed_after_s: float | None = None) -> int:
        """The script's exit code. With `killed_after_s` it is killed then, and all that it started."""
        mounts = [f"mount --bind {shlex.quote(str(self.path(own)))} {own}" for own in _OWN]
        script = " && ".join([*mounts, f"exec {HERE}/first-boot"])
        words = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "/bin/sh", "-c", script]
        environment = {"PATH": f"{self.folder}/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        try:
            return subprocess.run(words, env=environment, timeout=killed_after_s or 120, check=False).returncode
        except subprocess.TimeoutExpired:
            assert killed_after_s
            return -9


def make_board(folder: Path, bundle: Path, account: str | None = "root", **changes: Any) -> Board:
    """What an image holds when it is first booted, with the words of `firstrun` in its cmdline.txt."""
    if os.getuid() != 0:
        pytest.skip("needs root, for mounts that only the script sees")
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
        pytest.skip("no mount namespaces here")
    board = Board(folder)
    folder.chmod(0o755)
    for own in _OWN:
        board.path(own).mkdir(parents=True)
    plan = Plan("firstrun", "/opt/edgekit", PYTHON, account, "/boot/firmware", 60.0, changes.get("service"))
    for path, content in own_files(plan).items():
        board.path(path).parent.mkdir(parents=True, exist_ok=True)
        board.path(path).write_text(content)
    board.path(f"{HERE}/first-boot").chmod(0o755)
    board.path(f"{HERE}/agent.pyz").write_bytes(build_agent().content)
    subprocess.run(["cp", "-r", str(bundle), str(board.path(f"{HERE}/bundle"))], check=True)
    board.path("/boot/firmware").mkdir()
    board.path("/boot/firmware/cmdline.txt").write_text(extend_cmdline("console=tty1 root=x rootwait"))
    (folder / "bin").mkdir()
    (folder / "bin/systemctl").write_text(_SYSTEMCTL)
    (folder / "bin/systemctl").chmod(0o755)
    return board


@pytest.fixture
def outside() -> Iterator[Path]:
    """A folder outside of what is mounted over, that every account may enter."""
    folder = Path(tempfile.mkdtemp(prefix="edgekit-board-", dir="/var/tmp"))
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("account", ["root", "nobody"])
def test_the_bundle_becomes_current_and_what_began_it_goes(account: str, outside: Path, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    board = make_board(outside, bundle, account)
    assert board.boot() == 0
    assert board.path("/opt/edgekit/current").readlink() == Path("releases") / digest_of(bundle)
    owners = {path.lstat().st_uid for path in [board.path("/opt/edgekit"), *board.path("/opt/edgekit").rglob("*")]}
    assert owners == {0 if account == "root" else 65534}
    assert not board.path(HERE).exists()
    assert not board.path("/etc/systemd/system/edgekit-first-boot.service").exists()
    assert board.text("/boot/firmware/cmdline.txt") == "console=tty1 root=x rootwait\n"
    assert board.text("/opt/systemctl") == "disable edgekit-first-boot.service\n"
    log = board.text(LOG)
    assert log.endswith(" done\n")
    assert board.text("/boot/firmware/edgekit-first-boot.log") == log


def test_of_a_folder_in_use_only_what_the_agent_made_becomes_the_users(outside: Path, tmp_path: Path) -> None:
    board = make_board(outside, write_bundle(tmp_path / "bundle"), "nobody")
    base = board.path("/opt/edgekit")
    base.mkdir()
    (base / "theirs").write_text("")
    os.chown(base, 65534, 65534)
    os.chown(base / "theirs", 1, 1)
    assert board.boot() == 0
    assert {path.name: path.lstat().st_uid for path in base.iterdir() if path.lstat().st_uid != 65534} == {"theirs": 1}
    assert {path.lstat().st_uid for path in (base / "releases").rglob("*")} == {65534}


def test_a_folder_of_somebody_elses_does_not_change_hands(outside: Path, tmp_path: Path) -> None:
    board = make_board(outside, write_bundle(tmp_path / "bundle"), "nobody")
    base = board.path("/opt/edgekit")
    base.mkdir()
    (base / "theirs").write_text("")
    assert board.boot() == 1
    assert {path.lstat().st_uid for path in (base, *base.iterdir())} == {0}


def test_notes_behind_the_first_line_of_cmdline_txt_stay_notes(outside: Path, tmp_path: Path) -> None:
    notes = "# was: systemd.unit=rescue.target init=/bin/sh\n\ntwo  blanks systemd.run=/mine\n"
    extended = extend_cmdline(f"console=tty1 rootwait\n{notes}")
    first, _, rest = extended.partition("\n")
    assert first.startswith(f"console=tty1 rootwait {HOOK} ") and "init=" not in first and rest == notes
    assert "systemd.unit=kernel-command-line.target" in first
    board = make_board(outside, write_bundle(tmp_path / "bundle"))
    board.path("/boot/firmware/cmdline.txt").write_text(extended)
    assert board.boot() == 0
    assert board.text("/boot/firmware/cmdline.txt") == f"console=tty1 rootwait\n{notes}"


def test_the_interpreter_is_the_one_that_was_looked_at(tmp_path: Path) -> None:
    plan = Plan("unit", "/opt/edgekit", None, None, "/boot/firmware", 60.0, None)
    assert "python=/usr/bin/python3\n" in own_files(plan)[f"{HERE}/first-boot"]


def test_a_board_that_answers_otherwise_keeps_running_without_it(outside: Path, tmp_path: Path) -> None:
    board = make_board(outside, write_bundle(tmp_path / "bundle", current="differs"))
    assert board.boot() == 1
    assert not board.path("/opt/edgekit/current").exists()
    assert "not installed; the system itself is as it was" in board.text("/boot/firmware/edgekit-first-boot.log")
    assert "systemd.run" not in board.text("/boot/firmware/cmdline.txt")
    assert board.path(f"{HERE}/bundle").is_dir()  # to try again by hand
    assert board.boot() == 1


def test_a_changed_file_is_refused(outside: Path, tmp_path: Path) -> None:
    board = make_board(outside, write_bundle(tmp_path / "bundle"))
    board.path(f"{HERE}/bundle/model/model.bin").write_bytes(bytes(64000))
    assert board.boot() == 1
    assert "model.bin: is not as manifest.json says" in board.text(LOG)
    assert not board.path("/opt/edgekit/current").exists()


def test_signed_bundles_only(outside: Path, tmp_path: Path) -> None:
    board = make_board(outside, write_bundle(tmp_path / "bundle"))
    board.path(f"{HERE}/allowed_signers").write_text("")
    assert board.boot() == 1
    assert "unsigned, and /opt/edgekit/allowed_signers asks for signed bundles" in board.text(LOG)


def test_an_account_that_is_not_there_is_told(outside: Path, tmp_path: Path) -> None:
    board = make_board(outside, write_bundle(tmp_path / "bundle"), "nosuchuser")
    assert board.boot() == 1
    assert "no such user" in board.text(LOG)


def test_a_cut_at_any_moment_is_mended_by_the_next_boot(outside: Path, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    board = make_board(outside, bundle)
    for after_s in (0.15, 0.5):
        if board.boot(killed_after_s=after_s) != -9:
            break
        if board.path(HERE).exists():
            assert HOOK in board.text("/boot/firmware/cmdline.txt")
    if board.path(HERE).exists():
        assert board.boot() == 0
    assert board.path("/opt/edgekit/current").readlink() == Path("releases") / digest_of(bundle)
    assert not board.path(HERE).exists()


def test_what_never_ends_is_given_up_at_the_fourth_boot(outside: Path, tmp_path: Path) -> None:
    board = make_board(outside, write_bundle(tmp_path / "bundle", before="hang"))
    for _ in range(3):
        assert board.boot(killed_after_s=2) == -9
        assert HOOK in board.text("/boot/firmware/cmdline.txt")
    assert board.boot() == 1
    assert "given up: it came to no end in 3 boots" in board.text(LOG)
    assert HOOK not in board.text("/boot/firmware/cmdline.txt")


def test_where_only_the_service_fails_the_bundle_stays(outside: Path, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    board = make_board(outside, bundle, service={})
    assert board.boot() == 2
    answer = json.loads(next(line for line in board.text(LOG).splitlines() if '"error"' in line))
    assert answer["ok"] is False
    assert board.text(LOG).endswith(" installed, but not served\n")
    assert board.path("/opt/edgekit/current").readlink() == Path("releases") / digest_of(bundle)


def test_another_first_run_keeps_its_words(outside: Path, tmp_path: Path) -> None:
    board = make_board(outside, write_bundle(tmp_path / "bundle"))
    theirs = "systemd.run=/boot/firmware/firstrun.sh systemd.run_success_action=reboot"
    theirs += " systemd.unit=kernel-command-line.target"
    board.path("/boot/firmware/cmdline.txt").write_text(extend_cmdline(f"console=tty1 {theirs}"))
    assert board.boot() == 0
    left = board.text("/boot/firmware/cmdline.txt")
    assert HOOK not in left
    assert theirs.split()[0] in left
    assert {"systemd.unit=kernel-command-line.target", "systemd.run_success_action=reboot"} <= set(left.split())


def test_the_script_is_plain_posix_shell(tmp_path: Path) -> None:
    plan = Plan("unit", "/opt/edgekit", None, None, "/boot/firmware", 60.0, None)
    path = tmp_path / "first-boot"
    path.write_text(own_files(plan)[f"{HERE}/first-boot"])
    assert subprocess.run(["/bin/sh", "-n", str(path)], check=False).returncode == 0
