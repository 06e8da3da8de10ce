from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgekit.errors import ConfigError
from edgekit.shape import LayerShape, Shape, answers_of, read_shape

BERT = Shape("bert", 100, 24, 32, 2, (LayerShape(4, 6, 48),) * 3, ("no", "yes"))
DISTILBERT = Shape("distilbert", 100, 24, 32, 0, (LayerShape(4, 6, 48),), ("a", "b", "c"))


def written(folder: Path, config: Any) -> Path:
    (folder / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    return folder


@pytest.mark.parametrize(
    "shape",
    [
        BERT,
        DISTILBERT,
        BERT.with_layers((LayerShape(4, 6, 48), LayerShape(2, 6, 16))),
        replace(BERT, embedding=8),
        replace(BERT, hidden=16),
    ],
    ids=["bert", "distilbert", "pruned", "narrow token vectors", "narrow stream"],
)
def test_a_shape_survives_its_config(shape: Shape, tmp_path: Path) -> None:
    assert read_shape(written(tmp_path, shape.config())) == shape
    assert answers_of(shape.config()) == "text"
    own = shape.config().get("edgekit", {})
    assert ("layers" in own) == (len(set(shape.layers)) > 1 or shape.hidden != 24)
    assert own.get("embedding") == shape.embedding


def test_sizes_of_a_real_model(shared_data: Callable[[str], Path]) -> None:
    shape = read_shape(shared_data("models/minilm-sst2"))
    # The file holds 90,867,952 bytes: its float32 tensors and a header.
    assert shape.parameters == 22_713_986
    assert shape.macs_per_token == 6 * (4 * 384 * 384 + 2 * 384 * 1536)


def test_sizes_with_narrow_token_vectors() -> None:
    plain, narrow = BERT, replace(BERT, embedding=8)
    assert plain.parameters - narrow.parameters == 100 * 24 - (100 * 8 + 8 * 24)
    assert narrow.macs_per_token - plain.macs_per_token == 8 * 24


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("{", "cannot be read as JSON"),
        ([], "has no 'model_type'"),
        ({"model_type": "roberta"}, "architecture 'roberta'; possible: bert, distilbert"),
        ({"model_type": "bert", "hidden_size": 24}, "no num_hidden_layers"),
        ({**BERT.config(), "id2label": {"zero": "no"}}, "key 'id2label': found {'zero': 'no'}"),
        ({**BERT.config(), "id2label": {"1": "no"}}, "expected names for the ids 0, 1"),
        ({**BERT.config(), "architectures": 3}, "key 'architectures': found 3, expected a list of names; possible: "),
        (
            {**BERT.config(), "architectures": "BertForSequenceClassification"},
            "key 'architectures': found 'BertForSequenceClassification', expected a list of names",
        ),
        ({**BERT.config(), "architectures": [None]}, "key 'architectures': found [None], expected a list"),
        *(
            ({**BERT.config(), key: found}, f"key '{key}': found {found!r}, expected a whole number from {least} on")
            for key, found, least in (
                ("num_attention_heads", 0, 1),
                ("hidden_size", None, 1),
                ("num_hidden_layers", True, 1),
                ("intermediate_size", 48.0, 1),
                ("vocab_size", "100", 1),
                ("max_position_embeddings", -1, 1),
                ("type_vocab_size", None, 0),
                ("pad_token_id", "0", 0),
            )
        ),
        *(
            ({**config, key: found}, f"key '{key}': found {found!r}, expected a number from 0 to 1")
            for config, key, found in (
                (BERT.config(), "layer_norm_eps", None),
                (BERT.config(), "hidden_dropout_prob", None),
                (BERT.config(), "layer_norm_eps", [1e-12]),
                (DISTILBERT.config(), "dropout", None),
                (DISTILBERT.config(), "dropout", 1.5),
                (BERT.config(), "layer_norm_eps", float("nan")),
            )
        ),
    ],
)
def test_refusals(config: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read_shape(written(tmp_path, config))
    assert said in str(caught.value)
    assert "config.json" in str(caught.value)


def test_all_keys_that_are_no_sizes_are_named_at_once_and_those_left_out_have_defaults(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read_shape(written(tmp_path, {**BERT.config(), "layer_norm_eps": None, "num_attention_heads": 0}))
    assert len(caught.value.problems) == 2
    for shape in (BERT, DISTILBERT):
        rest = ("layer_norm_eps", "hidden_dropout_prob", "dropout", "type_vocab_size", "pad_token_id")
        config = {key: value for key, value in shape.config().items() if key not in rest}
        assert read_shape(written(tmp_path, config)) == shape
        assert read_shape(written(tmp_path, {**config, "pad_token_id": None, "architectures": None})) == shape
