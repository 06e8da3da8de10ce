"""install_runtime: a venv from the wheels that a release brings, without any index."""

from __future__ import annotations

import base64
import ensurepip
import hashlib
import io
import json
import platform
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from agent_device import Device, digest_of, write_bundle, write_manifest

from edgekit.agent import runtime

pytestmark = pytest.mark.heavy  # each venv takes seconds


def wheel(folder: Path, name: str = "tinyrt", version: str = "1.0", tag: str = "py3-none-any") -> Path:
    """A package of one line."""
    about = f"{name}-{version}.dist-info"
    content = {
        f"{name}.py": f"VERSION = {version!r}\n".encode(),
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{about}/WHEEL": f"Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: {tag}\n".encode(),
    }
    record = [
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(c).digest()).rstrip(b'=').decode()},{len(c)}"
        for path, c in content.items()
    ]
    content[f"{about}/RECORD"] = "\n".join([*record, f"{about}/RECORD,,\n"]).encode()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path, c in content.items():
            archive.writestr(zipfile.ZipInfo(path), c)
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-{version}-{tag}.whl"
    path.write_bytes(packed.getvalue())
    return path


def with_wheels(bundle: Path, **named: str) -> Path:
    """Its code answers only where the package can be imported."""
    main = bundle / "ondevice" / "__main__.py"
    main.write_text(
        "import tinyrt\n" + main.read_text().replace('"runtime_version": "1"', '"runtime_version": tinyrt.VERSION')
    )
    write_manifest(bundle, **named)
    return bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    made = write_bundle(tmp_path / "a")
    wheel(made / "wheels")
    return with_wheels(made)


def test_a_release_runs_with_its_own_wheels(device: Device, tmp_path: Path, bundle: Path) -> None:
    digest = device.receive(bundle)
    assert (
        "cannot run the bundle: ModuleNotFoundError: No module named 'tinyrt'"
        in (device.ask("verify", digest=digest)["error"])
    )
    answer = device.ask("install_runtime", digest=digest, wheels=True)
    assert (answer["ok"], answer["installed"], answer["packages"]) == (True, True, ["tinyrt==1.0"]), answer
    assert Path(answer["python"]).parents[2] == device.base / "runtime"
    again = device.ask("install_runtime", digest=digest, wheels=True)
    assert (again["installed"], again["python"]) == (False, answer["python"])
    verified = device.ask("verify", digest=digest)
    assert (verified["python"], verified["report"]["runtime_version"]) == (answer["python"], "1.0")
    assert device.ask("activate", digest=digest)["ok"]
    assert device.ask("probe", packages=["tinyrt"], python=answer["python"])["runtime"] == {"tinyrt": "1.0"}
    assert answer["python"] in device.ask("probe")["pythons"]
    inside = json.loads(
        subprocess.run(
            [answer["python"], "-c", "import json, sys; print(json.dumps(sys.path))"], capture_output=True
        ).stdout
    )
    assert not [p for p in inside if ".new-" in p]
    assert not list((device.base / "runtime").glob(".*"))


def test_another_version_of_the_same_wheels_shares_the_venv(device: Device, tmp_path: Path, bundle: Path) -> None:
    device.ask("install_runtime", digest=device.receive(bundle))
    second = write_bundle(tmp_path / "b", "2")
    wheel(second / "wheels")
    with_wheels(second)
    assert not device.ask("install_runtime", digest=device.receive(second))["installed"]
    third = write_bundle(tmp_path / "c", "3")
    wheel(third / "wheels", version="2.0")
    with_wheels(third)
    assert device.ask("install_runtime", digest=device.receive(third))["installed"]
    assert len(list((device.base / "runtime").iterdir())) == 2
    for made in (bundle, second):
        digest = digest_of(made)
        assert device.ask("verify", digest=digest)["ok"] and device.ask("activate", digest=digest)["ok"]
    pruned = device.ask("prune", incoming=True)  # the third was announced, and might be under way
    assert len(pruned["runtimes"]) == 1 and len(list((device.base / "runtime").iterdir())) == 1
    assert device.ask("rollback")["ok"]


def test_a_wheel_that_does_not_fit_leaves_no_venv(device: Device, tmp_path: Path) -> None:
    made = write_bundle(tmp_path / "a")
    wheel(made / "wheels", tag="py3-none-linux_s390x")
    digest = device.receive(with_wheels(made))
    answer = device.ask("install_runtime", digest=digest)
    assert answer["kind"] == "failed" and "No matching distribution found for tinyrt==1.0" in answer["error"], answer
    assert list((device.base / "runtime").iterdir()) == []
    assert not (device.base / "releases" / f"{digest}.python").exists()


def test_a_users_settings_of_pip_do_not_act(
    device: Device, tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pip").mkdir()
    (tmp_path / "pip" / "pip.conf").write_text(f"[install]\ntarget = {tmp_path / 'elsewhere'}\n")
    digest = device.receive(bundle)
    for name, value in (("PIP_TARGET", str(tmp_path / "elsewhere")), ("XDG_CONFIG_HOME", str(tmp_path))):
        with monkeypatch.context() as patched:
            patched.setenv(name, value)
            answer = device.ask("install_runtime", digest=digest)
        assert answer["ok"] and device.ask("verify", digest=digest)["ok"], answer
        assert not (tmp_path / "elsewhere").exists()
        shutil.rmtree(device.base / "runtime")


def test_a_venv_that_lacks_something_is_made_again(device: Device, bundle: Path) -> None:
    digest = device.receive(bundle)
    made = device.ask("install_runtime", digest=digest)
    venv = Path(made["python"]).parents[1]
    package = next(venv.glob("lib/*/site-packages"))

    def lose_python() -> None:
        (venv / "bin" / "python3").unlink()

    def lose_package() -> None:
        shutil.rmtree(package / "tinyrt-1.0.dist-info")

    def other_version() -> None:
        metadata = package / "tinyrt-1.0.dist-info" / "METADATA"
        metadata.write_text(metadata.read_text().replace("Version: 1.0", "Version: 1.1"))

    for hurt in (lose_python, lose_package, other_version):
        hurt()
        again = device.ask("install_runtime", digest=digest)
        assert (again["ok"], again["installed"], again["python"]) == (True, True, made["python"]), (hurt, again)
        assert device.ask("verify", digest=digest)["ok"]
    assert not device.ask("install_runtime", digest=digest)["installed"]
    assert [p.name for p in (device.base / "runtime").iterdir()] == [venv.name]


def test_a_version_is_the_same_however_it_is_spelt(
    device: Device, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert runtime._plain("Some_Thing==1.0.0+cpu_1") == runtime._plain("some-thing==1.0.0+CPU.1")
    assert runtime._plain("a==1.0") == runtime._plain("a==1.0.0") != runtime._plain("a==1.0.1")
    monkeypatch.setattr(runtime, "_lacking", lambda venv, pins: sorted(pins))
    answer = device.ask("install_runtime", digest=device.receive(bundle))
    assert answer["kind"] == "failed" and "pip has not installed tinyrt==1.0" in answer["error"]
    assert list((device.base / "runtime").iterdir()) == []


def test_of_wheels_for_several_pythons_those_count_that_this_one_loads(device: Device, tmp_path: Path) -> None:
    made = write_bundle(tmp_path / "a")
    minor = sys.version_info[1]
    wheel(made / "wheels", version="1.0", tag=f"cp3{minor}-none-any")
    wheel(made / "wheels", version="2.0", tag=f"cp3{minor + 1}-none-any")
    wheel(made / "wheels", name="open", tag=f"cp39-abi3-linux_{platform.machine()}")
    answer = device.ask("install_runtime", digest=device.receive(with_wheels(made)))
    assert answer["packages"] == ["open==1.0", "tinyrt==1.0"], answer


def test_wheels_for_another_python_are_refused_by_name(device: Device, tmp_path: Path) -> None:
    made = write_bundle(tmp_path / "a")
    wheel(made / "wheels", tag="cp38-cp38-any")
    wheel(made / "wheels", name="open", tag=f"cp3{sys.version_info[1] + 1}-abi3-any")
    wheel(made / "wheels", name="fits")
    answer = device.ask("install_runtime", digest=device.receive(with_wheels(made)))
    assert answer["kind"] == "refused"
    assert (
        f"brings no wheel of open, tinyrt for {sys.executable}, Python 3.{sys.version_info[1]}; build it with "
        in (answer["error"])
    )


def test_a_pip_that_comes_along_installs_and_stays_outside(device: Device, bundle: Path) -> None:
    own = list(Path(ensurepip.__file__).parent.glob("_bundled/pip-*.whl"))
    if not own:
        pytest.skip("this Python has no wheel of pip: its package keeps it elsewhere")
    shutil.copy(own[0], bundle / "wheels")
    answer = device.ask("install_runtime", digest=device.receive(with_wheels(bundle)))
    assert answer["packages"] == ["tinyrt==1.0"], answer
    assert not list(Path(answer["python"]).parents[1].glob("lib/*/site-packages/pip"))


def test_a_changed_wheel_is_refused_before_anything_is_installed(device: Device, bundle: Path) -> None:
    digest = device.receive(bundle)
    path = next((device.base / "releases" / digest / "wheels").iterdir())
    path.chmod(0o644)
    path.write_bytes(path.read_bytes() + b"\0")
    answer = device.ask("install_runtime", digest=digest)
    assert answer["kind"] == "refused" and "missing or changed" in answer["error"]
    assert not (device.base / "runtime").exists()


@pytest.mark.parametrize(
    ("names", "words"),
    [((), "brings no wheels"), (("evil.sh",), "not a wheel's name"), (("a/b-1-py3-none-any.whl",), "not a wheel")],
)
def test_wheels_are_wheels(device: Device, tmp_path: Path, names: tuple[str, ...], words: str) -> None:
    made = write_bundle(tmp_path / "a")
    for name in names:
        (made / "wheels" / name).parent.mkdir(parents=True)
        (made / "wheels" / name).write_text("x")
    write_manifest(made)
    answer = device.ask("install_runtime", digest=device.receive(made))
    assert answer["kind"] == "refused" and words in answer["error"]


def test_a_python_that_is_none_is_named(device: Device, bundle: Path) -> None:
    digest = device.receive(bundle)
    answer = device.ask("install_runtime", digest=digest, python="/bin/true")
    assert answer["kind"] == "failed" and "/bin/true" in answer["error"], answer
    answer = device.ask("install_runtime", digest=digest, python="/nonexistent/python3")
    assert "/nonexistent/python3: cannot be run as a Python 3" in answer["error"]
