from __future__ import annotations

import json
from pathlib import Path

import pytest
from number_bundle import write_bundle

from edgekit.ondevice.errors import OnDeviceError
from edgekit.ondevice.verify import verify


def rewrite(bundle: Path, model: str) -> Path:
    """The same bundle around another model, whole by its own manifest."""
    golden = (bundle / "golden.json").read_text()
    changed = bundle.with_name(f"factor {model}")
    write_bundle(changed)
    (changed / "model.txt").write_text(model)
    (changed / "golden.json").write_text(golden)
    manifest = json.loads((changed / "manifest.json").read_text())
    del manifest["files"]["model.txt"]
    (changed / "manifest.json").write_text(json.dumps(manifest))
    return changed


def test_a_good_bundle_agrees(bundle: Path) -> None:
    report = verify(bundle)
    assert report["ok"]
    assert (report["files"], report["runtime"], report["runtime_version"]) == (3, "numbers", "1.0")
    assert report["max_difference"] == 0
    assert [s["decision"] for s in report["samples"]] == ["short", "long"]


def test_rounding_within_the_tolerance_agrees(bundle: Path) -> None:
    report = verify(rewrite(bundle, "1.001"))
    assert report["ok"]
    assert report["max_difference"] == pytest.approx(0.004, abs=1e-5)


def test_a_difference_beyond_the_tolerance_does_not_though_the_label_stays(bundle: Path) -> None:
    report = verify(rewrite(bundle, "1.004"))
    assert [s["ok"] for s in report["samples"]] == [True, False]
    assert not report["ok"]
    assert report["samples"][1]["decision"] == report["samples"][1]["expected"] == "long"


def test_another_label_within_a_wide_tolerance_does_not(bundle: Path) -> None:
    other = rewrite(bundle, "-1")
    golden = json.loads((other / "golden.json").read_text())
    (other / "golden.json").write_text(json.dumps({**golden, "tolerance": 100}))
    manifest = json.loads((other / "manifest.json").read_text())
    del manifest["files"]["golden.json"]
    (other / "manifest.json").write_text(json.dumps(manifest))
    report = verify(other)
    assert not report["ok"]
    assert [(s["decision"], s["expected"]) for s in report["samples"]] == [("long", "short"), ("short", "long")]


def test_an_answer_that_is_not_finite_has_no_difference(bundle: Path) -> None:
    report = verify(rewrite(bundle, "nan"))
    assert not report["ok"]
    assert report["max_difference"] is None
    assert report["samples"][0]["decision"] is None


def test_a_changed_file_ends_it_before_any_answer(bundle: Path) -> None:
    (bundle / "model.txt").write_text("3")
    with pytest.raises(OnDeviceError, match="its content has changed"):
        verify(bundle)


@pytest.mark.parametrize("content", ["", "[]", '{"tolerance": 1, "samples": []}', '{"samples": [1]}'])
def test_golden_samples_that_are_none_are_an_error(tmp_path: Path, content: str) -> None:
    folder = write_bundle(tmp_path / "bundle", files={})
    (folder / "golden.json").write_text(content)
    with pytest.raises(OnDeviceError, match=r"golden\.json: missing or damaged"):
        verify(folder)
