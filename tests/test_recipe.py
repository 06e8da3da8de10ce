from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from edgekit.catalog import names
from edgekit.errors import ConfigError
from edgekit.recipe import Recipe, load_recipe

GOOD = """
schema = 1
description = "a recipe"
min_retention = 0.9
[[stage]]
step = "teacher"
[[stage]]
step = "distill"
epochs = 2
"""


def write(folder: Path, text: str) -> str:
    path = folder / "mine.toml"
    path.write_text(text)
    return str(path)


def problems(folder: Path, text: str, *overrides: str) -> list[str]:
    path = write(folder, text)
    with pytest.raises(ConfigError) as caught:
        load_recipe(path, overrides)
    return [line.replace(path, "mine.toml") for line in caught.value.problems]


@pytest.mark.parametrize("name", names("recipes"))
def test_shipped_recipes_load_and_fit_their_schema(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    document = recipe.model_dump(mode="json", by_alias=True)
    jsonschema.validate(document, Recipe.model_json_schema(by_alias=True))


def test_a_file_of_ones_own_works_by_path(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, GOOD))
    assert (recipe.name, recipe.stage[1].step, recipe.stage[1].epochs) == ("mine", "distill", 2.0)


def test_every_fault_is_told_at_once_with_its_place(tmp_path: Path) -> None:
    text = """
schema = 1
descrption = "x"
min_retention = "high"
[[stage]]
step = "teacher"
[[stage]]
step = "distill"
temprature = 3
epochs = -1
layers = "half"
[[stage]]
step = "qantize"
[[stage]]
epochs = 1
"""
    assert problems(tmp_path, text) == [
        "mine.toml: key 'description' is missing",
        "mine.toml: key 'min_retention': found 'high', expected a valid number",
        "mine.toml: stage 2 (distill): key 'epochs': found -1, expected greater than 0",
        "mine.toml: stage 2 (distill): key 'layers': found 'half', expected a valid number or a list",
        "mine.toml: stage 2 (distill): unknown key 'temprature'; did you mean 'temperature'?",
        "mine.toml: stage 3: unknown step 'qantize'; did you mean 'quantize'?",
        "mine.toml: stage 4: key 'step' is missing",
        "mine.toml: unknown key 'descrption'; did you mean 'description'?",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("schema = 1\nmin = [", "not valid TOML"),
        (f"schema = {'[' * 9999}", "not valid TOML"),
        (GOOD.replace('[[stage]]\nstep = "teacher"\n', ""), "a recipe starts with"),
        (GOOD + '[[stage]]\nstep = "distill"\n', "stands twice"),
        (GOOD + '[[stage]]\nstep = "quantize"\n[[stage]]\nstep = "prune"\n', "comes after quantize"),
        (GOOD.replace("schema = 1", "schema = 2"), "key 'schema': found 2"),
    ],
)
def test_refusals(tmp_path: Path, text: str, said: str) -> None:
    lines = problems(tmp_path, text)
    assert len(lines) == 1
    assert said in lines[0]


def test_faulty_stages_are_not_missing_ones(tmp_path: Path) -> None:
    stages = '[[stage]]\nstep = "qantize"\n[[stage]]\nepochs = 1\n'
    assert problems(tmp_path, GOOD.partition("[[stage]]")[0] + stages) == [
        "mine.toml: stage 1: unknown step 'qantize'; did you mean 'quantize'?",
        "mine.toml: stage 2: key 'step' is missing",
    ]


def test_a_byte_order_mark_is_no_content(tmp_path: Path) -> None:
    assert load_recipe(write(tmp_path, "\ufeff" + GOOD)).description == "a recipe"


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(b"schema = 1\xff")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_recipe(str(path))


def test_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(ConfigError, match="no recipe 'distilbert-int'; did you mean 'distilbert-int8'"):
        load_recipe("distilbert-int")


def test_set_overrides_any_key(tmp_path: Path) -> None:
    recipe = load_recipe(
        write(tmp_path, GOOD), ["distill.layers=[0, 2]", "min_retention=0.5", "teacher.precision=float32"]
    )
    assert (recipe.stage[1].layers, recipe.min_retention, recipe.stage[0].precision) == ([0, 2], 0.5, "float32")


def test_set_overrides_a_key_of_a_table(tmp_path: Path) -> None:
    thin = write(tmp_path, GOOD.replace('step = "distill"', 'step = "distill"\nstudent = { width = 0.5, depth = 0.4 }'))
    distill = load_recipe(thin, ["distill.student.depth=0.3", "distill.distort.mix=0.2"]).stage[1]
    assert (distill.student.width, distill.student.depth, distill.distort.mix) == (0.5, 0.3, 0.2)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("distill.epoch=1", "stage 2 (distill): unknown key 'epoch'; did you mean 'epochs'?"),
        ("distil.epochs=1", "the recipe has no step 'distil'; did you mean 'distill'?"),
        ("distill.epochs", "expected step.key=value"),
        ("distill..epochs=1", "expected step.key=value"),
        ("distill.epochs.most=1", "key 'epochs': found {'most': 1}"),
        ("distill.student.dept=1", "stage 2 (distill) student: unknown key 'dept'; did you mean 'depth'?"),
        ("distill.epochs=many", "found 'many'"),
        ("distill.epochs=1e300", "found 1e+300, expected less than or equal to 10000"),
        ("distill.temperature=1e25", "found 1e+25, expected less than or equal to 1000"),
        ("distill.epochs=inf", "found inf, expected a finite number"),
        ("seed=4294967296", "'seed': found 4294967296"),
        ("image_size=[32, 4096]", "found 4096"),
        ("image_size=32", "key 'image_size': found 32, expected a list"),
        ("image_size=[8, 8, 8]", "found [8, 8, 8], expected at most 2 items"),
        ("distill.losses=response", "key 'losses': found 'response', expected a table"),
        ("stage=[]", "key 'stage': found [], expected at least 1 item"),
        ("stage=[3]", "stage 1: found 3, expected a table"),
    ],
)
def test_set_is_validated_like_the_file(tmp_path: Path, override: str, said: str) -> None:
    assert said in problems(tmp_path, GOOD, override)[0]


def test_the_schema_is_json(tmp_path: Path) -> None:
    schema = json.loads(json.dumps(Recipe.model_json_schema(by_alias=True)))
    assert schema["additionalProperties"] is False
    assert {"schema", "description", "min_retention", "stage"} <= set(schema["required"])
