"""Question answering and token classification from a teacher's folder and a data file to answers on the device."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests" / "stages"), str(ROOT / "tests" / "ondevice" / "service")]

from running import running  # noqa: E402
from tiny_by_token import tiny_squad, write_conll, write_model, write_squad  # noqa: E402

RECIPE = """
schema = 1
description = "as short as it can be"
min_retention = 0.2
max_tokens = 40
[[stage]]
step = "teacher"
epochs = 10
batch_size = 8
learning_rate = 3e-3
evaluations = 1
precision = "float32"
[[stage]]
step = "distill"
epochs = 1
batch_size = 8
[[stage]]
step = "quantize"
calibration_samples = 20
"""

pytestmark = pytest.mark.heavy


def edgekit(*words: str | Path, given: str | None = None) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "edgekit", *map(str, words)], capture_output=True, text=True, input=given
    )
    assert "Traceback" not in done.stderr
    return done


def build(place: Path, task: str, target: str, data: Path) -> dict[str, Any]:
    (place / "quick.toml").write_text(RECIPE)
    done = edgekit(
        "build", "--recipe", place / "quick.toml", "--target", target, "--task", task, "--teacher",
        write_model(place / "base"), "--data", data, "--store", place / "store", "--out", place / "dist", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


@pytest.fixture(scope="module")
def answering(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    place = tmp_path_factory.mktemp("questions")
    return build(place, "question_answering", "raspberrypi", write_squad(place / "data.json", 60))


@pytest.fixture(scope="module")
def tagging(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    place = tmp_path_factory.mktemp("tags")
    return build(place, "token_classification", "intel-cpu", write_conll(place / "data.conll"))


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a device: edgekit and the frameworks cannot be imported."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nclass Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in {'edgekit', 'torch', 'tensorflow', 'transformers', 'pydantic', 'click'}:\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, Block())\n"
    )
    yield {**os.environ, "PYTHONPATH": str(tmp_path)}


def ondevice(bundle: str, alone: dict[str, str], *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "ondevice", *words], cwd=bundle, env=alone, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def questions() -> list[dict[str, str]]:
    """Of the first article, whose context is of several windows, and of the second."""
    found = []
    for article in tiny_squad(2, seed=5)["data"]:
        paragraph = article["paragraphs"][0]
        found += [{"question": qa["question"], "context": paragraph["context"]} for qa in paragraph["qas"]]
    return found


def test_a_bundle_answers_questions(answering: dict[str, Any], alone: dict[str, str]) -> None:
    manifest, bundle = answering["manifest"], answering["bundle"]
    assert (manifest["task"], manifest["metrics"]["metric"]) == ("question_answering", "f1")
    assert manifest["buckets"][-1] == 40
    scores = manifest["metrics"]["splits"]["test"]
    assert scores["count"] == 12
    assert scores["retention"] == pytest.approx(scores["f1"] / scores["teacher_f1"])
    assert scores["f1"] >= scores["exact_match"] > 0.2
    lines = "".join(json.dumps(one) + "\n" for one in questions())
    done = edgekit("run", bundle, "--json", given=lines)
    answers = json.loads(done.stdout)["answers"]
    assert len(answers) == 4
    for answer, asked in zip(answers, questions(), strict=True):
        assert answer["answer"] == asked["context"][answer["start"] : answer["end"]] != ""
        assert 0 < answer["probability"] <= 1
    told = ondevice(bundle, alone, "infer", json.dumps(questions()[0]))
    assert told.split("\t")[0] == answers[0]["answer"]
    assert "golden samples agree" in ondevice(bundle, alone, "verify")
    quick = ("--min-seconds", "0.1", "--min-queries", "3", "--warmup-seconds", "0.1", "--idle-seconds", "0.1",
             "--cold-starts", "0", "--scenario", "SingleStream")  # fmt: skip
    profile = json.loads(ondevice(bundle, alone, "profile", *quick).splitlines()[-1])
    assert profile["subject"]["kind"] == "bundle"
    assert "SingleStream" in profile["scenarios"] and profile["split_ms"]
    assert "Longer texts are read in windows of 40 tokens." in (Path(bundle) / "README.md").read_text()


def test_the_service_answers_questions_and_refuses_what_is_none(answering: dict[str, Any], tmp_path: Path) -> None:
    release = shutil.copytree(answering["bundle"], tmp_path / "release")
    asked = questions()[1]
    with running(release, ["--port", "0"], tmp_path / "log") as service:
        status, answer = service.predict({"input": asked})[:2]
        assert status == 200
        assert answer["answer"] == asked["context"][answer["start"] : answer["end"]]
        for given, said in (
            ({"input": {"question": "who?"}}, "input: found the keys question, expected"),
            ({"inputs": [asked, "who?"]}, 'inputs[1]: found a string, expected {"question": "…", "context": "…"}'),
            ({"input": {**asked, "context": " "}}, "input: context: is empty"),
            ({"input": {**asked, "question": 3}}, "input: question: found a number, expected a string"),
        ):
            status, refused = service.predict(given)[:2]
            assert status == 400
            assert said in json.dumps(refused, ensure_ascii=False).replace('\\"', '"')
        assert service.stop() == 0


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("where is it?", """found 'where is it?', expected {"question": "…", "context": "…"}, one a line"""),
        ('{"question": "a"}', """found the keys question, expected {"question": "…", "context": "…"}"""),
        ('{"question": "", "context": "b"}', "question: is empty"),
    ],
)
def test_what_is_no_question_is_refused_in_one_line(line: str, said: str, answering: dict[str, Any]) -> None:
    done = edgekit("run", answering["bundle"], line)
    assert (done.returncode, done.stderr) == (6, f"edgekit: {said}\n")


def test_a_bundle_tags_words(tagging: dict[str, Any], alone: dict[str, str]) -> None:
    manifest, bundle = tagging["manifest"], tagging["bundle"]
    assert manifest["labels"] == ["O", "B-LOC", "B-PER", "I-LOC"]
    assert manifest["metrics"]["splits"]["test"]["f1"] > 0.7
    words = ["mei", "lives", "in", "new", "oslo", *["and", "it", "rained", "all", "day"] * 8, "new", "rome"]
    done = edgekit("run", bundle, "--json", " ".join(words), json.dumps(words))
    plain, split = json.loads(done.stdout)["answers"]
    assert plain["tags"] == split["tags"] and plain["words"] == words
    assert plain["entities"][0]["text"] == "mei"
    found = {(x["type"], x["text"], x["first"], x["last"]) for x in plain["entities"]}
    assert ("LOC", "new oslo", 3, 4) in found, "words of the first window"
    assert "PER=mei" in ondevice(bundle, alone, "infer", "mei lives in new oslo")
    assert "golden samples agree" in ondevice(bundle, alone, "verify")
    done = edgekit("run", bundle, "[1, 2]")
    assert (done.returncode, done.stderr) == (6, "edgekit: found a number, expected a string\n")


def test_bad_data_is_refused_before_any_training(tmp_path: Path) -> None:
    (tmp_path / "quick.toml").write_text(RECIPE)
    base = write_model(tmp_path / "base")
    data = tiny_squad(30)
    data["data"][3]["paragraphs"][0]["qas"][0]["answers"][0]["text"] = "atlantis"
    (tmp_path / "bad.json").write_text(json.dumps(data))
    words = ("--recipe", tmp_path / "quick.toml", "--target", "intel-cpu", "--teacher", base, "--store",
             tmp_path / "store")  # fmt: skip
    asked = ("--task", "question_answering", "--data", tmp_path / "bad.json")
    start = data["data"][3]["paragraphs"][0]["qas"][0]["answers"][0]["answer_start"]
    done = edgekit("build", *words, *asked, "--out", tmp_path / "dist")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        f"edgekit: {tmp_path / 'bad.json'}: 1 of 60 questions have an answer that is not in its context: 3.live "
        f"('atlantis' at {start}); possible: answers "
        "that are copied from the context, letter by letter"
    )
    assert not list((tmp_path / "store").glob("teacher*"))
    (tmp_path / "quick.toml").write_text(RECIPE.replace('"distill"', '"distill"\naugment = { copies = 1 }'))
    done = edgekit("plan", *words, *asked)
    assert done.returncode == 3
    assert "augment makes more texts to distil on" in done.stderr
    (tmp_path / "quick.toml").write_text(RECIPE.replace('"quantize"', '"quantize"\nmax_drop = 0.01'))
    done = edgekit("plan", *words, *asked)
    assert done.returncode == 3
    assert "quantize.max_drop counts the answers to whole texts; possible: without it" in done.stderr
    qa_recipe = ("--recipe", "distilbert-qa-int8", *words[2:], "--data", tmp_path / "bad.json")
    done = edgekit("plan", *qa_recipe, "--task", "token_classification")
    assert done.returncode == 3
    assert "recipe distilbert-qa-int8 is for question_answering, but --task for token_classification" in done.stderr
