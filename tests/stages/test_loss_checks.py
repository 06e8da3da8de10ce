"""What a plan refuses of losses and layer maps, by the models' files alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgekit.errors import ConfigError
from edgekit.recipe import load_recipe
from edgekit.stages.layers import LayerMap, map_layers
from edgekit.stages.loss_checks import check_losses
from edgekit.steps import Augment, Distill, Losses, Prune, StepOptions

SIZES = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64, "vocab_size": 9,
         "max_position_embeddings": 16}  # fmt: skip


@pytest.mark.parametrize(
    ("layer_map", "student", "teacher", "pairs"),
    [
        ("uniform", 3, 6, [(0, 1), (1, 3), (2, 5)]),
        ("uniform", 4, 12, [(0, 2), (1, 5), (2, 8), (3, 11)]),
        ("uniform", 4, 6, [(0, 1), (1, 2), (2, 4), (3, 5)]),
        ("uniform", 1, 6, [(0, 5)]),
        ("uniform", 3, 2, [(0, 0), (1, 1), (2, 1)]),
        ("last", 2, 6, [(0, 4), (1, 5)]),
        ("last", 3, 2, [(1, 0), (2, 1)]),
        ([[2, 5], [0, 1]], 3, 6, [(0, 1), (2, 5)]),
    ],
)
def test_map_layers(layer_map: LayerMap, student: int, teacher: int, pairs: list[tuple[int, int]]) -> None:
    assert map_layers(layer_map, student, teacher, "distill") == pairs


def folder(place: Path, layers: int, family: str = "bert", words: str = "a b") -> Path:
    """A model folder as far as a plan reads it."""
    place.mkdir()
    (place / "config.json").write_text(json.dumps({"model_type": family, "num_hidden_layers": layers, **SIZES}))
    vocabulary = {word: at for at, word in enumerate(words.split())}
    (place / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocabulary}}))
    return place


def distill(**options: Any) -> Distill:
    return Distill.model_validate({"losses": Losses(hidden=1.0), **options})


@pytest.mark.parametrize(
    ("steps", "line"),
    [
        ([distill(layer_map=[[0, 6]])], r"distill.layer_map: \[0, 6\]: layer 6 of a teacher with layers 0 … 5"),
        ([distill(layer_map=[[3, 5]])], r"distill.layer_map: \[3, 5\]: layer 3 of a student with layers 0 … 2"),
        ([distill(layer_map=[[1, 2], [1, 5]])], "distill.layer_map: layer 1 of the student stands twice"),
        ([distill(layers=[0, 7])], "distill.layers: layer 7 of a teacher with layers 0 … 5"),
        (
            [distill(), Prune(layers=0.67, losses=Losses(attention=1.0), layer_map=[[2, 5]])],
            r"prune.layer_map: \[2, 5\]: layer 2 of a student with layers 0 … 1",
        ),
        (
            [Prune(heads=0.5, losses=Losses(attention=1.0), layer_map=[[6, 5]])],
            r"prune.layer_map: \[6, 5\]: layer 6 of a student with layers 0 … 5",
        ),
    ],
)
def test_layers_that_are_not_there(tmp_path: Path, steps: list[StepOptions], line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        check_losses(steps, folder(tmp_path / "teacher", 6), None)
    with pytest.raises(ConfigError, match=line):
        check_losses(steps, None, None)  # the sample task's teacher has as many
    check_losses([Distill(), Prune(layers=0.5)], tmp_path / "never read", None)


def test_the_users_student_has_its_own_depth(tmp_path: Path) -> None:
    teacher, student = folder(tmp_path / "teacher", 6), folder(tmp_path / "student", 4)
    check_losses([distill(layer_map=[[3, 5]])], teacher, student)
    with pytest.raises(ConfigError, match="layer 4 of a student with layers 0 … 3"):
        check_losses([distill(layer_map=[[4, 5]])], teacher, student)


def test_tokens_that_do_not_correspond(tmp_path: Path) -> None:
    teacher, student = folder(tmp_path / "teacher", 6), folder(tmp_path / "student", 4, words="b a")
    with pytest.raises(ConfigError) as caught:
        check_losses([distill(losses=Losses(hidden=1.0, value_relation=1.0))], teacher, student)
    assert str(caught.value) == (
        "distill.losses: hidden, value_relation compare token by token, but the student's tokenizer "
        f"({student / 'tokenizer.json'}) is not the teacher's ({teacher / 'tokenizer.json'}); possible: response, "
        "distance, angle, similarity, or a student with the teacher's tokenizer"
    )
    check_losses([distill(losses=Losses(response=1.0, angle=1.0))], teacher, student)


def test_a_teacher_into_which_nobody_can_look(tmp_path: Path) -> None:
    teacher, student = folder(tmp_path / "teacher", 6, "roberta"), folder(tmp_path / "student", 4)
    with pytest.raises(ConfigError, match=r"distill.losses: angle: .* bert and distilbert only; found 'roberta' in"):
        check_losses([distill(losses=Losses(response=1.0, angle=1.0))], teacher, student)
    check_losses([Distill()], teacher, student)


def test_words_that_nobody_can_tell_apart(tmp_path: Path) -> None:
    teacher = folder(tmp_path / "teacher", 6, "roberta")
    (teacher / "tokenizer.json").write_text(json.dumps({"model": {"type": "BPE", "vocab": {"a": 0}}}))
    with pytest.raises(ConfigError, match=r"distill.augment: .*: its tokenizer is BPE; possible: WordPiece"):
        check_losses([Distill(augment=Augment())], teacher, None)


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("distill.losses={hiden=1}", r"stage 2 \(distill\) losses: unknown key 'hiden'; did you mean 'hidden'\?"),
        ("distill.losses={response=0, angle=0}", "key 'losses': found .*, expected a weight above 0 for one at least"),
        ("distill.losses={angle=-1}", "losses: key 'angle': found -1, expected greater than or equal to 0"),
        ("distill.losses={angle=inf}", "losses: key 'angle': found inf, expected a finite number"),
        ("distill.layer_map='lats'", "key 'layer_map': found 'lats', expected 'uniform' or 'last'"),
        ("distill.layer_map=[[1]]", r"key 'layer_map': found \[\[1\]\].* pairs \[student's layer, teacher's layer\]"),
        ("distill.layer_map=[]", r"key 'layer_map': found \[\].* pairs \[student's layer, teacher's layer\]"),
    ],
)
def test_a_recipe_that_asks_for_what_is_not_there(override: str, line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        load_recipe("distilbert-int8", [override])


def test_labels_alone_and_losses_contradict_each_other() -> None:
    with pytest.raises(ConfigError, match="but alpha = 0 lets the labels alone count"):
        load_recipe("distilbert-int8", ["distill.losses={hidden=1}", "distill.alpha=0"])
    assert load_recipe("distilbert-int8", ["distill.alpha=0"])


def test_losses_read_as_a_line() -> None:
    assert str(Losses(response=1.0, value_relation=0.25)) == "response 1, value_relation 0.25"
    assert str(Distill().losses) == "response 1"
