"""What ONNX Runtime is asked for on a GPU: none is here, so a recorded library stands in for its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgekit.ondevice.errors import OnDeviceError
from edgekit.ondevice.runtimes import load_runtime, onnx_session, package_for
from edgekit.ondevice.runtimes.onnx_session import HALF_MARK, engine_name, has_device, open_session

TENSORRT, CUDA, CPU = "TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"
WHOLE = [(TENSORRT, ["TRTKernel_graph_main"]), (CPU, ["Shape", "Gather"])]


class Library:
    """onnxruntime-gpu as it answers on a machine with a GPU: what it is asked is kept, what it says was put in."""

    capi = SimpleNamespace(onnxruntime_pybind11_state=SimpleNamespace(Fail=type("Fail", (Exception,), {})))
    ExecutionMode = SimpleNamespace(ORT_SEQUENTIAL=0)
    GraphOptimizationLevel = SimpleNamespace(ORT_DISABLE_ALL=0)

    def __init__(self) -> None:
        self.available = [TENSORRT, CUDA, CPU]
        self.starts = {TENSORRT, CUDA, CPU}
        self.placed = WHOLE
        self.raises: Exception | None = None
        self.asked: list[tuple[list[Any], dict[str, Any]]] = []
        self.fed: list[dict[str, np.ndarray]] = []
        self.entries: dict[str, str] = {}

    def get_available_providers(self) -> list[str]:
        return self.available

    def disable_telemetry_events(self) -> None:
        pass

    def SessionOptions(self) -> Any:
        return SimpleNamespace(add_session_config_entry=self.entries.__setitem__)

    def InferenceSession(self, model: str, options: Any, **how: Any) -> Any:
        self.asked.append((how["providers"], how))
        if self.raises:
            raise self.raises
        names = [name if isinstance(name, str) else name[0] for name in how["providers"]]
        started = [name for name in (*names, CPU) if name in self.starts]
        parts = [
            SimpleNamespace(ep_name=name, get_nodes=lambda ops=ops: [SimpleNamespace(op_type=op) for op in ops])
            for name, ops in self.placed
        ]
        ports = [SimpleNamespace(name=name, type="tensor(int32)") for name in ("input_ids", "attention_mask")]
        return SimpleNamespace(
            get_providers=lambda: started, get_provider_graph_assignment_info=lambda: parts, run=self.run,
            get_inputs=lambda: ports, get_outputs=lambda: [SimpleNamespace(name="logits")],
        )  # fmt: skip

    def run(self, names: list[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        self.fed.append({name: value.copy() for name, value in feeds.items()})
        ids = feeds["input_ids"]
        return [np.stack([ids.sum(axis=1), feeds["attention_mask"].sum(axis=1)], axis=1).astype(np.float32)]


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    found = Library()
    load_runtime("onnxruntime")  # before its name for the library is replaced
    for name in ("onnx_session", "onnxruntime"):
        monkeypatch.setattr(f"edgekit.ondevice.runtimes.{name}.library", lambda: found)
    monkeypatch.setattr(onnx_session, "version", lambda: "1.31.1")
    monkeypatch.setattr(onnx_session, "_tensorrt_version", lambda: "101303")
    return found


def release(place: Path, content: bytes = b"a model with DequantizeLinear") -> Path:
    """A model in a bundle that was flashed: releases/abc."""
    folder = place / "releases" / "abc"
    (folder / "model").mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    model = folder / "model" / "model.onnx"
    model.write_bytes(content)
    return model


def nvidia(root: Path, gpu: str = "Tesla T4", driver: str = "580.65.06") -> Path:
    card = root / "proc/driver/nvidia/gpus/0000:00:1e.0"
    card.mkdir(parents=True)
    (card / "information").write_text(f"Model: \t\t {gpu}\nIRQ:   \t\t 11\nGPU UUID: \t GPU-1\n")
    (root / "proc/driver/nvidia/version").write_text(
        f"NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {driver}  Release Build  (dvs)\nGCC version: 13\n"
    )
    return root


def test_tensorrt_gets_its_precisions_its_shapes_and_a_place_for_its_engine(library: Library, tmp_path: Path) -> None:
    model = release(tmp_path)
    load_runtime("onnxruntime").load_batched(model, (16, 32, 64, 128), 8, "TENSORRT", 1)
    place = str(tmp_path / "releases" / "abc.compiled" / engine_name(model))
    ((providers, how),) = library.asked
    assert providers == [
        (
            TENSORRT,
            {
                "device_id": "0",
                "trt_fp16_enable": "1",
                "trt_int8_enable": "1",
                "trt_engine_cache_enable": "1",
                "trt_engine_cache_path": place,
                "trt_timing_cache_enable": "1",
                "trt_timing_cache_path": place,
                "trt_profile_min_shapes": "input_ids:1x1,attention_mask:1x1",
                "trt_profile_opt_shapes": "input_ids:8x64,attention_mask:8x64",
                "trt_profile_max_shapes": "input_ids:8x128,attention_mask:8x128",
            },
        ),
        (CUDA, {"device_id": "0"}),
    ]
    assert Path(place).is_dir()
    assert how["enable_fallback"] == 0, "else the library retries on the CPU by itself"
    assert library.entries == {"session.record_ep_graph_assignment_info": "1"}


@pytest.mark.parametrize(
    ("content", "half", "int8"),
    [(b"plain float32", "0", "0"), (f"of {HALF_MARK} 1".encode(), "1", "0"), (b"DequantizeLinear", "1", "1")],
)
def test_a_float32_model_stays_one(library: Library, tmp_path: Path, content: bytes, half: str, int8: str) -> None:
    load_runtime("onnxruntime").load(release(tmp_path, content), (16,), "TENSORRT", 1)
    options = library.asked[0][0][0][1]
    assert (options["trt_fp16_enable"], options["trt_int8_enable"]) == (half, int8)


def test_a_bundle_that_lies_in_a_users_folder_keeps_nothing(library: Library, tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(b"x")
    open_session(model, "TENSORRT", library.SessionOptions())
    options = library.asked[0][0][0][1]
    assert not [key for key in options if "cache" in key or "profile" in key]
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_an_engine_is_of_one_gpu_driver_library_and_model(tmp_path: Path, library: Library) -> None:
    model = release(tmp_path)
    root = nvidia(tmp_path / "root")
    digest = onnx_session.file_digest(model)[:16]
    assert engine_name(model, root) == f"Tesla_T4-580.65.06-trt101303-ort1.31.1-{digest}"
    names = {engine_name(model, root)}
    names.add(engine_name(model, nvidia(tmp_path / "other gpu", gpu="NVIDIA A10G")))
    names.add(engine_name(model, nvidia(tmp_path / "other driver", driver="570.1.1")))
    model.write_bytes(b"another")
    names.add(engine_name(model, root))
    assert len(names) == 4
    assert engine_name(model, tmp_path / "no driver").startswith("gpu-driver-trt")


def test_cuda_is_asked_for_alone(library: Library, tmp_path: Path) -> None:
    library.placed = [(CUDA, ["MatMul", "Softmax"]), (CPU, ["Shape", "Gather"])]
    load_runtime("onnxruntime").load(release(tmp_path), (16,), "CUDA", 1)
    assert library.asked[0][0] == [(CUDA, {"device_id": "0"})]


def test_the_reference_of_every_device_is_the_cpus(library: Library, tmp_path: Path) -> None:
    library.placed = []
    load_runtime("onnxruntime").load(release(tmp_path), (16,), "TENSORRT", 1, reference=True)
    assert library.asked[0][0] == [CPU]


@pytest.mark.parametrize("device", ["TENSORRT", "CUDA"])
def test_a_provider_that_does_not_start_is_refused_with_what_it_needs(
    library: Library, tmp_path: Path, device: str
) -> None:
    library.starts = {CPU}
    with pytest.raises(
        OnDeviceError, match=r"ExecutionProvider does not start here; it needs NVIDIA's driver, CUDA 13.*--device CPU$"
    ):
        load_runtime("onnxruntime").load(release(tmp_path), (16,), device, 1)
    library.raises = RuntimeError("libnvinfer.so.10: cannot open shared object file")
    with pytest.raises(OnDeviceError, match=r"cannot load model\.onnx: libnvinfer\.so\.10: cannot open"):
        load_runtime("onnxruntime").load(tmp_path / "releases/abc/model/model.onnx", (16,), device, 1)


def test_a_tensorrt_that_leaves_all_to_cuda_is_not_tensorrt(library: Library, tmp_path: Path) -> None:
    library.placed = [(CUDA, ["MatMul"]), (CPU, ["Shape"])]
    with pytest.raises(OnDeviceError, match=r"TENSORRT takes no part of it, only CPU\w+, CUDA\w+ would"):
        load_runtime("onnxruntime").load(release(tmp_path), (16,), "TENSORRT", 1)


def test_an_operator_that_the_gpu_lacks_is_named_and_not_left_to_the_cpu(library: Library, tmp_path: Path) -> None:
    library.placed = [*WHOLE, (CPU, ["Det", "Det", "NonZero"])]
    with pytest.raises(
        OnDeviceError, match=r"model\.onnx: TENSORRT lacks Det \(2\), NonZero \(1\); possible: --device CPU"
    ):
        load_runtime("onnxruntime").load(release(tmp_path), (16,), "TENSORRT", 1)


def test_what_tensorrt_leaves_to_cuda_is_told() -> None:
    parts = [
        SimpleNamespace(ep_name=name, get_nodes=lambda ops=ops: [SimpleNamespace(op_type=op) for op in ops])
        for name, ops in [*WHOLE, (CUDA, ["Erf", "Where", "Erf"])]
    ]
    session = SimpleNamespace(get_provider_graph_assignment_info=lambda: parts)
    assert onnx_session.beside(session, "TENSORRT") == ["TensorRT leaves to CUDA: Erf (2), Where (1)"]
    assert onnx_session.beside(session, "CPU") == []


def test_texts_are_computed_in_batches_of_like_length(library: Library, tmp_path: Path) -> None:
    many = load_runtime("onnxruntime").load_batched(release(tmp_path), (4, 8), 3, "TENSORRT", 1)
    assert [feeds["input_ids"].shape for feeds in library.fed] == [(3, 4), (3, 8)], "each length once, to be ready"
    library.fed.clear()
    texts = [[7] * length for length in (8, 1, 3, 2, 5, 4, 6)]
    found = many(texts)
    assert [row.tolist() for row in found] == [[7 * len(text), len(text)] for text in texts]
    assert [feeds["input_ids"].shape for feeds in library.fed] == [(3, 4), (3, 8), (1, 8)]
    assert library.fed[0]["attention_mask"].tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0]]
    assert many([]) == []
    assert many([[]])[0].tolist() == [0, 1]


def test_a_device_is_here_where_the_library_and_the_driver_are(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dev").mkdir()
    assert not has_device("CUDA", tmp_path), "onnxruntime-gpu lists it on every machine"
    (tmp_path / "dev/nvidiactl").touch()
    assert has_device("CUDA", tmp_path) and has_device("TENSORRT", tmp_path)
    with monkeypatch.context() as here:
        here.setattr(onnx_session, "_tensorrt_version", lambda: "unknown")
        assert has_device("CUDA", tmp_path) and not has_device("TENSORRT", tmp_path), "its library is not here"
    library.available = [CPU]
    assert not has_device("TENSORRT", tmp_path)
    assert has_device("CPU", tmp_path)
    assert not has_device("NPU", tmp_path)


def test_the_distribution_is_that_of_the_device() -> None:
    assert [package_for(load_runtime("onnxruntime"), device) for device in ("CPU", "CUDA", "TENSORRT")] == [
        "onnxruntime", "onnxruntime-gpu", "onnxruntime-gpu"
    ]  # fmt: skip
    assert package_for(load_runtime("litert"), "CPU") == "ai-edge-litert"


def test_this_machines_library_says_what_is_missing(tmp_path: Path) -> None:
    """Not recorded: the library that is installed here."""
    with pytest.raises(
        OnDeviceError,
        match=r"no device 'CUDA' here; possible: CPU \(--device CPU\); CUDA needs onnxruntime-gpu, NVIDIA's "
        r"driver, CUDA 13 and cuDNN 9$",
    ):
        open_session(release(tmp_path), "CUDA", onnx_session.session_options(1))
    with pytest.raises(OnDeviceError, match=r"device 'TPU'; possible: CPU$"):
        open_session(tmp_path / "releases/abc/model/model.onnx", "TPU", onnx_session.session_options(1))


def save(path: Path, nodes: list[Any], weights: list[Any] | None = None, **how: Any) -> Path:
    import onnx
    from onnx import TensorProto, helper

    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy"]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], weights or [])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path, **how)
    return path


def test_a_bare_model_that_cannot_be_opened_says_why(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    weights = onnx.numpy_helper.from_array(np.ones((4, 4), np.float32), "w")
    node = onnx.helper.make_node("MatMul", ["x", "w"], ["y"])
    model = save(
        tmp_path / "two.onnx", [node], [weights], save_as_external_data=True, location="two.data", size_threshold=0
    )
    opened = load_runtime("onnxruntime").open_model(model, "CPU", 1)
    assert [tensor.shape for tensor in opened.inputs] == [(1, 4)]
    (tmp_path / "two.data").unlink()
    with pytest.raises(
        OnDeviceError,
        match=r"two\.onnx: its weights are in a second file, two\.data, which is not beside it; copy both$",
    ):
        load_runtime("onnxruntime").open_model(model, "CPU", 1)
    unknown = save(tmp_path / "foo.onnx", [onnx.helper.make_node("Foo", ["x"], ["y"])])
    with pytest.raises(OnDeviceError, match=r"foo\.onnx: no operator Foo \(opset 17\) in this version, \d"):
        load_runtime("onnxruntime").open_model(unknown, "CPU", 1)


def test_on_this_machine_the_library_takes_no_other_device_than_asked(tmp_path: Path) -> None:
    """The library that is installed here lists the placement in the words that the recording has."""
    onnx = pytest.importorskip("onnx")
    model = save(tmp_path / "erf.onnx", [onnx.helper.make_node("Erf", ["x"], ["y"])])
    program = f"""
import onnxruntime
options = onnxruntime.SessionOptions()
options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
session = onnxruntime.InferenceSession({str(model)!r}, options, providers=["CPUExecutionProvider"], enable_fallback=0)
print([(part.ep_name, [node.op_type for node in part.get_nodes()])
       for part in session.get_provider_graph_assignment_info()])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[('CPUExecutionProvider', ['Erf'])]", done.stderr
