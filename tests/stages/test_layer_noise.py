"""The words in which every toolchain says what INT8 costs a layer, and the checks of layers' names."""

from __future__ import annotations

import math

import numpy as np
import pytest
from tiny_models import SHAPE

from edgekit import card
from edgekit.errors import ConfigError
from edgekit.stages.int8.layer_checks import check_float_layers
from edgekit.stages.int8.layer_noise import Noise, check_names, layer_names, noise_rows, noise_table, worst_layers
from edgekit.stages.int8.nncf_words import NncfQuantize
from edgekit.stages.quantize_onnx import Options as OnnxOptions
from edgekit.stages.quantize_tflite import Options as TfliteOptions
from edgekit.steps import Distill, Prune, Quantize


def test_the_ratio_is_that_of_all_numbers_together() -> None:
    noise = Noise()
    noise.add("a", np.array([3.0, 4.0], np.float32), np.array([3.0, 4.5], np.float32))
    noise.add("a", np.array([[10.0]], np.float32), np.array([[9.5]], np.float32))
    noise.add("b", np.ones(3, np.float32), np.ones(3, np.float32))
    noise.add("c", np.array([1.0]), np.array([-1.0]))
    found = noise.snr_db()
    assert list(found) == ["c", "a", "b"], "the worst first"
    assert found["a"] == pytest.approx(10 * math.log10((9 + 16 + 100) / (0.25 + 0.25)))
    assert found["c"] == pytest.approx(10 * math.log10(1 / 4))
    assert found["b"] is None, "no noise has no ratio"


def test_a_bit_more_is_six_decibels() -> None:
    values = np.random.default_rng(0).uniform(-1, 1, 100_000)
    ratios = []
    for levels in (128, 256):
        noise = Noise()
        noise.add("x", values, np.round(values * levels) / levels)
        ratios.append(noise.snr_db()["x"])
    assert ratios[1] - ratios[0] == pytest.approx(20 * math.log10(2), abs=0.05)
    assert ratios[0] == pytest.approx(10 * math.log10((1 / 3) / (1 / 128**2 / 12)), abs=0.05)


def test_rows_are_in_the_order_of_what_a_layer_itself_costs() -> None:
    rows = noise_rows(
        {"late": 10.0, "culprit": 15.0, "kept": 12.0}, {"late": 40.0, "culprit": 18.0, "kept": None}, ["kept"]
    )
    assert [row["layer"] for row in rows] == ["culprit", "late", "kept"]
    assert noise_table(rows, 2) == [("culprit", "18.0", "15.0", "INT8"), ("late", "40.0", "10.0", "INT8")]
    assert noise_table(rows)[2] == ("kept", "—", "12.0", "float")
    assert [row["layer"] for row in noise_rows({"a": 3.0, "b": None, "c": 1.0})] == ["c", "a", "b"]
    assert worst_layers({"a": 19.9, "b": 20.0, "c": None, "d": 3.0}, 20.0) == ("d", "a")


def test_a_name_that_no_layer_has_is_refused_with_the_nearest() -> None:
    known = layer_names(SHAPE)
    assert len(known) == 2 * 6 + 2
    assert set(known) >= {"layers.0.query", "layers.1.down", "head", "classifier"}
    check_names(["layers.1.down", "head"], known)
    with pytest.raises(
        ConfigError, match=r"keep_float: the model has no layer 'layers\.1\.dwon'; did you mean 'layers\.1\.down'"
    ):
        check_names(["head", "layers.1.dwon"], known)
    with pytest.raises(ConfigError, match=r"no layer 'zzz'; possible: layers\.0\.query … classifier"):
        check_names(["zzz"], known)


def test_names_are_checked_by_the_depth_that_the_model_will_have() -> None:
    """The sample task's teacher has 6 layers."""
    keep = NncfQuantize(max_tokens=16, keep_float=["layers.2.down"])
    check_float_layers([keep], None, None)
    check_float_layers([Distill(layers=0.5), keep], None, None)
    with pytest.raises(ConfigError, match=r"no layer 'layers\.2\.down'; did you mean 'layers\.[01]\.down'"):
        check_float_layers([Distill(layers=0.5), Prune(layers=0.5), keep], None, None)
    attention = ["layers.0.attention"]
    check_float_layers([NncfQuantize(max_tokens=16, keep_float=attention)], None, None)
    for other in (TfliteOptions(buckets=(16,), keep_float=attention), OnnxOptions(max_tokens=16, keep_float=attention)):
        with pytest.raises(ConfigError, match=r"'layers\.0\.attention'"):
            check_float_layers([other], None, None)


def test_a_plan_knows_the_layers_that_a_task_and_its_token_vectors_have() -> None:
    """The sample task's teacher that answers by token has 4 layers, and no pooler."""
    head, widen = (NncfQuantize(max_tokens=16, keep_float=[name]) for name in ("head", "widen"))
    check_float_layers([head], None, None)
    check_float_layers([NncfQuantize(max_tokens=16, keep_float=["layers.3.up"])], None, None, by_token=True)
    for wrong in (head, NncfQuantize(max_tokens=16, keep_float=["layers.4.up"])):
        with pytest.raises(ConfigError, match=f"no layer '{wrong.keep_float[0]}'"):
            check_float_layers([wrong], None, None, by_token=True)
    check_float_layers([Prune(embedding=64), widen], None, None)
    with pytest.raises(ConfigError, match="no layer 'widen'"):
        check_float_layers([Prune(ffn=0.5), widen], None, None)


def test_a_list_of_all_layers_is_refused_for_nothing_would_be_int8() -> None:
    names = [f"layers.0.{part}" for part in ("query", "key", "value", "output", "up", "down", "attention")]
    shrunk = Distill(layers=[0])
    check_float_layers([shrunk, NncfQuantize(max_tokens=16, keep_float=[*names, "head"])], None, None)
    every = NncfQuantize(max_tokens=16, keep_float=[*names, "head", "classifier"])
    with pytest.raises(ConfigError, match=r"keep_float: it names all layers, so nothing would be INT8"):
        check_float_layers([shrunk, every], None, None)
    names.remove("layers.0.attention")
    check_float_layers([shrunk, TfliteOptions(buckets=(16,), keep_float=names)], None, None)
    with pytest.raises(ConfigError, match=r"it names all layers"):
        check_float_layers([shrunk, TfliteOptions(buckets=(16,), keep_float=[*names, "head"])], None, None)


def test_a_limit_and_a_metric_that_nothing_asks_for_are_refused() -> None:
    assert Quantize(keep_float="auto", keep_float_below_db=12.0).keep_float_below_db == 12
    with pytest.raises(ValueError, match="only keep_float = 'auto' asks for a limit"):
        Quantize(keep_float=["head"], keep_float_below_db=12.0)
    with pytest.raises(ValueError, match="without max_drop nothing counts it"):
        Quantize(drop_metric="agreement")
    assert Quantize(max_drop=0.01, drop_metric="agreement").drop_metric == "agreement"


def test_the_words_of_the_table_are_one_text_in_card_and_terminal() -> None:
    """The card may import nothing of the stages, so it says the same by itself."""
    rows = noise_rows({"a": 3.04, "b": None}, {"a": 7.05, "b": None}, ["b"])

    lines = card._noise({"lineage": [{"metrics": {}}, {"metrics": {"layer_noise": rows}}]})
    assert [tuple(cell.strip() for cell in line.split("|")[1:-1]) for line in lines[-2:]] == noise_table(rows)
    assert card._noise({"lineage": [{"metrics": {}}]}) == []
