"""The Keras twin answers what the encoder answers, for every family and for layers of unequal width."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import SHAPE, artifact, make_job, random_encoder, random_texts, write_inputs

from edgekit.errors import ConfigError, StageError
from edgekit.shape import LayerShape
from edgekit.stages import convert_keras

SHAPES = {
    "bert, pruned": SHAPE,
    "bert, one layer": SHAPE.with_layers((LayerShape(5, 8, 40),)),
    "distilbert": replace(SHAPE, family="distilbert", token_types=0, activation="relu", labels=("bad", "good")),
    "tanh gelu": replace(SHAPE, activation="gelu_new"),
    "narrow token vectors": replace(SHAPE, embedding=24),
    "narrow stream": replace(SHAPE, hidden=24, embedding=16),
}


@pytest.mark.heavy
@pytest.mark.parametrize("name", SHAPES)
def test_a_twin_answers_what_the_encoder_answers(name: str, tmp_path: Path) -> None:
    from edgekit.stages.keras import twin
    from edgekit.stages.network import encoder

    shape = SHAPES[name]
    torch_model = random_encoder(shape)
    token_ids = random_texts([1, 2, 5, 9, 16, 16, 3, 11])
    expected = encoder.predict(torch_model, token_ids, batch_size=3)
    model = twin.build_twin(shape, 16)
    twin.fill_twin(model, {n: t.numpy() for n, t in torch_model.state_dict().items()})
    found = twin.predict(twin.compiled(model), token_ids, 0, batch_size=8)
    assert np.ptp(expected, axis=0).min() > 0.1
    np.testing.assert_allclose(found, expected, atol=2e-5)
    (tmp_path / "of_the_source.json").write_text("{}")
    saved = tmp_path / "saved"
    saved.mkdir()
    twin.save_twin(model, shape, saved, tmp_path / "of_the_source.json")
    assert {p.name for p in saved.iterdir()} == {"config.json", "weights.safetensors", "tokenizer.json"}
    again, shape_again = twin.load_twin(saved)
    assert shape_again == shape
    np.testing.assert_array_equal(twin.predict(twin.compiled(again), token_ids, 0, batch_size=8), found)


@pytest.mark.heavy
def test_no_token_but_the_first_asks_in_the_last_layer() -> None:
    from edgekit.stages.keras import twin

    _, keras = twin.import_keras()
    model = twin.build_twin(SHAPE, 16)
    parts = ("layers.0.query", "layers.0.up", "layers.1.key", "layers.1.query", "layers.1.up")
    inside = keras.Model(model.inputs, [model.get_layer(name).output for name in parts])
    ids = np.array(random_texts([9, 9]))
    assert [output.shape[1] for output in inside([ids, np.ones_like(ids)])] == [9, 9, 9, 1, 1]


def test_what_a_twin_cannot_be_is_refused() -> None:
    from edgekit.stages.keras import twin

    with pytest.raises(ConfigError, match=r"activation 'gelo' .* did you mean 'gelu'"):
        twin.build_twin(replace(SHAPE, activation="gelo"), 16)
    with pytest.raises(ConfigError, match="41 tokens, but the model has positions for 40"):
        twin.build_twin(SHAPE, 41)


@pytest.mark.heavy
def test_the_stage_compares_both_on_real_texts(tmp_path: Path) -> None:
    told: list[int] = []
    earlier = write_inputs(tmp_path)
    job = make_job(tmp_path / "work", earlier, lambda done, total, unit, note: told.append(done))
    outcome = convert_keras.run(earlier["teacher"], convert_keras.Options(max_tokens=8), job)
    assert told == [1, 2, 3]
    assert {p.name for p in job.work.iterdir()} == {"config.json", "weights.safetensors", "tokenizer.json"}
    assert 0 < outcome.metrics["max_abs_diff"] < 1e-4
    assert outcome.metrics["compared_texts"] == 48
    unused = (SHAPE.positions - 8 + SHAPE.token_types) * SHAPE.hidden
    assert outcome.metrics["parameters"] == SHAPE.parameters - unused


@pytest.mark.heavy
def test_the_stage_refuses_a_twin_that_answers_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgekit.stages.keras import twin

    fill: Callable[..., None] = twin.fill_twin

    def fill_badly(model: Any, state: dict[str, Any]) -> None:
        fill(model, {**state, "layers.1.value.bias": state["layers.1.value.bias"] + 0.01})

    monkeypatch.setattr(twin, "fill_twin", fill_badly)
    earlier = write_inputs(tmp_path)
    job = make_job(tmp_path / "work", earlier)
    with pytest.raises(StageError, match=r"teacher: the Keras twin's logits differ from PyTorch's by up to 0\.0"):
        convert_keras.run(artifact(earlier["teacher"].path, "torch"), convert_keras.Options(max_tokens=8), job)
    assert not list(job.work.iterdir())
