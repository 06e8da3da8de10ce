"""Each runtime called as its own documentation does it, to hold `open_model` against; and the models to try."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from edgekit.ondevice.runtimes.openvino import library as import_openvino

Answer = Callable[[dict[str, np.ndarray]], list[np.ndarray]]

TFLITE = (
    "mlperf_tiny/ad01_fp32.tflite", "mlperf_tiny/ad01_int8.tflite", "mlperf_tiny/kws_ref_model.tflite",
    "mlperf_tiny/kws_ref_model_float32.tflite", "mlperf_tiny/pretrainedResnet.tflite",
    "mlperf_tiny/pretrainedResnet_quant.tflite", "mlperf_tiny/vww_96_float.tflite", "mlperf_tiny/vww_96_int8.tflite",
    "coral/mobilenet_v1_0.25_128_quant.tflite", "tflite_support_vision/mobilenet_v1_0.25_224_1_default_1.tflite",
    "tflite_support_vision/mobilenet_v1_0.25_224_quant.tflite", "tflite_text_imdb/text_classification.tflite",
    "ultraface/version-RFB-320_without_postprocessing.tflite",
)  # fmt: skip
IR = tuple(
    f"omz_ir/{name}/{precision}/{name}.xml"
    for name, precisions in (
        ("face-detection-retail-0004", ("FP32", "FP16", "FP16-INT8")),
        ("open-closed-eye-0001", ("FP32", "FP16")),
    )
    for precision in precisions
)
ONNX = (
    "ultraface/version-RFB-320_simplified.onnx", "omz_ir/open-closed-eye-0001/open-closed-eye.onnx",
    "onnx_light/light_shufflenet.onnx", "onnx_light/light_squeezenet.onnx",
)  # fmt: skip
MODELS = [
    *((runtime, model) for runtime in ("litert", "tflite") for model in TFLITE),
    *(("openvino", model) for model in IR),
    *(("onnxruntime", model) for model in ONNX),
]
#: One small model per runtime.
SMALL = [
    ("litert", "mlperf_tiny/kws_ref_model.tflite"),
    ("tflite", "mlperf_tiny/kws_ref_model.tflite"),
    ("openvino", "omz_ir/open-closed-eye-0001/FP32/open-closed-eye-0001.xml"),
    ("onnxruntime", "omz_ir/open-closed-eye-0001/open-closed-eye.onnx"),
]


def tflite(runtime: str, model: Path) -> Answer:
    if runtime == "litert":
        from ai_edge_litert.interpreter import Interpreter
    else:
        from tflite_runtime.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(model), num_threads=1)
    interpreter.allocate_tensors()

    def answer(feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        for detail in interpreter.get_input_details():
            interpreter.set_tensor(detail["index"], feeds[detail["name"]])
        interpreter.invoke()
        return [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]

    return answer


def openvino(model: Path) -> Answer:
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    compiled = import_openvino().compile_model(model, "CPU", settings)
    return lambda feeds: [np.array(value) for value in compiled(feeds).values()]


def onnxruntime(model: Path) -> Answer:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    return lambda feeds: session.run(None, feeds)


def bare(runtime: str, model: Path) -> Answer:
    if runtime in ("litert", "tflite"):
        return tflite(runtime, model)
    return openvino(model) if runtime == "openvino" else onnxruntime(model)
