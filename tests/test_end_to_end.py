"""Whole builds through the command line: the embedded default, a real teacher on real data, kills and bad files."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.heavy

QUICK = """
schema = 1
description = "every kind of step, as short as it can be"
min_retention = 0.3
max_tokens = 32
[[stage]]
step = "teacher"
epochs = 1
evaluations = 4
[[stage]]
step = "distill"
epochs = 1
[[stage]]
step = "prune"
ffn = 0.5
heads = 0.5
vocabulary = "corpus"
epochs = 0.2
[[stage]]
step = "quantize"
"""

PAIR = ("--recipe", "int8-ptq", "--target", "raspberrypi")


def edgekit(*words: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, "-m", "edgekit", *map(str, words)], capture_output=True, text=True)
    assert not check or done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done


def build(tmp: Path, recipe: str | Path, target: str, *more: str | Path) -> dict[str, Any]:
    words = ("build", "--recipe", recipe, "--target", target, "--store", tmp / "store", "--out", tmp / "dist", "--json")
    document: dict[str, Any] = json.loads(edgekit(*words, *more).stdout)
    return document


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for the tests that may share it."""
    return tmp_path_factory.mktemp("builds")


@pytest.fixture(scope="module")
def headline(place: Path) -> dict[str, Any]:
    return build(place, "distilbert-int8", "raspberrypi", "--archive")


def test_the_embedded_default_says_that_it_is_the_sample_task(headline: dict[str, Any], place: Path) -> None:
    manifest = headline["manifest"]
    assert manifest["sample_task"] is True
    scores = manifest["metrics"]["splits"]["test"]
    assert 0.8 < scores["teacher_accuracy"] < 1, "the task is neither trivial nor broken"
    assert scores["retention"] >= 0.98
    assert scores["count"] >= 300
    again = edgekit("build", "--recipe", "distilbert-int8", "--target", "raspberrypi", "--store", place / "store",
                    "--out", place / "dist")  # fmt: skip
    assert again.stdout.splitlines()[0].startswith("Sample task: ")
    assert again.stdout.count("  cached") == len(manifest["lineage"])
    assert headline["digest"] in again.stdout


def test_the_same_recipe_reaches_openvino_and_shares_what_was_trained(headline: dict[str, Any], place: Path) -> None:
    other = build(place, "distilbert-int8", "intel-cpu")["manifest"]
    assert [s["key"] for s in other["lineage"][:3]] == [s["key"] for s in headline["manifest"]["lineage"][:3]]
    assert other["format"] == "ir"
    assert other["metrics"]["splits"]["test"]["retention"] >= 0.98


def test_run_and_inspect(headline: dict[str, Any], tmp_path: Path) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("the screen stays black\n\nI was charged twice this month\n")
    answers = json.loads(edgekit("run", headline["bundle"], "--file", texts, "--json").stdout)["answers"]
    labels = headline["manifest"]["labels"]
    assert len(answers) == 2
    for answer in answers:
        assert answer["label"] in labels
        assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-4)
    assert answers[0]["label"] in edgekit("run", headline["bundle"], "the screen stays black").stdout
    told = edgekit("inspect", headline["bundle"]).stdout
    assert headline["digest"] in told
    assert "sample task" in told.lower()
    assert json.loads(edgekit("inspect", headline["archive"], "--json").stdout)["digest"] == headline["digest"]


def test_the_bundle_runs_on_its_own(headline: dict[str, Any], tmp_path: Path) -> None:
    """Only numpy, the runtime and tokenizers can be imported; edgekit and the frameworks cannot."""
    bundle = tmp_path / "bundle"
    shutil.copytree(headline["bundle"], bundle)
    block = tmp_path / "sitecustomize.py"
    block.write_text(
        "import sys\nclass Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in {'edgekit', 'torch', 'tensorflow', 'transformers', 'pydantic', 'click'}:\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, Block())\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    for words in (["verify"], ["infer", "the screen stays black"]):
        done = subprocess.run(
            [sys.executable, "-m", "ondevice", *words], cwd=bundle, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    model = bundle / "model" / "model.tflite"
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-m", "ondevice", "verify"], cwd=bundle, env=environment, capture_output=True, text=True
    )
    assert done.returncode != 0
    assert "model.tflite" in done.stderr
    assert "Traceback" not in done.stderr
    refused = edgekit("run", bundle, "a text", check=False)
    assert refused.returncode == 6
    assert "model.tflite" in refused.stderr


def test_a_killed_build_resumes_and_ends_with_the_same_digest(tmp_path: Path) -> None:
    recipe = tmp_path / "quick.toml"
    recipe.write_text(QUICK)
    whole = build(tmp_path / "whole", recipe, "intel-cpu")
    words = ["build", "--recipe", recipe, "--target", "intel-cpu", "--store", tmp_path / "cut" / "store",
             "--out", tmp_path / "cut" / "dist", "--quiet"]  # fmt: skip
    running = tmp_path / "cut" / "store" / "running"
    for stage, signal_number in (("teacher_hf", signal.SIGKILL), ("distill_torch", signal.SIGINT)):
        process = subprocess.Popen(
            [sys.executable, "-m", "edgekit", *map(str, words)], stderr=subprocess.PIPE, text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background job ignores Ctrl-C
        )  # fmt: skip
        deadline = time.monotonic() + 600
        while not list(running.glob(f"{stage}-*/checkpoints/*")):
            assert time.monotonic() < deadline and process.poll() is None, f"{stage} wrote no checkpoint"
            time.sleep(0.02)
        process.send_signal(signal_number)
        said = process.communicate(timeout=60)[1]
        if signal_number == signal.SIGINT:
            assert process.returncode == 130
            assert "the same command goes on from there" in said
            assert "Traceback" not in said
        assert list((tmp_path / "cut" / "dist").iterdir()) == []
    resumed = build(tmp_path / "cut", recipe, "intel-cpu")
    assert resumed["digest"] == whole["digest"]


def test_two_builds_at_once_share_the_store(tmp_path: Path) -> None:
    recipe = tmp_path / "quick.toml"
    recipe.write_text(QUICK)
    words = [
        sys.executable,
        "-m",
        "edgekit",
        "build",
        "--recipe",
        recipe,
        "--target",
        "intel-cpu",
        "--store",
        tmp_path / "s",
    ]
    both = [
        subprocess.Popen([*words, "--out", tmp_path / name], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for name in ("one", "two")
    ]
    said = [p.communicate(timeout=300) for p in both]
    assert [p.returncode for p in both] == [0, 0], said
    made = [
        line.split()[1]
        for out, _ in said
        for line in out.splitlines()
        if line.startswith("[") and "  cached" not in line and "…" not in line
    ]
    assert len(made) == len(set(made)), "a step ran twice"
    digests = [next((tmp_path / n).glob("*/manifest.json")).read_bytes() for n in ("one", "two")]
    assert digests[0] == digests[1]


@pytest.fixture(scope="module")
def small_sst2(place: Path, shared_data: Callable[[str], Path]) -> Path:
    """The real SST-2 files, the training file cut to 1,500 rows."""
    source, folder = shared_data("text/sst2"), place / "sst2"
    folder.mkdir()
    for name in ("dev.tsv", "test.tsv"):
        shutil.copy(source / name, folder / name)
    with (source / "train_full.tsv").open() as full:
        (folder / "train.tsv").write_text("".join(next(full) for _ in range(1501)))
    return folder


@pytest.mark.parametrize("target", ["raspberrypi", "intel-cpu"])
def test_a_real_teacher_keeps_its_accuracy_in_int8(
    target: str, place: Path, small_sst2: Path, shared_data: Callable[[str], Path]
) -> None:
    teacher = shared_data("models/minilm-sst2")
    made = build(place, "int8-ptq", target, "--teacher", teacher, "--data", small_sst2)
    manifest = made["manifest"]
    assert manifest["sample_task"] is False
    assert manifest["labels"] == ["negative", "positive"]
    splits = manifest["metrics"]["splits"]
    assert (splits["validation"]["count"], splits["test"]["count"]) == (872, 1821)
    assert splits["validation"]["teacher_accuracy"] == pytest.approx(0.8945, abs=0.0015)
    right = sum(s["accuracy"] * s["count"] for s in splits.values())
    assert right / sum(s["teacher_accuracy"] * s["count"] for s in splits.values()) >= 0.995
    model = sum(f["size"] for name, f in manifest["files"].items() if name.startswith("model/"))
    assert model <= (teacher / "model.safetensors").stat().st_size / 3.5
    answer = json.loads(edgekit("run", made["bundle"], "a gorgeous, witty and touching film", "--json").stdout)
    assert answer["answers"][0]["label"] == "positive"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (
            lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:-1000]),
            "model.safetensors",
        ),
        (lambda f: (f / "model.safetensors").write_bytes(b"\xff" * 64), "model.safetensors"),
        (lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"), "pickle"),
        (lambda f: (f / "config.json").write_text("{"), "config.json"),
        (lambda f: (f / "tokenizer.json").unlink(), "tokenizer"),
    ],
)
def test_a_spoilt_teacher_is_refused_in_one_line(
    spoil: Callable[[Path], object], said: str, tmp_path: Path, small_sst2: Path, shared_data: Callable[[str], Path]
) -> None:
    teacher = tmp_path / "teacher"
    teacher.mkdir()
    for file in shared_data("models/minilm-sst2").iterdir():
        shutil.copyfile(file, teacher / file.name)
    spoil(teacher)
    done = edgekit("plan", *PAIR, "--teacher", teacher, "--data", small_sst2, "--store", tmp_path / "s", check=False)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("text,label\n" + "".join(f"film {i},{2 * (i % 2)}\n" for i in range(60)), "label"),
        ("text,label\n" + "".join(f"film {i},1\n" for i in range(60)), "two classes or more"),
        ("text\ngood film\nbad film\n", "label"),
        ("", "empty"),
    ],
)
def test_unusable_data_is_refused_before_any_training(
    content: str, said: str, tmp_path: Path, shared_data: Callable[[str], Path]
) -> None:
    data = tmp_path / "data.csv"
    data.write_text(content)
    done = edgekit("build", *PAIR, "--teacher", shared_data("models/minilm-sst2"), "--data", data,
                   "--store", tmp_path / "s", "--out", tmp_path / "d", check=False)  # fmt: skip
    assert done.returncode in (2, 4)
    assert said in done.stderr
    assert str(data.name) in done.stderr
    assert not list((tmp_path / "s").glob("teacher_hf-*"))
