"""INT8 and sparsity by NNCF: what each key does to a tiny model, what it costs, and the same bytes after a kill."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import SHAPE, artifact, make_job, random_encoder, write_inputs

from edgekit.artifact import Artifact
from edgekit.errors import ConfigError, StageError
from edgekit.stages import convert_openvino, quantize_nncf, quantize_nncf_torch, sparsify_nncf
from edgekit.stages.int8.layer_noise import Noise, layer_names

pytestmark = [pytest.mark.heavy, pytest.mark.usefixtures("one_thread")]

INT8 = {"max_tokens": 16, "calibration_samples": 24}
QAT = {**INT8, "epochs": 2.0, "batch_size": 16, "learning_rate": 1e-4, "patience": 50}
SPARSE = {"max_tokens": 16, "epochs": 2.0, "batch_size": 16, "precision": "float32"}


def run(
    stage: Any, source: Artifact, work: Path, earlier: dict[str, Artifact], told: Any = None, **how: Any
) -> Artifact:
    """A stage's finished artifact."""
    outcome = stage.run(source, stage.Options.model_validate(how), make_job(work, earlier, told))
    return replace(artifact(work, stage.PRODUCES), metrics=outcome.metrics, notes=outcome.notes)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    """Dataset, teacher, its IR, and that in INT8 by the toolchain's own defaults."""
    place = tmp_path_factory.mktemp("nncf")
    steps = write_inputs(place)
    steps["convert"] = run(convert_openvino, steps["teacher"], place / "ir", steps, max_tokens=16)
    steps["quantize"] = run(quantize_nncf, steps["convert"], place / "int8", steps, **INT8)
    return steps


def operators(folder: Path) -> list[Any]:
    import openvino

    return openvino.Core().read_model(folder / "model.xml").get_ordered_ops()


def constants(folder: Path, shape: list[int], kind: str) -> list[np.ndarray]:
    return [
        np.array(op.data)
        for op in operators(folder)
        if op.get_type_name() == "Constant"
        and op.get_element_type().get_type_name() == kind
        and list(op.get_output_shape(0)) == shape
    ]


def rows(made: Artifact) -> dict[str, dict[str, Any]]:
    return {row["layer"]: row for row in made.metrics["layer_noise"]}


def test_layers_are_named_in_both_irs_and_all_are_measured(made: dict[str, Artifact]) -> None:
    expected = {*layer_names(SHAPE), "layers.0.attention", "layers.1.attention"}
    for step in ("convert", "quantize"):
        named = [op.get_friendly_name() for op in operators(made[step].path)]
        assert expected <= set(named)
        assert len(named) == len(set(named))
    found = made["quantize"].metrics["layer_noise"]
    assert {row["layer"] for row in found} == expected
    assert all(15 < row["alone_db"] < 60 and row["snr_db"] < row["alone_db"] + 0.5 for row in found)
    assert [row["alone_db"] for row in found] == sorted(row["alone_db"] for row in found)
    assert made["quantize"].metrics["float_layers"] == []


def test_the_only_int8_layer_is_as_noisy_in_the_model_as_alone_and_as_numpy_says(
    made: dict[str, Artifact], tmp_path: Path
) -> None:
    others = [name for name in rows(made["quantize"]) if name != "layers.0.up"]
    how = {"keep_float": others, "smooth_quant": "off", "bias_correction": "off"}
    one = run(quantize_nncf, made["convert"], tmp_path / "one", made, **INT8, **how)
    assert sorted(one.metrics["float_layers"]) == sorted(others)
    found = rows(one)["layers.0.up"]
    assert not found["float"]
    assert found["snr_db"] == pytest.approx(found["alone_db"], abs=1.5), "token vectors are INT8 too, and little else"
    assert all(rows(one)[name]["alone_db"] is None and rows(one)[name]["float"] for name in others)
    weights = constants(one.path, [SHAPE.layers[0].ffn, SHAPE.hidden], "i8")
    assert len(weights) == 1
    assert not [op for op in operators(one.path) if "smooth" in op.get_friendly_name()]
    from edgekit.stages.network.encoder import load_encoder

    bias = load_encoder(made["teacher"].path).layers[0].up.bias.detach().numpy()
    assert any(np.array_equal(b.ravel(), bias) for b in constants(one.path, [1, 1, SHAPE.layers[0].ffn], "f32"))
    assert not any(
        np.array_equal(b.ravel(), bias) for b in constants(made["quantize"].path, [1, 1, SHAPE.layers[0].ffn], "f32")
    ), "by default biases are corrected"


def test_the_noise_of_an_attention_alone_is_not_that_of_its_values(
    made: dict[str, Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgekit.stages.int8 import ir_noise

    measured: list[Any] = []

    def keep(exact: Any, network: Any, token_ids: list[list[int]]) -> tuple[Noise, Noise]:
        measured[:] = exact, network.clone(), token_ids[:4]
        return Noise(), Noise()

    monkeypatch.setattr(quantize_nncf, "measure", keep)
    how = {"max_tokens": 16, "calibration_samples": 4, "smooth_quant": "off", "bias_correction": "off"}
    run(quantize_nncf, made["convert"], tmp_path / "int8", made, **how)
    exact, network, texts = measured
    before = [noise.snr_db()["layers.0.attention"] for noise in ir_noise.measure(exact, network, texts)]
    value = ir_noise.layer_operators(network)["layers.0.value"].output(0)
    (biased,) = (reader.get_node().output(0) for reader in value.get_target_inputs())
    readers = list(biased.get_target_inputs())
    doubled = quantize_nncf.runtime.library().opset13.multiply(biased, np.float32(2))
    for reader in readers:
        reader.replace_source_output(doubled.output(0))
    after = [noise.snr_db()["layers.0.attention"] for noise in ir_noise.measure(exact, network, texts)]
    assert after[0] < 1 < before[0], "twice the values are twice the answer"
    assert after[1] == pytest.approx(before[1])


def test_auto_keeps_the_worst_and_says_so(made: dict[str, Artifact], tmp_path: Path) -> None:
    first, second = made["quantize"].metrics["layer_noise"][:2]
    limit = (first["alone_db"] + second["alone_db"]) / 2
    kept = run(
        quantize_nncf, made["convert"], tmp_path / "auto", made, **INT8, keep_float="auto", keep_float_below_db=limit
    )
    assert kept.metrics["float_layers"] == [first["layer"]]
    assert kept.notes == (f"{first['layer']} stay in float, alone below a signal-to-noise ratio of {limit:g} dB",)
    assert kept.metrics["bytes"] > made["quantize"].metrics["bytes"]


def test_a_layer_that_is_not_there_is_refused_and_so_are_all(made: dict[str, Artifact], tmp_path: Path) -> None:
    for stage, step in ((quantize_nncf, "convert"), (quantize_nncf_torch, "teacher")):
        with pytest.raises(ConfigError, match=r"no layer 'layers\.1\.dwon'; did you mean 'layers\.1\.down'"):
            run(stage, made[step], tmp_path / stage.__name__, made, **INT8, keep_float=["layers.1.dwon"])
        every = [*layer_names(SHAPE), "layers.0.attention", "layers.1.attention"]
        with pytest.raises(ConfigError, match=r"it names all layers, so nothing would be INT8"):
            run(stage, made[step], tmp_path / f"{stage.__name__}.all", made, **INT8, keep_float=every)


def test_layers_go_back_to_float_only_where_the_validation_split_loses_too_much(
    made: dict[str, Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NNCF's own search takes minutes even here, so a stand-in answers for it, with what it is given."""
    import nncf

    asked: list[Any] = []

    def search(exact: Any, texts: Any, validation: Any, score: Any, **how: Any) -> Any:
        asked.append(how)
        model = quantize_nncf.runtime.library().Core().compile_model(exact, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        value, answers = score(model, validation.get_data(None))
        assert value == 1.0, "the float model agrees with itself"
        assert len(answers) == 48
        assert answers[0][0].shape == (1, 3)
        scope = nncf.IgnoredScope(names=["head", "classifier"])
        return nncf.quantize(exact, texts, subset_size=40, model_type=how["model_type"], ignored_scope=scope)

    monkeypatch.setattr(nncf, "quantize_with_accuracy_control", search)
    monkeypatch.setattr(quantize_nncf, "measure", lambda *models: (Noise(), Noise()))  # it takes its time
    how = {**INT8, "drop_metric": "agreement"}
    calm = run(quantize_nncf, made["convert"], tmp_path / "calm", made, **how, max_drop=0.5)
    assert not asked
    assert calm.notes[0].startswith("no layer went back to float: agreement on the validation split drops by 0.")
    assert 0 < calm.metrics["drop"] < 0.5
    back = run(quantize_nncf, made["convert"], tmp_path / "back", made, **how, max_drop=0.0001)
    assert asked[0]["max_drop"] == 0.0001
    assert asked[0]["advanced_quantization_parameters"].smooth_quant_alphas.matmul == -1
    assert sorted(back.metrics["float_layers"]) == ["classifier", "head"]
    assert back.notes[0].startswith("head, classifier went back to float, without SmoothQuant: agreement")


def test_a_drop_is_that_of_the_tasks_headline_and_named_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgekit.stages.quantize_nncf import AccuracyControl
    from edgekit.stages.text.splits import TokenSplit

    monkeypatch.setattr(AccuracyControl, "_compile", lambda control, values: values)
    monkeypatch.setattr(
        AccuracyControl, "_answer", lambda control, values, rows: [np.array([[values[row]]]) for row in rows]
    )
    options = quantize_nncf.Options(max_tokens=16, max_drop=0.6)
    split = TokenSplit([[1], [2], [3]], np.array([[1], [2], [3]], np.float32), task="text_regression")
    control = AccuracyControl([0.1, 0.2, 0.3], split, options)
    drop = control.drop([0.1, 0.3, 0.2])
    assert drop == pytest.approx(0.5), "Spearman's 1 - 6 * (1 + 1) / (3 * 8)"
    (note,) = quantize_nncf.float_notes(options, [], ["layers.0.up"], drop, control)
    assert note == "no layer went back to float: spearman on the validation split drops by 0.5000"
    control.searched = True
    (note,) = quantize_nncf.float_notes(options, [], [], drop, control)
    assert note.startswith("no layer went back to float, without SmoothQuant: spearman")


@pytest.fixture(scope="module")
def sparse(made: dict[str, Artifact], tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return run(
        sparsify_nncf, made["teacher"], tmp_path_factory.mktemp("sparse") / "sparse", made, **SPARSE, sparsity=0.6
    )


@pytest.fixture(scope="module")
def trained(made: dict[str, Artifact], sparse: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return run(quantize_nncf_torch, sparse, tmp_path_factory.mktemp("qat") / "qat", made, **QAT)


def test_training_with_roundings_ends_in_an_int8_ir_that_answers_alike(
    made: dict[str, Artifact], trained: Artifact
) -> None:
    metrics = trained.metrics
    assert metrics["steps"] == 12
    assert metrics["best_step"] > 0, "else the training that is compared was none"
    assert metrics["converted_snr_db"] > 50
    kinds = [op.get_type_name() for op in operators(trained.path)]
    assert kinds.count("FakeQuantize") >= 12
    for width in (layer.ffn for layer in SHAPE.layers):
        matrices = constants(trained.path, [width, SHAPE.hidden], "i8")
        assert matrices
        assert all((weights == 0).mean() >= 0.595 for weights in matrices), "what was sparse stays so"
    assert constants(trained.path, [SHAPE.vocabulary, SHAPE.hidden], "i8"), "token vectors"
    assert not constants(trained.path, [SHAPE.vocabulary, SHAPE.hidden], "f32")
    assert metrics["float_layers"] == []
    assert set(rows(trained)) == set(rows(made["quantize"]))
    assert metrics["bytes"] < 1.2 * made["quantize"].metrics["bytes"]


def test_zeros_of_layers_stay_and_token_vectors_are_free() -> None:
    import torch

    from edgekit.stages.int8.qat_nncf import Steady

    model = Steady(random_encoder(SHAPE))
    up, word = model.encoder.layers[0].up.weight.data, model.encoder.word.weight.data
    up[:5], word[:5] = 0, 0
    keep = quantize_nncf_torch._keep_zeros(model)
    for weight in (up, word):
        weight += 1
    keep(0)
    assert torch.equal((up == 0).sum(dim=1), torch.tensor([40] * 5 + [0] * 59))
    assert not bool((word == 0).any())
    assert quantize_nncf_torch._keep_zeros(Steady(random_encoder(SHAPE))) is None


def test_a_killed_training_with_roundings_goes_on_to_the_same_bytes(
    made: dict[str, Artifact], sparse: Artifact, trained: Artifact, tmp_path: Path
) -> None:
    class Killed(Exception):
        pass

    def kill(done: int, total: int, unit: str, note: str) -> None:
        if unit == "steps" and done == 8:
            raise Killed

    with pytest.raises(Killed):
        run(quantize_nncf_torch, sparse, tmp_path / "qat", made, kill, **QAT)
    (tmp_path / "qat").rmdir()
    again = run(quantize_nncf_torch, sparse, tmp_path / "qat", made, **QAT)
    for name in ("model.xml", "model.bin"):
        assert (again.path / name).read_bytes() == (trained.path / name).read_bytes()


def test_an_ir_that_answers_otherwise_than_the_trained_model_is_refused(
    made: dict[str, Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgekit.stages.int8 import ir_noise, qat_nncf

    def without_steps(model: Any) -> Any:
        """An IR whose INT8 is coarser than what was trained."""
        network = right(model)
        ops = quantize_nncf.runtime.library().opset13
        for layer in [op for op in network.get_ordered_ops() if op.get_friendly_name() == "layers.1.up"]:
            port = layer.input_value(0)
            low, high = (ops.constant(np.float32(value)) for value in (-3, 3))
            layer.input(0).replace_source_output(ops.fake_quantize(port, low, high, low, high, 16).output(0))
        return network

    noise = Noise()
    noise.add("classifier", np.ones(1), np.full(1, 0.9))  # 20 dB
    monkeypatch.setattr(ir_noise, "measure", lambda *models: (noise, noise))
    right = qat_nncf.to_ir
    monkeypatch.setattr(qat_nncf, "to_ir", without_steps)
    with pytest.raises(StageError, match=r"its answers lie \d+\.\d dB above .* at least 23\.0 dB is rounding"):
        run(quantize_nncf_torch, made["teacher"], tmp_path / "qat", made, **{**QAT, "epochs": 0.2})


@pytest.mark.parametrize("scope", ["local", "global"])
def test_magnitude_takes_the_smallest_weights_of_each_matrix_or_of_all(scope: str) -> None:
    from edgekit.stages.pruning.masks import magnitude_masks

    model = random_encoder(SHAPE)
    with_scale = dict(model.named_parameters())
    with_scale["layers.0.up.weight"].data[:32] *= 0.01  # by its matrix's norm, half of it is small
    masks = magnitude_masks(model, 0.3, scope)
    weights = {
        name: p.detach().numpy() for name, p in with_scale.items() if re.match(r"layers\.\d+\.\w+\.weight", name)
    }
    weights = {name: w for name, w in weights.items() if w.ndim == 2}
    assert set(masks) == set(weights)
    zeros = {name: float((~mask).float().mean()) for name, mask in masks.items()}
    count = sum(w.size for w in weights.values())
    assert sum(zeros[n] * w.size for n, w in weights.items()) / count == pytest.approx(0.3, abs=0.002)
    if scope == "local":
        assert all(share == pytest.approx(0.3, abs=0.002) for share in zeros.values())
        return
    relative = {name: np.abs(w) / np.linalg.norm(w) for name, w in weights.items()}
    limit = np.quantile(np.concatenate([r.ravel() for r in relative.values()]), 0.3)
    for name, share in zeros.items():
        assert share == pytest.approx((relative[name] <= limit).mean(), abs=0.002)
    assert zeros["layers.0.up.weight"] > 0.45


def test_the_lowest_scores_go_in_each_tensor_or_over_all() -> None:
    import torch

    from edgekit.stages.pruning.masks import lowest

    scores = {"a": torch.tensor([[1.0, 2.0], [3.0, 4.0]]), "b": torch.tensor([5.0, 6.0, 7.0, 0.0])}
    local, over_all = lowest(scores, 0.5, "local"), lowest(scores, 0.5, "global")
    assert local["a"].tolist() == [[False, False], [True, True]]
    assert local["b"].tolist() == [False, True, True, False]
    assert over_all["a"].tolist() == [[False, False], [False, True]]
    assert over_all["b"].tolist() == [True, True, True, False]
    assert lowest({"a": torch.zeros(4)}, 0.5, "local")["a"].tolist() == [False, False, True, True]


def test_regularisation_finds_weights_that_magnitude_would_keep_and_resumes(
    made: dict[str, Artifact], tmp_path: Path
) -> None:
    from edgekit.stages.network.encoder import load_encoder

    how = {**SPARSE, "method": "regularisation", "scope": "global", "sparsity": 0.5, "epochs": 4.0}
    whole = run(sparsify_nncf, made["teacher"], tmp_path / "whole", made, **how)
    assert whole.metrics["sparsity"] == pytest.approx(0.5, abs=0.001)
    assert len({round(share, 3) for share in whole.metrics["sparsity_by_matrix"].values()}) > 3
    before, after = load_encoder(made["teacher"].path), load_encoder(whole.path)
    first, left = before.layers[0].up.weight.abs(), after.layers[0].up.weight != 0
    gone = first[~left]
    assert bool((gone > first[left].min()).any()), "by magnitude alone"
    assert bool((after.word.weight != 0).all())

    class Killed(Exception):
        pass

    count = 0

    def kill(done: int, total: int, unit: str, note: str) -> None:
        nonlocal count
        count += unit == "steps"
        if count == 15:
            raise Killed  # in the recovery: the masks are there

    with pytest.raises(Killed):
        run(sparsify_nncf, made["teacher"], tmp_path / "cut", made, kill, **how)
    assert (tmp_path / "cut.checkpoints" / "masks.safetensors").exists()
    (tmp_path / "cut").rmdir()
    again = run(sparsify_nncf, made["teacher"], tmp_path / "cut", made, **how)
    assert (again.path / "model.safetensors").read_bytes() == (whole.path / "model.safetensors").read_bytes()
