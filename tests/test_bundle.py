from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgekit import bundle as bundle_module
from edgekit.artifact import Artifact
from edgekit.bundle import Bundle, archive, open_bundle, pack
from edgekit.card import model_card
from edgekit.errors import BundleError
from edgekit.ondevice import manifest as manifests

OPTIONS = {
    "runtime": "litert",
    "runtime_version": "2.3.0",
    "device": "CPU",
    "threads": 2,
    "buckets": (8, 16),
    "also": (),
}
SCORE = {
    "count": 10, "accuracy": 0.8, "macro_f1": 0.75, "teacher_accuracy": 0.9, "teacher_macro_f1": 0.875,
    "retention": 0.8889, "agreement": 0.7,
}  # fmt: skip
REPORT = {
    "task": "text_classification", "metric": "accuracy", "needs": {"tokenizers": "0.23.3"},
    "described": {"labels": ["bad", "good"], "tokenizer": "tokenizer.json", "buckets": [8, 16]},
    "splits": {"validation": SCORE, "test": {**SCORE, "retention": None}},
    "runtime": {"package": "ai-edge-litert", "version": "2.3.1", "device": "CPU"}, "tolerance": 0.0123,
}  # fmt: skip


def steps(place: Path, seconds: float = 1.0, form: str = "tflite", runtime: str = "litert") -> list[Any]:
    """The artifacts of a build, as small as they can be."""
    place.mkdir(parents=True)
    model, report = place / "model", place / "report"
    model.mkdir()
    report.mkdir()
    for name in ("model.tflite",) if form == "tflite" else ("model.xml", "model.bin"):
        (model / name).write_bytes(b"weights")
    (model / "tokenizer.json").write_text("{}")
    (model / "artifact.json").write_text("not for the bundle")
    (report / "golden.json").write_text('{"schema": 1}')
    teacher = Artifact("teacher_hf", "a" * 64, "torch", place, {"validation_accuracy": 0.9}, (), {}, seconds, "noon")
    made = Artifact("quantize_tflite", "b" * 64, form, model, {}, ("a note",), {}, seconds, "one")
    checked = Artifact("validate", "c" * 64, "report", report, REPORT, (), {}, seconds, "two")
    return [
        (teacher, "teacher", {"epochs": 1}),
        (made, "quantize", {}),
        (checked, "validate", {**OPTIONS, "runtime": runtime}),
    ]


def make(place: Path, out: Path | None = None, **changes: Any) -> Bundle:
    what: dict[str, Any] = {
        "name": "tiny-board", "recipe": {"schema": 1}, "target": {"arch": "aarch64"},
        "teacher": {"name": "a teacher", "licence": "apache-2.0"}, "sample_task": False,
    }  # fmt: skip
    what |= {"steps": steps(place / "store")} | changes
    return pack(out or place / "dist" / "tiny-board", **what)


def test_a_bundle_has_all_that_the_device_needs_and_nothing_else(tmp_path: Path) -> None:
    made = make(tmp_path)
    files = {p.relative_to(made.path).as_posix() for p in made.path.rglob("*") if p.is_file()}
    sources = Path(manifests.__file__).parent
    ondevice = {p.relative_to(sources).as_posix() for p in sources.rglob("*.py")}
    ondevice -= {"runtimes/openvino.py", "runtimes/onnxruntime.py"}  # which load other formats
    assert {
        "__main__.py",
        "profiler/session.py",
        "sensors/rapl.py",
        "runtimes/litert.py",
        "runtimes/tflite.py",
    } <= ondevice
    assert files == {
        "manifest.json", "build.json", "README.md", "LICENSE", "requirements.txt", "golden.json", "tokenizer.json",
        "model/model.tflite", *(f"ondevice/{path}" for path in ondevice),
    }  # fmt: skip
    assert set(made.manifest["files"]) == files - {"manifest.json", "build.json"}
    assert made.manifest["files"]["model/model.tflite"]["size"] == 7
    assert made.size_bytes == sum(p.stat().st_size for p in made.path.rglob("*") if p.is_file())
    assert [p.name for p in made.path.parent.iterdir()] == ["tiny-board"]


def test_the_manifest_says_what_it_is(tmp_path: Path) -> None:
    manifest = make(tmp_path).manifest
    assert manifest["runtime"] == {
        "name": "litert", "package": "ai-edge-litert", "version": "2.3.0", "device": "CPU", "threads": 2,
    }  # fmt: skip
    assert (manifest["format"], manifest["model"]) == ("tflite", "model/model.tflite")
    assert (manifest["labels"], manifest["buckets"], manifest["tolerance"]) == (["bad", "good"], [8, 16], 0.0123)
    assert [e["stage"] for e in manifest["lineage"]] == ["teacher_hf", "quantize_tflite", "validate"]
    assert manifest["lineage"][0]["options"] == {"epochs": 1}
    assert manifest["metrics"]["splits"]["test"]["retention"] is None


def test_an_ir_has_two_files_and_its_own_runtime(tmp_path: Path) -> None:
    made = make(tmp_path, steps=steps(tmp_path / "ir", form="ir", runtime="openvino"))
    assert made.manifest["model"] == "model/model.xml"
    assert {"model/model.xml", "model/model.bin", "ondevice/runtimes/openvino.py"} <= set(made.manifest["files"])
    assert "ondevice/runtimes/litert.py" not in made.manifest["files"]


def test_the_same_inputs_give_the_same_digest_whenever_and_wherever(tmp_path: Path) -> None:
    first = make(tmp_path / "here")
    second = make(tmp_path / "there", out=tmp_path / "other" / "place", steps=steps(tmp_path / "slow", seconds=99.0))
    assert first.digest == second.digest
    assert str(tmp_path) not in (first.path / "manifest.json").read_text()
    assert json.loads((second.path / "build.json").read_text())["steps"][0]["seconds"] == 99.0
    other = make(tmp_path / "third", recipe={"schema": 1, "max_tokens": 16})
    assert other.digest != first.digest


def test_the_card_gives_figures_with_counts_and_the_way_to_run_it(tmp_path: Path) -> None:
    made = make(tmp_path)
    card = (made.path / "README.md").read_text()
    assert "| validation | 10 | 0.8000 | 0.9000 | 0.8889 | 0.7500 | 0.8750 | 0.7000 |" in card
    assert "| test | 10 | 0.8000 | 0.9000 | unknown |" in card
    assert 'python3 -m ondevice infer "a text"' in card
    assert "Labels: bad, good" in card
    assert "measured with ai-edge-litert 2.3.1 on CPU by the code" in card
    assert "| teacher | teacher_hf | 0.9000 | aaaaaaaaaaaaaaaa |" in card
    assert "- quantize_tflite: a note" in card
    assert "whose licence is stated as apache-2.0" in card
    assert "sample task" not in card


def card_of(place: Path, measured: dict[str, float] | None = None, **report: Any) -> str:
    """The card of a bundle, written again from its manifest as it is read back, its keys in order of their names."""
    made = steps(place / "made")
    if measured:
        made[0] = (replace(made[0][0], metrics=measured), *made[0][1:])
    made[-1] = (replace(made[-1][0], metrics=REPORT | report), *made[-1][1:])
    return model_card(open_bundle(make(place, steps=made).path).manifest)


@pytest.mark.parametrize(
    ("headline", "other"), [("f1", "exact"), ("spearman", "pearson"), ("f1", "accuracy"), ("f1", "exact_match")]
)
def test_the_card_shows_each_steps_headline_however_its_figures_are_sorted(
    tmp_path: Path, headline: str, other: str
) -> None:
    score = SCORE | {headline: 0.7, f"teacher_{headline}": 0.8}
    measured = {f"validation_{headline}": 0.75, f"validation_{other}": 0.25}
    card = card_of(tmp_path, measured, metric=headline, splits={"validation": score})
    assert f"| step | stage | validation {headline} | key |" in card
    assert "| teacher | teacher_hf | 0.7500 | aaaaaaaaaaaaaaaa |" in card


def test_the_card_names_the_runtime_and_the_device_that_measured(tmp_path: Path) -> None:
    card = card_of(tmp_path, runtime={"package": "onnxruntime", "version": "1.31.1", "device": "CPU"})
    assert "measured with onnxruntime 1.31.1 on CPU by the code" in card
    assert "by ai-edge-litert 2.3.0 on CPU, made by edgekit" in card


def test_the_card_does_not_praise_a_test_split_that_is_not_there(tmp_path: Path) -> None:
    assert "The test split chose nothing" in card_of(tmp_path / "both")
    card = card_of(tmp_path / "one", splits={"validation": SCORE})
    assert "test split chose" not in card
    assert "There was no test split: these are the validation split's figures, which also chose the weights." in card


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("text_classification", "share of samples on which both decide the same.\n"),
        ("text_regression", "share of samples to which both give values that differ by at most 5 % of the range of"),
        ("token_classification", "share of words that both give the same tag.\n"),
        ("tensors", "share of samples on which both answer alike, with a cosine of 0.99 at least.\nsnr db is"),
    ],
)
def test_the_card_says_what_agreement_is_of_its_task(tmp_path: Path, task: str, said: str) -> None:
    assert f"agreement is the {said}" in card_of(tmp_path, task=task)


def test_the_card_names_every_teachers_licence(tmp_path: Path) -> None:
    more = [{"name": "second", "digest": "d", "licence": "mit"}, {"name": "third", "digest": "e", "licence": None}]
    made = make(tmp_path, teacher={"name": "a teacher", "licence": "apache-2.0", "more": more})
    licence = (made.path / "LICENSE").read_text()
    assert "It learnt from the answers of second too, whose licence is stated as mit." in licence
    assert "answers of third too, whose licence its folder does not state." in licence


def test_the_card_does_not_hide_what_is_not_known(tmp_path: Path) -> None:
    made = make(tmp_path, teacher={"name": "a teacher", "licence": None})
    assert "whose folder states no licence: ask its owner" in (made.path / "LICENSE").read_text()
    sample = make(tmp_path / "sample", sample_task=True)
    assert "synthetic" in (sample.path / "LICENSE").read_text()
    assert "its figures say nothing about a real model" in (sample.path / "README.md").read_text()


@pytest.mark.parametrize("runtime", ["litert", "tflite"])
def test_requirements_pin_the_targets_runtime(tmp_path: Path, runtime: str) -> None:
    package = {"litert": "ai-edge-litert", "tflite": "tflite-runtime"}[runtime]
    made = make(tmp_path, steps=steps(tmp_path / "x", runtime=runtime))
    assert (made.path / "requirements.txt").read_text().splitlines() == [
        f"{package}==2.3.0",
        "numpy>=1.22,<2; python_version < '3.13'",
        "numpy>=2.1; python_version >= '3.13'",
        "tokenizers==0.23.3",
    ]


def test_wheels_come_along_and_are_what_the_card_installs(tmp_path: Path) -> None:
    folder = tmp_path / "fetched"
    folder.mkdir()
    (folder / "x-1-py3-none-any.whl").write_bytes(b"a wheel")
    (folder / "artifact.json").write_text("{}")
    wheels = Artifact("wheels", "d" * 64, "wheels", folder, {"pythons": ["3.11"]}, (), {}, 0.0, "")
    plain, made = make(tmp_path / "a"), make(tmp_path / "b", wheels=wheels)
    assert set(made.manifest["files"]) - set(plain.manifest["files"]) == {"wheels/x-1-py3-none-any.whl"}
    assert made.manifest["files"]["wheels/x-1-py3-none-any.whl"]["sha256"] == hashlib.sha256(b"a wheel").hexdigest()
    assert made.manifest["wheels"] == {"pythons": ["3.11"]}
    install = "pip install --no-deps --no-index --find-links wheels -r requirements.txt"
    assert install in (made.path / "README.md").read_text()
    assert "pip install --no-deps -r requirements.txt" in (plain.path / "README.md").read_text()


def test_an_older_bundle_is_replaced_and_anything_else_is_not(tmp_path: Path) -> None:
    old = make(tmp_path / "a", out=tmp_path / "dist" / "tiny-board", recipe={"schema": 0})
    (old.path / "left.txt").write_text("from before")
    new = make(tmp_path / "b", out=old.path)
    assert open_bundle(old.path).digest == new.digest != old.digest
    assert not (old.path / "left.txt").exists()
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("precious")
    with pytest.raises(BundleError, match="exists and is not a bundle"):
        make(tmp_path / "c", out=mine)
    assert (mine / "thesis.txt").read_text() == "precious"


def test_a_pack_that_fails_leaves_the_older_bundle_and_no_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = make(tmp_path / "a", out=tmp_path / "dist" / "tiny-board")

    def full(manifest: Any) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bundle_module, "model_card", full)
    with pytest.raises(OSError, match="No space left"):
        make(tmp_path / "b", out=old.path, recipe={"schema": 0})
    assert open_bundle(old.path).digest == old.digest
    assert [p.name for p in old.path.parent.iterdir()] == ["tiny-board"]


def test_opening_compares_every_file(tmp_path: Path) -> None:
    made = make(tmp_path)
    opened = open_bundle(made.path)
    assert (opened.digest, opened.manifest, opened.path) == (
        made.digest,
        json.loads(json.dumps(made.manifest)),
        made.path,
    )
    (made.path / "ondevice" / "infer.py").write_text("import evil")
    with pytest.raises(BundleError, match=r"ondevice/infer\.py: 11 bytes, expected"):
        open_bundle(made.path)


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no such bundle; `edgekit build` makes one"):
        open_bundle(tmp_path / "none")
    with pytest.raises(BundleError, match=r"no manifest\.json"):
        open_bundle(tmp_path)
    made = make(tmp_path)
    (made.path / "manifest.json").write_text('{"schema": 7}')
    with pytest.raises(BundleError, match="schema 7, this ondevice package knows 1"):
        open_bundle(made.path)


def test_an_archive_is_the_same_bytes_and_the_same_bundle(tmp_path: Path) -> None:
    pytest.importorskip("zstandard")
    first = make(tmp_path / "a", out=tmp_path / "1" / "tiny-board")
    second = make(tmp_path / "b", out=tmp_path / "2" / "tiny-board", steps=steps(tmp_path / "s", seconds=50.0))
    for path in second.path.rglob("*"):
        os.utime(path, (1, 1))
    (second.path / "ondevice" / "__pycache__").mkdir()
    (second.path / "ondevice" / "__pycache__" / "infer.pyc").write_bytes(b"left by a run")
    packed = archive(first), archive(second)
    assert packed[0].name == "tiny-board.tar.zst"
    assert packed[0].read_bytes() == packed[1].read_bytes()
    opened = open_bundle(packed[0])
    assert (opened.digest, opened.manifest["name"]) == (first.digest, "tiny-board")
    assert opened.size_bytes == packed[0].stat().st_size


def entry(name: str, content: bytes = b"x", kind: bytes = tarfile.REGTYPE) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = (len(content) if kind == tarfile.REGTYPE else 0), kind, "manifest.json"
    return info, content


def repack(made: Bundle, more: list[tuple[tarfile.TarInfo, bytes]], without: str = "") -> Path:
    """The bundle's archive with more entries, or without one."""
    import zstandard

    plain = zstandard.ZstdDecompressor().decompress(archive(made).read_bytes(), max_output_size=1 << 24)
    packed = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(plain)) as old, tarfile.open(fileobj=packed, mode="w") as new:
        for info in old:
            if info.name != f"tiny-board/{without}":
                new.addfile(info, old.extractfile(info))
        for info, content in more:
            new.addfile(info, io.BytesIO(content) if info.isreg() else None)
    path = made.path.parent / "changed.tar.zst"
    path.write_bytes(zstandard.ZstdCompressor().compress(packed.getvalue()))
    return path


@pytest.mark.parametrize(
    "more",
    [
        entry("../evil"), entry("/etc/passwd"), entry("tiny-board/../../evil"), entry("other/file"), entry("file"),
        entry("tiny-board/link", kind=tarfile.SYMTYPE), entry("tiny-board/hard", kind=tarfile.LNKTYPE),
        entry("tiny-board/device", kind=tarfile.CHRTYPE), entry("tiny-board/README.md"),
    ],
    ids=["parent", "absolute", "inner parent", "other top", "no top", "link", "hard link", "device", "twice"],
)  # fmt: skip
def test_an_archive_with_entries_that_do_not_belong_is_refused(tmp_path: Path, more: Any) -> None:
    pytest.importorskip("zstandard")
    with pytest.raises(BundleError, match="does not belong into a bundle"):
        open_bundle(repack(make(tmp_path), [more]))


def test_an_archive_that_is_not_what_its_manifest_says_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("zstandard")
    made = make(tmp_path)
    with pytest.raises(BundleError, match=r"extra\.py: not in the manifest"):
        open_bundle(repack(made, [entry("tiny-board/extra.py")]))
    with pytest.raises(BundleError, match=r"golden\.json: missing"):
        open_bundle(repack(made, [], without="golden.json"))
    with pytest.raises(BundleError, match=r"golden\.json: changed"):
        open_bundle(repack(made, [entry("tiny-board/golden.json", b"{}")], without="golden.json"))
    with pytest.raises(BundleError, match=r"no manifest\.json in it"):
        open_bundle(repack(made, [], without="manifest.json"))


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99])
def test_an_archive_cut_short_or_no_archive_is_refused(tmp_path: Path, keep: float) -> None:
    pytest.importorskip("zstandard")
    path = archive(make(tmp_path))
    content = path.read_bytes()
    path.write_bytes(content[: keep if keep >= 1 or not keep else int(len(content) * keep)])
    with pytest.raises(BundleError, match=r"not a whole \.tar\.zst archive|missing"):
        open_bundle(path)
    path.write_text("something else entirely")
    with pytest.raises(BundleError, match=r"not a whole \.tar\.zst archive"):
        open_bundle(path)
