"""`edgekit export` as a user calls it, with wrong input too."""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from export.conftest import Make

from edgekit.bundle import archive
from edgekit.cli import cli
from edgekit.errors import BundleError, ConfigError
from edgekit.export import FORMATS, load_format
from edgekit.export.parcel import Settings, make_parcel

MORE = {"mender": ["--device-type", "board"]}


def edgekit(*words: str) -> Result:
    return CliRunner().invoke(cli, ["export", *words])


@pytest.mark.parametrize("form", FORMATS)
def test_it_says_what_was_written_and_what_comes_next(make: Make, form: str) -> None:
    bundle = make(arch="aarch64")
    done = edgekit(form, str(bundle.path), *MORE.get(form, []))
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    path = Path(lines[0].split("  ")[0])
    assert path.exists() and path.parent == bundle.path.parent
    assert [line.split(":")[0] for line in lines[1:]] == ["note", "note", *["note"] * (form == "greengrass"), "next"]
    assert "it brings no runtime" in lines[1] and "unsigned" in lines[2]


def test_json_is_one_document(make: Make, tmp_path: Path) -> None:
    bundle = make()
    (tmp_path / "out").mkdir()
    done = edgekit("deb", str(bundle.path), "--json", "--version", "1.2.3", "-o", str(tmp_path / "out"))
    document = json.loads(done.stdout)
    path = Path(document["path"])
    assert path == tmp_path / "out" / "edgekit-fake_1.2.3_all.deb"
    assert document["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (document["digest"], document["version"]) == (bundle.digest, "1.2.3")


def test_an_archive_is_exported_as_its_folder_is(make: Make, tmp_path: Path) -> None:
    bundle = make()
    packed = archive(bundle)
    sums = [
        json.loads(edgekit("deb", str(path), "--json", "-o", str(tmp_path / name)).stdout)["sha256"]
        for path, name in ((bundle.path, "a.deb"), (packed, "b.deb"))
    ]
    assert sums[0] == sums[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["deb", "--base", "/"], "--base /: expected a folder of the device, two levels deep or more"),
        (["deb", "--base", "/var/../etc"], "--base /var/../etc: expected a folder"),
        (["deb", "--base", "/var/lib/edgekit; rm -rf /x"], "--base /var/lib/edgekit; rm"),
        (["oci", "--base", "var/lib/edgekit"], "--base var/lib/edgekit: expected"),
        (["deb", "--base", "/usr/bin"], "--base /usr/bin: is the system's; expected a folder that only edgekit uses"),
        (["deb", "--base", "/usr/lib/edgekit"], "--base /usr/lib/edgekit: is the system's"),
        (["mender", "--base", "/var/lib"], "--base /var/lib: is the system's"),
        (["mender", "--python", "python3"], "--python python3: expected the path of a Python on the device"),
        (["greengrass", "--version", "1.2"], "--version 1.2: expected MAJOR.MINOR.PATCH"),
        (["greengrass", "--version", "1.2.1000000"], "each a number up to 999999"),
        (["mender"], "--device-type: needed, as in /var/lib/mender/device_type"),
        (["deb", "--maintainer", "me"], "--maintainer 'me': expected Name <address>"),
    ],
)
def test_wrong_options_are_one_line(make: Make, words: list[str], said: str) -> None:
    done = edgekit(words[0], str(make().path), *words[1:])
    assert isinstance(done.exception, ConfigError) and said in str(done.exception)
    assert len(str(done.exception).splitlines()) == 1


def test_all_wrong_settings_are_told_at_once(make: Make) -> None:
    with pytest.raises(ConfigError) as caught:
        make_parcel(make(), Settings(base="/", python="p", version="1"))
    assert len(caught.value.problems) == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--port", "9000"], "--port goes with --service"),
        (["--service", "--socket", "--port", "9000"], "a Unix socket has no --host and no --port"),
        (["--service", "--host", "0.0.0.0"], "that needs a --token-file on the device"),
        (["--service", "--token-file", "token"], "expected a whole path on the device"),
        (["--service", "--token-file", ""], "--token-file: found ''"),
        (["--service", "--host", ""], "--host: found ''"),
        (["--service", "--host", "localhost.example.com"], "that needs a --token-file on the device"),
        (["--service", "--host", "127.bogus"], "that needs a --token-file on the device"),
        (["--service", "--host", "a b", "--token-file", "/x"], "--host: found 'a b'"),
        (["--health-seconds", "nan"], "--health-seconds"),
        (["--health-seconds", "inf"], "--health-seconds"),
    ],
)
def test_a_service_that_no_device_would_take_is_refused_here(make: Make, words: list[str], said: str) -> None:
    done = edgekit("deb", str(make().path), *words)
    assert done.exit_code == 2 and said in done.output


def test_what_is_no_bundle_is_refused(make: Make, tmp_path: Path) -> None:
    done = edgekit("deb", str(tmp_path / "nothing"))
    assert isinstance(done.exception, BundleError) and "no such bundle" in str(done.exception)
    bundle = make()
    (bundle.path / "twin.txt").write_text("changed")
    done = edgekit("oci", str(bundle.path))
    assert isinstance(done.exception, BundleError) and "twin.txt" in str(done.exception)


def test_the_request_says_what_was_asked(make: Make) -> None:
    settings = Settings(python="/opt/venv/bin/python3", health_s=60, allow_older=True, service={"socket": True})
    request = json.loads(make_parcel(make(), settings).files["install.json"])
    assert request == {
        "protocol": 1, "base": "/var/lib/edgekit", "wait_s": 600, "python": "/opt/venv/bin/python3", "health_s": 60,
        "allow_older": True, "service": {"action": "install", "scope": "system", "socket": True},
    }  # fmt: skip


@pytest.mark.parametrize("form", FORMATS)
def test_a_format_is_what_its_module_says(form: str) -> None:
    module = load_format(form)
    assert module.__doc__ and module.export.__doc__ and module.file_name.__doc__ and module.Options.__doc__


def test_the_tuple_of_formats_is_what_the_folder_holds() -> None:
    folder = Path(str(load_format("deb").__file__)).parent
    assert set(FORMATS) == {p.stem for p in folder.glob("*.py") if "\ndef export(" in p.read_text()}


def test_nothing_of_the_exporting_machine_is_in_the_archives(make: Make, tmp_path: Path) -> None:
    out = tmp_path / "x.mender"
    assert edgekit("mender", str(make().path), "--device-type", "board", "-o", str(out)).exit_code == 0
    with tarfile.open(out) as tar:
        assert {(e.uid, e.gid, e.mtime, e.uname) for e in tar} == {(0, 0, 1_577_836_800, "root")}
