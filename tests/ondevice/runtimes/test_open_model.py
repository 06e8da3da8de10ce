"""Third-party models through `open_model`: they answer what the bare runtime answers, and say what is wrong."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bare import MODELS, SMALL, bare

from edgekit.ondevice.errors import OnDeviceError
from edgekit.ondevice.profiler.inputs import random_samples
from edgekit.ondevice.runtimes import RUNTIMES, load_runtime, runtime_for
from edgekit.ondevice.runtimes.model import Model

Shared = Callable[[str], Path]
ROOT = Path(__file__).parents[3]
PAIR = ("mlperf_tiny/pretrainedResnet.tflite", "mlperf_tiny/pretrainedResnet_quant.tflite")


def open_model(runtime: str, model: Path, profiling: bool = False) -> Model:
    return load_runtime(runtime).open_model(model, "CPU", 1, profiling)


def answer(model: Model, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    model.bind(feeds)
    model.invoke()
    return model.outputs()


@pytest.mark.heavy
@pytest.mark.parametrize(("runtime", "name"), MODELS)
def test_answers_exactly_what_the_bare_runtime_does(shared_data: Shared, runtime: str, name: str) -> None:
    path = shared_data(f"models/{name}")
    model, plain = open_model(runtime, path), bare(runtime, path)
    samples, _ = random_samples(model.inputs, 3, seed=1)
    for feeds in [*samples, samples[0]]:
        found, expected = answer(model, feeds), plain(feeds)
        assert len(found) == len(expected) > 0
        for (output, value), wanted in zip(found.items(), expected, strict=True):
            assert value.dtype == wanted.dtype, output
            assert np.isfinite(value.astype(np.float64)).all()
            assert np.array_equal(value, wanted), output


@pytest.mark.heavy
@pytest.mark.parametrize(("runtime", "name"), SMALL)
def test_outputs_are_copies(shared_data: Shared, runtime: str, name: str) -> None:
    model = open_model(runtime, shared_data(f"models/{name}"))
    one, two = random_samples(model.inputs, 2, seed=2)[0]
    first = answer(model, one)
    kept = {output: value.copy() for output, value in first.items()}
    second = answer(model, two)
    assert all(np.array_equal(kept[output], first[output]) for output in kept)
    assert any(not np.array_equal(second[output], first[output]) for output in kept)


@pytest.mark.heavy
@pytest.mark.parametrize(("runtime", "name"), SMALL)
def test_what_does_not_fit_is_refused_and_leaves_no_trace(shared_data: Shared, runtime: str, name: str) -> None:
    model = open_model(runtime, shared_data(f"models/{name}"))
    (tensor,) = model.inputs
    (good,), _ = random_samples(model.inputs, 1, seed=3)
    before = answer(model, good)
    value = good[tensor.name]
    wide = np.concatenate([value, value])
    other = np.float64 if tensor.dtype != np.float64 else np.int8
    expected = f"expected {tensor.dtype} \\{list(tensor.shape)}"
    for feeds, complaint in (
        ({tensor.name: wide}, f"found {tensor.dtype} \\{list(wide.shape)}, {expected}"),
        ({tensor.name: value[:, :1]}, expected),
        ({tensor.name: value.astype(other)}, f"found {np.dtype(other)} .*, {expected}"),
        ({"other": value}, "missing; found other"),
        ({}, "missing; found none"),
    ):
        with pytest.raises(OnDeviceError, match=f"^input {tensor.name}: .*{complaint}"):
            model.bind(feeds)
    after = answer(model, good)
    assert all(np.array_equal(before[output], after[output]) for output in before)


@pytest.mark.heavy
@pytest.mark.parametrize(("runtime", "name"), SMALL)
@pytest.mark.parametrize("kept", [0, 3, 0.3, 0.99])
def test_a_file_cut_short_is_refused_in_one_line(
    shared_data: Shared, tmp_path: Path, runtime: str, name: str, kept: float
) -> None:
    whole = shared_data(f"models/{name}")
    content = whole.read_bytes()
    cut = tmp_path / f"cut{whole.suffix}"
    cut.write_bytes(content[: int(kept if kept > 1 else kept * len(content))])
    if whole.suffix == ".xml":
        shutil.copyfile(whole.with_suffix(".bin"), cut.with_suffix(".bin"))
    with pytest.raises(OnDeviceError, match=r"cut\.(tflite|xml|onnx)") as caught:
        open_model(runtime, cut)
    assert "\n" not in str(caught.value)
    assert "Exception from" not in str(caught.value)


@pytest.mark.heavy
def test_weights_cut_short_are_refused(shared_data: Shared, tmp_path: Path) -> None:
    whole = shared_data(f"models/{SMALL[2][1]}")
    shutil.copyfile(whole, tmp_path / "m.xml")
    weights = whole.with_suffix(".bin").read_bytes()
    (tmp_path / "m.bin").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(OnDeviceError, match=r"^openvino: cannot load m\.xml: Incorrect weights in bin file!$"):
        open_model("openvino", tmp_path / "m.xml")


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_device_that_is_not_here_is_refused(runtime: str, tmp_path: Path) -> None:
    with pytest.raises(OnDeviceError, match=r"device 'TOASTER'.*possible: .*CPU"):
        load_runtime(runtime).open_model(tmp_path / "m", "TOASTER", 1)


@pytest.mark.heavy
def test_an_unknown_operator_is_named_with_its_version(shared_data: Shared, tmp_path: Path) -> None:
    source = shared_data(f"models/{SMALL[2][1]}")
    changed = source.read_bytes().replace(b'type="Convolution" version="opset1"', b'type="Konv" version="opset99"', 1)
    (tmp_path / "m.xml").write_bytes(changed)
    shutil.copyfile(source.with_suffix(".bin"), tmp_path / "m.bin")
    with pytest.raises(OnDeviceError, match=r"cannot load m\.xml: Cannot create Konv layer .* opset99"):
        open_model("openvino", tmp_path / "m.xml")


def test_the_note_says_at_what_precision_an_ir_computes(shared_data: Shared) -> None:
    model = open_model("openvino", shared_data(f"models/{SMALL[2][1]}"))
    assert [note for note in model.notes if note.startswith("computes in ")]


def test_weights_that_cannot_be_folded_are_noted(shared_data: Shared) -> None:
    model = open_model("onnxruntime", shared_data("models/ultraface/version-RFB-320_simplified.onnx"))
    assert model.notes == ["112 weights are also inputs of the graph, so the runtime cannot fold them"]
    assert [tensor.name for tensor in model.inputs] == ["input"]


@pytest.mark.heavy
def test_one_net_in_two_formats_answers_alike(shared_data: Shared) -> None:
    """The same image, as each file wants its axes; the data's description says 4e-4 at most."""
    onnx = open_model("onnxruntime", shared_data("models/ultraface/version-RFB-320_simplified.onnx"))
    tflite = open_model("litert", shared_data("models/ultraface/version-RFB-320_without_postprocessing.tflite"))
    image = np.random.default_rng(4).uniform(-1, 1, (1, 240, 320, 3)).astype(np.float32)
    one = answer(onnx, {"input": np.ascontiguousarray(image.transpose(0, 3, 1, 2))})
    two = answer(tflite, {"input_1": image})
    by_width = {value.shape[-1]: value for value in two.values()}
    difference = max(float(np.abs(one[o] - by_width[one[o].shape[-1]]).max()) for o in ("scores", "boxes"))
    assert 0 < difference < 1e-3


def cifar(archive: Path, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Test images [count, 32, 32, 3] uint8, all classes in turn, and their labels."""
    image = pytest.importorskip("PIL.Image")
    with zipfile.ZipFile(archive) as opened:
        names = sorted(name for name in opened.namelist() if name.startswith("test/"))
        chosen = names[:: len(names) // count][:count]
        images = [np.asarray(image.open(io.BytesIO(opened.read(name))).convert("RGB")) for name in chosen]
    classes = sorted({name.split("/")[1] for name in names})
    return np.stack(images), np.array([classes.index(name.split("/")[1]) for name in chosen])


def quantise(model: Model, image: np.ndarray) -> np.ndarray:
    """0..255 as the model's only input takes it."""
    (tensor,) = model.inputs
    if tensor.quantisation is None:
        return image[None].astype(tensor.dtype)
    scale, zero_point = tensor.quantisation
    return np.clip(np.rint(image[None] / scale + zero_point), -128, 127).astype(tensor.dtype)


@pytest.mark.heavy
def test_accuracy_of_an_mlperf_tiny_pair_is_the_bare_runtimes(shared_data: Shared) -> None:
    """The ResNet's published accuracy is 85 %; these images lost about 10 points to JPEG."""
    images, labels = cifar(shared_data("vision/cifar10_mini/cifar10_mini_jpg.zip"), 200)
    accuracies = []
    for name in PAIR:
        path = shared_data(f"models/{name}")
        model, plain = open_model("litert", path), bare("litert", path)
        feeds = [{model.inputs[0].name: quantise(model, image)} for image in images]
        ours = np.array([next(iter(answer(model, feed).values())).argmax() for feed in feeds])
        theirs = np.array([plain(feed)[0].argmax() for feed in feeds])
        assert np.mean(ours == labels) == np.mean(theirs == labels)
        accuracies.append(float(np.mean(ours == labels)))
    assert min(accuracies) > 0.65
    assert abs(accuracies[0] - accuracies[1]) < 0.05


@pytest.mark.heavy
@pytest.mark.parametrize(("runtime", "name"), [s for s in SMALL if s[0] != "tflite"])
def test_operators_are_counted_and_timed(shared_data: Shared, runtime: str, name: str) -> None:
    path = shared_data(f"models/{name}")
    model = open_model(runtime, path, profiling=True)
    samples, _ = random_samples(model.inputs, 5, seed=5)
    with pytest.raises(OnDeviceError, match="has not run"):
        open_model(runtime, path, profiling=True).operators()
    answers = [answer(model, feeds) for feeds in samples]
    rows = model.operators()
    assert [row["ms"] for row in rows] == sorted((row["ms"] for row in rows), reverse=True)
    assert all(row["calls"] > 0 and row["ms"] >= 0 for row in rows)
    convolutions = [row["calls"] for row in rows if "Conv" in row["op"]]
    assert convolutions
    assert sum(convolutions) % 5 == 0
    assert 0 < sum(row["ms"] for row in rows) < 5 * 50
    plain = open_model(runtime, path)
    for feeds, found in zip(samples, answers, strict=True):
        expected = answer(plain, feeds)
        assert all(np.allclose(found[output], expected[output], atol=1e-6) for output in expected)
    with pytest.raises(OnDeviceError, match="not opened with profiling"):
        plain.operators()


def test_tflite_runtime_says_that_it_times_no_operators(tmp_path: Path) -> None:
    with pytest.raises(OnDeviceError, match="tflite-runtime: its Python library times no operators"):
        open_model("tflite", tmp_path / "m.tflite", profiling=True)


CODE = """
import sys
from pathlib import Path
from edgekit.ondevice.profiler.inputs import random_samples
from edgekit.ondevice.runtimes import load_runtime
model = load_runtime(sys.argv[1]).open_model(Path(sys.argv[2]), "CPU", 2, sys.argv[3] == "True")
samples, _ = random_samples(model.inputs, 2, 0)
for feeds in samples:
    model.bind(feeds)
    model.invoke()
    kept = model.outputs()
print(len(kept))
"""


@pytest.mark.heavy
@pytest.mark.parametrize("profiling", [False, True])
@pytest.mark.parametrize(("runtime", "name"), SMALL)
def test_the_process_ends_cleanly_with_everything_still_open(
    shared_data: Shared, runtime: str, name: str, profiling: bool
) -> None:
    if runtime == "tflite" and profiling:
        pytest.skip("tflite-runtime times no operators")
    words = [sys.executable, "-c", CODE, runtime, str(shared_data(f"models/{name}")), str(profiling)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr


def test_the_suffix_says_which_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m.bin").write_bytes(b"")
    assert [runtime_for(tmp_path / f"m.{s}") for s in ("tflite", "xml", "onnx")] == [
        "litert",
        "openvino",
        "onnxruntime",
    ]
    with pytest.raises(OnDeviceError, match=r"no runtime loads '\.h5'; possible: \.tflite, \.xml .*, \.onnx"):
        runtime_for(tmp_path / "m.h5")
    with pytest.raises(OnDeviceError, match=r"an IR is two files, and n\.bin is not beside it"):
        runtime_for(tmp_path / "n.xml")
    monkeypatch.setattr(load_runtime("litert"), "version", lambda: None)
    assert runtime_for(tmp_path / "m.tflite") == "tflite"
    monkeypatch.setattr(load_runtime("tflite"), "version", lambda: None)
    with pytest.raises(OnDeviceError, match="needs ai-edge-litert, which is not installed: pip install ai-edge-litert"):
        runtime_for(tmp_path / "m.tflite")


def test_a_pickle_is_refused(shared_data: Shared) -> None:
    with pytest.raises(OnDeviceError, match="a pickle, which runs its author's code"):
        runtime_for(shared_data("models/resnet20_cifar10/resnet20-12fca82f.th"))
