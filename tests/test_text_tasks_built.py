"""Whole builds of pairs, of values and of several labels, what their bundles answer, and what is refused at once."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent / "stages"))

from tiny_tasks import TOPICS, write_base, write_csv

from edgekit.errors import EdgekitError

pytestmark = pytest.mark.heavy

LEARN = 'epochs = {}\nbatch_size = 16\nlearning_rate = 3e-3\nevaluations = 1\nprecision = "float32"\n'
RECIPE = f"""
schema = 1
description = "as short as it can be"
min_retention = 0.3
max_tokens = 24
[[stage]]
step = "teacher"
{LEARN.format(8)}
[[stage]]
step = "distill"
train_embeddings = true
{LEARN.format(2)}
"""
PRUNE = f'[[stage]]\nstep = "prune"\nffn = 0.5\nvocabulary = "corpus"\n{LEARN.format(1)}'
SPARSIFY = '[[stage]]\nstep = "sparsify"\nsparsity = 0.3\nepochs = 0.5\n'


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base") / "base")


def build(tmp_path: Path, base: Path, task: str, target: str, recipe: str, *more: str) -> tuple[Path, dict[str, Any]]:
    """The bundle of a task, and what its report says of the test split."""
    from click.testing import CliRunner

    from edgekit.cli import cli

    (tmp_path / "short.toml").write_text(recipe)
    data = write_csv(tmp_path / "data.csv", task, 400)
    words = ["build", "--recipe", tmp_path / "short.toml", "--target", target, "--teacher", base, "--data", data,
             "--store", tmp_path / "store", "--out", tmp_path / "dist", "--quiet", "--json", *more]  # fmt: skip
    done = CliRunner().invoke(cli, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    bundle = tmp_path / "dist" / f"short-{target}"
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert manifest["task"] == task
    found: dict[str, Any] = manifest["metrics"]["splits"]["test"]
    return bundle, found


def test_how_alike_two_texts_are(tmp_path: Path, base: Path) -> None:
    from edgekit.ondevice.infer import Predictor
    from edgekit.ondevice.verify import verify

    recipe = RECIPE + PRUNE + '[[stage]]\nstep = "quantize"\ncalibration_samples = 20\n'
    bundle, found = build(tmp_path, base, "text_regression", "intel-cpu", recipe, "--task", "text_regression")
    assert found["spearman"] > 0.85 and found["teacher_spearman"] > 0.9 and found["rmse"] < 0.8
    assert found["retention"] == pytest.approx(found["spearman"] / found["teacher_spearman"])
    predictor = Predictor(bundle)
    task = predictor.task
    praised = ["a film", "superb lovely great with a"]
    low, high = (predictor.answer(task.parse(pair))["value"] for pair in (praised[::-1], praised))
    assert high - low > 1.5  # the same two texts: which of them is the second is what counts
    assert predictor.answer(task.parse_word("\t".join(praised)))["value"] == pytest.approx(high)
    assert predictor.answer(task.parse_word(json.dumps(praised)))["value"] == pytest.approx(high)
    assert task.show({"value": 2.5}) == "2.5000"
    assert verify(bundle)["ok"]
    golden = json.loads((bundle / "golden.json").read_text())
    assert all(len(sample["input"]) == 2 and np.shape(sample["outputs"]) == (1, 1) for sample in golden["samples"])


def test_whether_two_texts_agree(tmp_path: Path, base: Path) -> None:
    recipe = RECIPE + SPARSIFY
    bundle, found = build(tmp_path, base, "text_classification", "intel-cpu", recipe)
    assert found["accuracy"] > 0.85 and found["teacher_accuracy"] > 0.9
    assert json.loads((bundle / "manifest.json").read_text())["labels"] == ["bad", "good"]


def test_several_labels(tmp_path: Path, base: Path) -> None:
    from edgekit.ondevice.infer import Predictor

    task = "multi_label_classification"
    slower = RECIPE.replace("epochs = 8", "epochs = 20").replace("epochs = 2", "epochs = 6").replace("3e-3", "2e-3")
    recipe = slower + '[[stage]]\nstep = "quantize"\n'
    bundle, found = build(tmp_path, base, task, "raspberrypi", recipe, "--task", task)
    assert found["f1"] > 0.8 and found["teacher_f1"] > 0.8 and 0 < found["exact"] <= found["f1"]
    predictor = Predictor(bundle)
    answer = predictor.answer(predictor.task.parse("a sunny film with friend"))
    assert set(answer["probabilities"]) == set(TOPICS)
    assert answer["labels"] == [name for name, share in answer["probabilities"].items() if share > 0.5]
    assert {"joy", "trust"} == set(answer["labels"])
    assert predictor.answer("a film was the story")["labels"] == []


def refuse(*teachers: Path, **words: Any) -> str:
    from edgekit.cli.options import plan_from

    with pytest.raises(EdgekitError) as error:
        plan_from("minilm-int8", "intel-cpu", tuple(map(str, teachers)), **words)
    return str(error.value)


def test_what_is_refused_before_any_work(tmp_path: Path, base: Path) -> None:
    import tiny_text

    task, data = "text_regression", str(write_csv(tmp_path / "data.csv", "text_regression", 40))
    no_sample = "task text_regression: the sample task is text_classification; name texts of your own with --data"
    assert refuse(task=task) == no_sample
    assert refuse(task="token_classification") == no_sample.replace(task, "token_classification")
    classifier = tiny_text.write_hf(tmp_path / "classifier")
    other = "--teacher classifier: is a model for text_classification, but the task is text_regression; possible: "
    line = refuse(classifier, data=data, task=task, overrides=('teacher.fine_tune="never"', "max_tokens=32"))
    assert line == other + "teacher.fine_tune = 'auto'"
    line = refuse(classifier, data=data, task="question_answering", overrides=('teacher.fine_tune="never"',))
    assert line == other.replace(task, "question_answering") + "teacher.fine_tune = 'auto'"
    rating = tiny_text.write_hf(tmp_path / "rating", labels=1)
    assert refuse(rating, classifier, data=data) == other + "--task text_regression fine-tunes its encoder for that"
