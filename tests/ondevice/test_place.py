from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.ondevice import infer
from edgekit.ondevice.errors import OnDeviceError
from edgekit.ondevice.infer import Predictor
from edgekit.ondevice.place import compiled_folder, lacks_all, missing_flags

CPUINFO = "processor\t: 0\nmodel name\t: x\nflags\t\t: fpu avx2 avx512_vnni\n\nprocessor\t: 1\nflags\t\t: fpu\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "cpuinfo").write_text(CPUINFO)
    return tmp_path


@pytest.mark.parametrize(
    ("flags", "lacks"),
    [(("avx2",), False), (("avx_vnni", "avx512_vnni"), False), (("amx_int8",), True), (("avx",), True), ((), False)],
)
def test_one_of_the_flags_is_enough(root: Path, flags: tuple[str, ...], lacks: bool) -> None:
    assert lacks_all(flags, root) is lacks
    assert missing_flags({"target": {"cpu_flags": list(flags)}}, root) == (flags if lacks else ())


def test_a_cpu_whose_flags_nobody_says_lacks_nothing(root: Path, tmp_path: Path) -> None:
    assert not lacks_all(("amx_int8",), tmp_path / "nowhere")
    (root / "proc" / "cpuinfo").write_text("processor\t: 0\nFeatures\t: fp asimd\n")
    assert not lacks_all(("amx_int8",), root)
    assert missing_flags({}, root) == missing_flags({"target": None}, root) == ()


def test_a_bundle_for_other_cpus_is_refused_before_its_model_is_loaded(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(infer, "missing_flags", lambda manifest: ("avx512_vnni", "avx_vnni"))
    said = "made for CPUs with avx512_vnni or avx_vnni, which this one has not, .*; build it for target intel-cpu$"
    with pytest.raises(OnDeviceError, match=said):
        Predictor(bundle)
    assert Predictor(bundle, device="NPU").substitute == "computes on NPU, as asked; made for CPU"


def test_what_is_compiled_lies_beside_a_release_and_nowhere_else(tmp_path: Path) -> None:
    model = tmp_path / "releases" / "abc" / "model" / "model.xml"
    model.parent.mkdir(parents=True)
    model.touch()
    assert compiled_folder(model) is None, "not a bundle"
    (tmp_path / "releases" / "abc" / "manifest.json").touch()
    (tmp_path / "current").symlink_to("releases/abc")
    place = tmp_path / "releases" / "abc.compiled"
    assert compiled_folder(tmp_path / "current" / "model" / "model.xml") == place
    assert place.is_dir()
    place.rmdir()
    place.symlink_to(tmp_path)
    assert compiled_folder(model) is None, "a link leads elsewhere"
    (tmp_path / "releases").rename(tmp_path / "dist")
    assert compiled_folder(tmp_path / "dist" / "abc" / "model" / "model.xml") is None
    place = tmp_path / "dist" / "abc.compiled"
    assert place.is_symlink()


def test_without_the_right_to_write_there_what_is_there_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "releases" / "abc").mkdir(parents=True)
    (tmp_path / "releases" / "abc" / "manifest.json").touch()
    model = tmp_path / "releases" / "abc" / "model.xml"

    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert compiled_folder(model) is None
    monkeypatch.undo()
    (tmp_path / "releases" / "abc.compiled").mkdir()
    monkeypatch.setattr(Path, "mkdir", refuse)
    assert compiled_folder(model) == tmp_path / "releases" / "abc.compiled"
