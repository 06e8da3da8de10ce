"""What the update system calls on the device, as it is called: a program of its own beside a bundle."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from export.conftest import Make

from edgekit.bundle import Bundle
from edgekit.export import handover
from edgekit.export.parcel import Settings, make_parcel

SERVICE = {"port": 9000}
Put = Callable[..., Path]


@pytest.fixture
def put(tmp_path: Path) -> Put:
    """`put(bundle)`: a parcel's files in the one folder that an update system uses for all of them."""

    def write(bundle: Bundle, folder: Path = tmp_path / "parcel", **settings: object) -> Path:
        shutil.rmtree(folder, ignore_errors=True)
        files = dict(make_parcel(bundle, Settings(**settings)).files)  # type: ignore[arg-type]
        request = {**json.loads(files["install.json"]), "base": str(tmp_path / "base")}
        files["install.json"] = json.dumps(request).encode()
        for path, content in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        return folder

    return write


def call(folder: Path, *words: str) -> tuple[int, str]:
    """Exit code, and the last line on stderr; stdout stays empty."""
    program = [sys.executable, "-I", "-B", str(folder / "handover.py"), *words]
    done = subprocess.run(program, capture_output=True, text=True, cwd="/", env={}, check=False)
    assert done.stdout == "" and "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stderr.splitlines()[-1] if done.stderr else ""


def current(folder: Path) -> str | None:
    link = folder.parent / "base" / "current"
    return link.readlink().name if link.is_symlink() else None


def test_it_installs_and_says_so_in_one_line(put: Put, make: Make) -> None:
    bundle = make()
    folder = put(bundle)
    assert call(folder, "install") == (0, f"edgekit: release {bundle.digest[:16]}: installed")
    assert call(folder, "install") == (0, f"edgekit: release {bundle.digest[:16]}: ran already, is healthy")
    assert not (folder / "before.json").exists()


def test_old_releases_go_but_for_the_way_back(put: Put, make: Make) -> None:
    bundles = [make(version) for version in "123"]
    for bundle in bundles:
        assert call(put(bundle), "install")[0] == 0
    releases = put(bundles[2]).parent / "base" / "releases"
    assert {p.name for p in releases.iterdir() if p.is_dir()} == {bundles[1].digest, bundles[2].digest}


def test_back_leads_to_what_ran_before_and_not_further(put: Put, make: Make) -> None:
    first, second, third = (make(version) for version in "123")
    for bundle in (first, second):
        assert call(put(bundle), "install", "--remember")[0] == 0
    folder = put(third)
    for _ in range(2):  # a power cut may let it be called again
        assert call(folder, "install", "--remember")[0] == 0
    for line in (f"edgekit: back to release {second.digest[:16]}", "edgekit: nothing was switched"):
        assert call(folder, "back", third.digest) == (0, line)
        assert current(folder) == second.digest


def test_back_of_another_bundle_than_lies_there_does_nothing(put: Put, make: Make) -> None:
    first, second = make("1"), make("2")
    call(put(first), "install", "--remember")
    folder = put(second)
    call(folder, "install", "--remember")
    assert call(folder, "back", first.digest) == (0, "edgekit: nothing was switched")
    assert current(folder) == second.digest


def test_back_after_a_refusal_stays_with_what_runs(put: Put, make: Make) -> None:
    first, bad = make("1"), make("2", current="differs")
    call(put(first), "install", "--remember")
    folder = put(bad)
    code, line = call(folder, "install", "--remember")
    assert code == 1 and line.startswith(f"edgekit: not healthy, switched back to release {first.digest[:16]}: ")
    assert call(folder, "back", bad.digest) == (0, "edgekit: nothing was switched")
    assert current(folder) == first.digest


def test_back_where_nothing_ran_before_keeps_what_runs(put: Put, make: Make) -> None:
    bundle = make()
    folder = put(bundle)
    call(folder, "install", "--remember")
    code, line = call(folder, "back", bundle.digest)
    assert code == 0 and "no release ran before" in line and current(folder) == bundle.digest


@pytest.mark.skipif(handover.BOOTED.is_dir(), reason="systemd runs this machine: the service would be installed")
def test_without_systemd_the_bundle_is_installed_and_the_service_later(put: Put, make: Make) -> None:
    folder = put(make(), service=SERVICE)
    code, line = call(folder, "install")
    assert code == 0 and line.endswith(
        "installed; not served, for systemd does not run here: install it again once it does"
    )
    assert call(folder, "remove") == (0, "")


def test_the_service_of_a_package_before_this_one_goes_too(put: Put, make: Make, monkeypatch: Any) -> None:
    folder = put(make())  # which asks for no service
    request = json.loads((folder / "install.json").read_text())
    asked: list[tuple[str, object, object]] = []

    def ask(command: str, fields: dict[str, Any]) -> dict[str, Any]:
        asked.append((command, fields["action"], fields["scope"]))
        return {"ok": True}

    monkeypatch.setattr(handover, "ask", ask)
    monkeypatch.setattr(handover, "BOOTED", folder)
    record = folder.parent / "base" / "service.json"
    assert handover.remove(request) == 0 and asked == []
    record.parent.mkdir()
    for content in ("{", "[]", '{"scope": "user"}'):
        record.write_text(content)
        assert handover.remove(request) == 0 and asked == []
    record.write_text('{"scope": "system"}')
    assert handover.remove(request) == 0 and asked == [("service", "remove", "system")]


@pytest.mark.parametrize("words", [(), ("Install",), ("install", "now"), ("back",), ("remove", "all")])
def test_what_it_does_not_know_it_does_not_do(put: Put, make: Make, words: tuple[str, ...]) -> None:
    folder = put(make())
    assert call(folder, *words) == (1, "edgekit: expected install [--remember], back DIGEST or remove")
    assert current(folder) is None


def test_an_agent_that_cannot_run_is_one_line(put: Put, make: Make) -> None:
    folder = put(make())
    (folder / "agent.pyz").write_bytes(b"cut short")
    code, line = call(folder, "install")
    assert code == 1 and line == "edgekit: the agent ended with code 1"


def test_it_stands_alone_and_is_python_3_9() -> None:
    tree = ast.parse(Path(handover.__file__).read_text(), feature_version=(3, 9))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert {alias.name for alias in node.names} <= sys.stdlib_module_names
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and str(node.module).partition(".")[0] in {*sys.stdlib_module_names, "__future__"}
