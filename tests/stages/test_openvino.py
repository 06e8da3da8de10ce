"""A tiny model through OpenVINO's toolchain, from PyTorch to a bundle that runs by itself."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import SHAPE, artifact, make_job, random_texts, write_inputs
from tiny_text import write_dataset, write_hf

from edgekit.artifact import Artifact
from edgekit.bundle import Bundle, pack
from edgekit.errors import StageError
from edgekit.ondevice import verify
from edgekit.ondevice.errors import OnDeviceError
from edgekit.ondevice.infer import Predictor
from edgekit.stages import convert_openvino, quantize_nncf, sparsify_nncf, validate
from edgekit.stages.int8.layer_noise import Noise

ROOT = Path(__file__).parents[2]
BUCKETS = (4, 8, 16)


def run(stage: Any, source: Artifact, work: Path, earlier: dict[str, Artifact], **options: Any) -> Artifact:
    """A stage's finished artifact."""
    outcome = stage.run(source, stage.Options.model_validate(options), make_job(work, earlier))
    made = artifact(work, stage.PRODUCES)
    return replace(made, metrics=outcome.metrics, notes=outcome.notes, versions={"tokenizers": "0"})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    """Dataset, teacher, IR in float32 and INT8, and the report, of one tiny model."""
    place = tmp_path_factory.mktemp("openvino")
    steps = write_inputs(place)
    earlier = dict(steps)
    steps["convert"] = run(convert_openvino, steps["teacher"], place / "ir", earlier, max_tokens=16)
    steps["quantize"] = run(
        quantize_nncf, steps["convert"], place / "int8", earlier, max_tokens=16, calibration_samples=40
    )
    options = {"runtime": "openvino", "runtime_version": "2026.4.1", "buckets": BUCKETS}
    steps["validate"] = run(validate, steps["quantize"], place / "report", earlier, **options)
    return steps


@pytest.fixture(scope="module")
def bundle(made: dict[str, Artifact]) -> Bundle:
    options = validate.Options(runtime="openvino", runtime_version="2026.4.1", buckets=BUCKETS).model_dump()
    steps = [(made["quantize"], "quantize", {}), (made["validate"], "validate", options)]
    out = made["dataset"].path.parent / "dist" / "tiny"
    return pack(out, name="tiny", recipe={}, target={}, steps=steps, teacher={"name": "random"}, sample_task=False)


def answers(ir: Path, texts: list[list[int]], buckets: tuple[int, ...] = BUCKETS, **how: Any) -> np.ndarray:
    from edgekit.ondevice.runtimes import openvino

    predict = openvino.load(ir / "model.xml", buckets, "CPU", threads=1, **how)
    return np.stack([predict(np.array([ids]), np.ones((1, len(ids)), np.int32)) for ids in texts])


@pytest.mark.heavy
def test_the_ir_answers_as_torch_does(made: dict[str, Artifact]) -> None:
    from edgekit.stages.network.encoder import load_encoder, predict

    texts = random_texts([1, 3, 4, 5, 9, 16])
    expected = predict(load_encoder(made["teacher"].path), texts, batch_size=1)
    found = answers(made["convert"].path, texts, reference=True)
    assert found == pytest.approx(expected, abs=1e-5)
    assert expected.std() > 0.1, "answers that do not depend on the text compare nothing"
    assert made["convert"].metrics["max_abs_diff"] < 1e-4
    files = {path.name: path.stat().st_size for path in made["convert"].path.iterdir()}
    assert made["convert"].metrics["bytes"] == files["model.xml"] + files["model.bin"]
    assert "tokenizer.json" in files


@pytest.mark.heavy
def test_a_conversion_that_answers_otherwise_is_refused(
    made: dict[str, Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgekit.stages.network import encoder

    other = encoder.predict

    def predict(*what: Any, **how: Any) -> np.ndarray:
        return other(*what, **how) + 0.001

    monkeypatch.setattr(encoder, "predict", predict)
    with pytest.raises(StageError, match=r"padded to 16 tokens, its logits differ by 0\.001 from those of PyTorch"):
        run(convert_openvino, made["teacher"], tmp_path / "ir", made, max_tokens=16)


@pytest.mark.heavy
def test_an_architecture_outside_the_families_converts_through_transformers(tmp_path: Path) -> None:
    folder = write_hf(tmp_path / "roberta", "roberta")
    earlier = {"dataset": write_dataset(tmp_path / "dataset")}
    made = run(convert_openvino, artifact(folder, "torch"), tmp_path / "ir", earlier, max_tokens=16)
    assert made.metrics["max_abs_diff"] < 1e-5


@pytest.mark.heavy
def test_int8_keeps_the_answers_and_its_tables_are_int8(made: dict[str, Artifact]) -> None:
    import openvino

    texts = random_texts(np.random.default_rng(3).integers(1, 13, 60).tolist(), 3)
    before, after = (answers(made[step].path, texts) for step in ("convert", "quantize"))
    assert (before.argmax(axis=1) == after.argmax(axis=1)).mean() > 0.9
    assert np.abs(before - after).mean() < 0.2 * np.abs(before).mean()
    assert made["quantize"].metrics["calibration_samples"] == pytest.approx(40, abs=2)
    network = openvino.Core().read_model(made["quantize"].path / "model.xml")
    tables = {
        tuple(op.get_output_shape(0)): op.get_output_element_type(0).get_type_name()
        for op in network.get_ops()
        if op.get_type_name() == "Constant" and len(op.get_output_shape(0)) == 2 and min(op.get_output_shape(0)) > 3
    }
    assert tables[SHAPE.vocabulary, SHAPE.hidden] == "i8"
    assert tables[SHAPE.layers[0].ffn, SHAPE.hidden] == "i8"


@pytest.mark.heavy
def test_narrow_token_vectors_are_looked_up_in_int8_and_widened_by_an_int8_matrix(tmp_path: Path) -> None:
    import openvino

    steps = write_inputs(tmp_path, replace(SHAPE, embedding=32))
    ir = run(convert_openvino, steps["teacher"], tmp_path / "ir", steps, max_tokens=16)
    assert ir.metrics["max_abs_diff"] < 1e-4
    int8 = run(quantize_nncf, ir, tmp_path / "int8", steps, max_tokens=16, calibration_samples=40)
    texts = random_texts(np.random.default_rng(3).integers(1, 13, 60).tolist(), 3)
    before, after = (answers(step.path, texts) for step in (ir, int8))
    assert (before.argmax(axis=1) == after.argmax(axis=1)).mean() > 0.85
    network = openvino.Core().read_model(int8.path / "model.xml")
    stored = {
        tuple(op.get_output_shape(0)): op.get_output_element_type(0).get_type_name()
        for op in network.get_ops()
        if op.get_type_name() == "Constant" and len(op.get_output_shape(0)) == 2
    }
    assert stored[SHAPE.vocabulary, 32] == stored[SHAPE.hidden, 32] == "i8"
    (rows,) = (op for op in network.get_ops() if list(op.get_output_partial_shape(0))[2:] == [32]
               and op.get_type_name() == "Gather")  # fmt: skip
    assert rows.get_output_element_type(0).get_type_name() == "i8", "else the table is scaled when it is compiled"


@pytest.mark.heavy
def test_looking_up_int8_rows_changes_no_answer(made: dict[str, Artifact]) -> None:
    """Against the same model by NNCF alone, which looks up in the scaled table."""
    import openvino
    from openvino import opset13 as ops

    table, scale = np.arange(12, dtype=np.int8).reshape(4, 3), np.array([[0.5], [1], [2], [4]], np.float32)
    ids = ops.parameter([1, -1], np.int32, name="input_ids")
    scaled = ops.multiply(ops.convert(ops.constant(table), "f32"), ops.constant(scale))
    network = openvino.Model([ops.gather(scaled, ids, ops.constant(0))], [ids], "lookup")
    core = openvino.Core()
    asked = np.array([[3, 0, 1]], np.int32)
    before = core.compile_model(network, "CPU")(asked)[0]
    quantize_nncf.look_up_int8_rows(network)
    lookups = [op for op in network.get_ops() if op.get_type_name() == "Gather"]
    assert {op.input_value(0).get_element_type().get_type_name() for op in lookups} == {"i8", "f32"}
    assert core.compile_model(network, "CPU")(asked)[0].tolist() == before.tolist() == (table * scale)[asked].tolist()


@pytest.mark.heavy
def test_every_bucket_answers_alike(made: dict[str, Artifact]) -> None:
    texts = random_texts([2, 4])
    for step in ("convert", "quantize"):
        small, large = (answers(made[step].path, texts, buckets) for buckets in (BUCKETS, (16,)))
        assert small == pytest.approx(large, abs=1e-4)


@pytest.mark.heavy
def test_the_same_inputs_give_the_same_bytes_in_another_process(made: dict[str, Artifact], tmp_path: Path) -> None:
    """Of a process that has done other things before, because OpenVINO counts operations through its life."""
    program = f"""
import sys; sys.path[:0] = [{str(Path(__file__).parent)!r}, {str(ROOT)!r}]
from pathlib import Path
from test_openvino import *
import openvino
place = Path({str(tmp_path)!r})
openvino.Core().read_model({str(made["quantize"].path / "model.xml")!r}).clone()
earlier = {{"dataset": artifact(Path({str(made["dataset"].path)!r}), "dataset")}}
source = artifact(Path({str(made["teacher"].path)!r}), "torch")
ir = run(convert_openvino, source, place / "ir", earlier, max_tokens=16)
run(quantize_nncf, ir, place / "int8", earlier, max_tokens=16, calibration_samples=40)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr

    def digests(folder: Path) -> list[str]:
        return [hashlib.sha256((folder / f"model.{kind}").read_bytes()).hexdigest() for kind in ("xml", "bin")]

    assert digests(tmp_path / "ir") == digests(made["convert"].path)
    assert digests(tmp_path / "int8") == digests(made["quantize"].path)


@pytest.mark.heavy
def test_the_report_is_of_the_artifact_itself(made: dict[str, Artifact]) -> None:
    report = made["validate"].metrics
    found = report["splits"]["validation"]
    assert found["teacher_accuracy"] == 1.0  # the labels are its answers
    assert found["accuracy"] == found["agreement"] == found["retention"] > 0.85
    assert report["runtime"]["package"] == "openvino"
    golden = json.loads((made["validate"].path / "golden.json").read_text())
    assert len(golden["samples"]) == 16
    assert 0.001 <= golden["tolerance"] < 1


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a device that has numpy, tokenizers and the runtime, and nothing else of this machine's."""
    place = tmp_path_factory.mktemp("device")
    (place / "home").mkdir()
    (place / "site").mkdir()
    import openvino

    installed = Path(openvino.__file__).parents[1]
    for package in ("numpy", "openvino", "tokenizers"):
        for path in [
            installed / package,
            *installed.glob(f"{package}.libs"),
            *installed.glob(f"{package}-*.dist-info"),
        ]:
            (place / "site" / path.name).symlink_to(path)
    return {"PYTHONPATH": str(place / "site"), "HOME": str(place / "home"), "PATH": os.environ["PATH"]}


def on_device(bundle: Bundle, device: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """`python3 -m ondevice` in the bundle's folder; -S leaves out what is installed here."""
    command = [sys.executable, "-S", "-m", "ondevice", *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=bundle.path, env=device)


@pytest.mark.heavy
def test_a_bundle_runs_by_itself_and_leaves_the_home_folder_alone(bundle: Bundle, device: dict[str, str]) -> None:
    done = on_device(bundle, device, "verify", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["ok"]
    assert report["files"] == len(bundle.manifest["files"])
    done = on_device(bundle, device, "infer", "w1 w2 w3", "w4")
    assert done.returncode == 0, done.stderr
    assert [line.split("\t")[0] in SHAPE.labels for line in done.stdout.splitlines()] == [True, True]
    assert list(Path(device["HOME"]).iterdir()) == []


@pytest.mark.heavy
def test_a_device_notices_a_changed_model(bundle: Bundle, device: dict[str, str]) -> None:
    weights = bundle.path / "model" / "model.bin"
    good = weights.read_bytes()
    weights.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    done = on_device(bundle, device, "verify")
    weights.write_bytes(good)
    assert done.returncode == 2
    assert done.stderr.startswith("ondevice: ")
    assert "model.bin: its content has changed" in done.stderr


class WithNpu:
    """OpenVINO on a machine with an NPU, whose place the CPU takes: a shape that is not static it refuses."""

    def __init__(self) -> None:
        import openvino

        self.core, self.asked, self.compiled = openvino.Core(), list[tuple[str, dict[str, Any]]](), list[Any]()
        self.Tensor, self.available_devices = openvino.Tensor, ["CPU", "NPU"]
        self.read_model = self.core.read_model

    def Core(self) -> WithNpu:
        return self

    def compile_model(self, network: Any, device: str, settings: dict[str, Any]) -> Any:
        self.asked.append((device, settings))
        if device == "NPU" and network.is_dynamic():
            raise RuntimeError("dynamic shapes are not supported")
        self.compiled.append(self.core.compile_model(network, "CPU", settings))
        return self.compiled[-1]

    def query_model(self, network: Any, device: str) -> dict[str, str]:
        found = self.core.query_model(network, "CPU")
        gathers = [op.get_friendly_name() for op in network.get_ops() if op.get_type_name() == "Gather"]
        return {name: device for name in found if name not in gathers}


@pytest.fixture
def npu(monkeypatch: pytest.MonkeyPatch) -> WithNpu:
    from edgekit.ondevice.runtimes import openvino

    machine = WithNpu()
    monkeypatch.setattr(openvino, "library", lambda: machine)
    return machine


@pytest.mark.heavy
def test_an_npu_gets_static_shapes_and_keeps_what_it_compiled_beside_the_release(
    bundle: Bundle, tmp_path: Path, npu: WithNpu
) -> None:
    release = tmp_path / "releases" / bundle.digest
    shutil.copytree(bundle.path, release)
    before = sorted(release.rglob("*"))
    asked = ["w1 w2 w3", "w4"]
    cpu = Predictor(release, device="CPU")
    expected = [cpu.outputs(text)[0] for text in asked]
    assert not (tmp_path / "releases" / f"{bundle.digest}.compiled").exists()
    npu.asked.clear()
    for kept in (False, True):
        npu.compiled.clear()
        predictor = Predictor(release, device="NPU")
        found = [predictor.outputs(text)[0] for text in asked]
        assert np.abs(np.subtract(found, expected)).max() <= bundle.manifest["tolerance"]
        assert [c.get_property("LOADED_FROM_CACHE") for c in npu.compiled] == [kept] * len(BUCKETS)
    place = str(tmp_path / "releases" / f"{bundle.digest}.compiled")
    assert npu.asked == [("NPU", {"PERFORMANCE_HINT": "LATENCY", "CACHE_DIR": place})] * 2 * len(BUCKETS)
    assert sorted(release.rglob("*")) == before
    npu.asked.clear()
    Predictor(release, reference=True, device="NPU")
    assert [device for device, _ in npu.asked] == ["CPU"], "the reference is the model as it is defined"
    assert "CACHE_DIR" not in npu.asked[0][1]
    verify.verify(bundle.path, device="NPU")
    assert not list(bundle.path.parent.glob("*.compiled")), "nothing is written beside a user's own folder"


@pytest.mark.heavy
def test_operators_that_the_npu_lacks_are_named_where_its_plugin_tells(
    made: dict[str, Artifact], npu: WithNpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgekit.ondevice.runtimes import openvino

    def refuse(network: Any, device: str, settings: dict[str, Any]) -> Any:
        raise RuntimeError("Exception from src/x.cpp:1:\nno such layer")

    model = made["convert"].path / "model.xml"
    monkeypatch.setattr(npu, "compile_model", refuse)
    said = r"NPU lacks Gather \(\d\); possible: --device CPU, or a bundle for target intel-cpu; it says: no such layer"
    with pytest.raises(OnDeviceError, match=said):
        openvino.load(model, BUCKETS, "NPU", 1)

    def no_answer(network: Any, device: str) -> dict[str, str]:
        raise RuntimeError("not implemented")

    monkeypatch.setattr(npu, "query_model", no_answer)
    with pytest.raises(OnDeviceError, match=r"cannot load model\.xml: no such layer"):
        openvino.load(model, BUCKETS, "NPU", 1)


@pytest.mark.heavy
def test_the_cpus_own_plugin_lacks_no_operator_of_these_models(made: dict[str, Artifact]) -> None:
    import openvino as library

    from edgekit.ondevice.runtimes import openvino

    core = library.Core()
    for step in ("convert", "quantize"):
        assert openvino.unsupported(core, core.read_model(made[step].path / "model.xml"), "CPU") == []


@pytest.mark.heavy
@pytest.mark.parametrize("target", ["NPU", "GPU"])
def test_validation_for_a_device_that_is_not_here_runs_on_the_cpu_and_says_so(
    made: dict[str, Artifact], tmp_path: Path, target: str
) -> None:
    from edgekit.ondevice.runtimes import openvino

    if openvino.has_device(target):
        pytest.skip(f"this machine has a {target}")
    options = {"runtime": "openvino", "runtime_version": "2026.4.1", "buckets": BUCKETS, "device": target}
    report = run(validate, made["quantize"], tmp_path / "report", made, **options)
    used = report.metrics["runtime"]
    assert (used["device"], used["target_device"]) == ("CPU", target)
    (note,) = [note for note in report.notes if "validated on this machine's" in note]
    assert note.startswith(f"validated on this machine's CPU, for it has no {target}: accuracy, golden samples and")
    assert report.metrics["splits"] == made["validate"].metrics["splits"]
    chosen = validate.Options.model_validate(options).model_dump()
    steps = [(made["quantize"], "quantize", {}), (report, "validate", chosen)]
    out = tmp_path / "dist" / "tiny"
    packed = pack(out, name="tiny", recipe={}, target={}, steps=steps, teacher={"name": "random"}, sample_task=False)
    assert packed.manifest["runtime"]["device"] == target
    assert note in (out / "README.md").read_text()


@pytest.mark.heavy
def test_a_device_without_an_npu_refuses_its_bundle_and_takes_the_cpu_when_asked(
    bundle: Bundle, tmp_path: Path, device: dict[str, str]
) -> None:
    copy = tmp_path / "tiny"
    shutil.copytree(bundle.path, copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["runtime"]["device"] = "NPU"
    (copy / "manifest.json").write_text(json.dumps(manifest))
    there = replace(bundle, path=copy)
    for command in (("verify",), ("infer", "w1")):
        done = on_device(there, device, *command)
        assert done.returncode == 2
        assert re.search(
            r"^ondevice: openvino: no device 'NPU' here; possible: .*CPU.*; it needs Intel's NPU driver and access to "
            r"/dev/accel/accel0; --device CPU, or build it for intel-cpu$",
            done.stderr,
            re.MULTILINE,
        )
    done = on_device(there, device, "verify", "--device", "CPU")
    assert done.returncode == 0, done.stderr
    assert re.match(r"openvino \S+ on CPU, made for NPU: \d+ files are whole; ", done.stdout)
    report = json.loads(on_device(there, device, "verify", "--device", "CPU", "--json").stdout)
    assert (report["device"], report["made_for"]) == ("CPU", "NPU")
    done = on_device(there, device, "infer", "--device", "CPU", "w1")
    assert "ondevice: computes on CPU, as asked; made for NPU" in done.stderr.splitlines()
    assert done.stdout.split("\t")[0] in SHAPE.labels
    answer = json.loads(on_device(there, device, "infer", "--device", "CPU", "--json", "w1").stdout)
    assert answer["computed_on"] == "CPU"


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("device", "overflow_fix"),
    [("NPU", "first_layer"), ("GPU", "first_layer"), ("CPU_SPR", "disable"), ("CPU", "disable"), ("CPU", "enable")],
)
def test_each_targets_rules_make_an_int8_model_that_keeps_the_answers(
    made: dict[str, Artifact], tmp_path: Path, device: str, overflow_fix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half the range of the weights is half as many steps; else they use all of INT8."""
    import openvino

    monkeypatch.setattr(quantize_nncf, "measure", lambda *models: (Noise(), Noise()))  # it takes its time
    options = {"max_tokens": 16, "calibration_samples": 40, "target_device": device, "overflow_fix": overflow_fix}
    int8 = run(quantize_nncf, made["convert"], tmp_path / "int8", made, **options)
    texts = random_texts(np.random.default_rng(3).integers(1, 13, 40).tolist(), 3)
    before, after = (answers(folder, texts, reference=True) for folder in (made["convert"].path, int8.path))
    assert (before.argmax(axis=1) == after.argmax(axis=1)).mean() > 0.85
    weights = [
        np.abs(op.data.astype(np.int32)).max()
        for op in openvino.Core().read_model(int8.path / "model.xml").get_ops()
        if op.get_type_name() == "Constant"
        and op.get_element_type().get_type_name() == "i8"
        and list(op.get_output_shape(0)) == [SHAPE.layers[0].ffn, SHAPE.hidden]
    ]
    assert weights
    assert all((largest <= 64) == (overflow_fix == "enable") for largest in weights)


@pytest.mark.heavy
def test_a_device_that_is_not_there_is_named(made: dict[str, Artifact]) -> None:
    from edgekit.ondevice.runtimes import openvino

    with pytest.raises(OnDeviceError, match=r"openvino: no device 'NPU' here; possible: .*CPU"):
        openvino.load(made["convert"].path / "model.xml", BUCKETS, "NPU", 1)
    broken = made["dataset"].path.parent / "broken.xml"
    broken.write_text("<net")
    with pytest.raises(OnDeviceError, match=r"openvino: cannot load broken\.xml: "):
        openvino.load(broken, BUCKETS, "CPU", 1)


@pytest.mark.heavy
def test_sparsity_is_what_was_asked_for_and_survives_training(made: dict[str, Artifact], tmp_path: Path) -> None:
    from edgekit.stages.network.encoder import load_encoder

    options = {"max_tokens": 16, "sparsity": 0.6, "epochs": 1.0, "batch_size": 16, "precision": "float32"}
    sparse = run(sparsify_nncf, made["teacher"], tmp_path / "sparse", made, **options)
    assert sparse.metrics["sparsity"] == pytest.approx(0.6, abs=0.002)
    assert sparse.metrics["steps"] == 6
    model = load_encoder(sparse.path)
    share = {name: float((p == 0).float().mean()) for name, p in model.named_parameters() if name.endswith("weight")}
    assert share["layers.0.up.weight"] == pytest.approx(0.6, abs=0.01)
    assert share["layers.1.query.weight"] == pytest.approx(0.6, abs=0.01)
    assert share["word.weight"] == share["head.weight"] == share["classifier.weight"] == 0
    before = load_encoder(made["teacher"].path)
    largest = before.layers[0].up.weight.abs().argmax()
    assert model.layers[0].up.weight.flatten()[largest] != 0
    moved = (model.layers[0].up.weight - before.layers[0].up.weight)[model.layers[0].up.weight != 0]
    assert bool((moved != 0).any()), "nothing was trained"
