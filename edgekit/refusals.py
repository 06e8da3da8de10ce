"""The one list of what edgekit does not build for, each with its reason and with what works in its place."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True)
class Refusal:
    """Hardware, or pairs of recipe and target, that no plan is made for.

    `targets` and `recipes` are names or patterns such as g4dn-*; a refusal of hardware has no target's file, and its
    first name is the one that it is listed by.
    """

    targets: tuple[str, ...]
    what: str
    reason: str
    instead: str
    recipes: tuple[str, ...] = ("*",)

    @property
    def line(self) -> str:
        """Why, and what works."""
        return f"{self.reason}; possible: {self.instead}"


REFUSALS = (
    Refusal(
        targets=("myriad", "myriad-x", "movidius", "ncs2", "hddl"),
        what="Intel Movidius Myriad X, Neural Compute Stick 2",
        # docs.openvino.ai/2023.3, Supported Devices
        reason="OpenVINO ended its support with release 2023.0; 2022.3 LTS was the last one with its plugin, and "
        "edgekit builds for today's",
        instead="intel-npu for the NPU of Intel Core Ultra, or the machine that the stick is in: intel-cpu or "
        "raspberrypi",
    ),
    Refusal(
        targets=("coral-devboard", "coral", "edgetpu"),
        what="Coral Dev Board and other Edge TPUs",
        # coral.ai/docs/edgetpu/models-intro: "only TensorFlow Lite models that are fully 8-bit quantized and then
        # compiled specifically for the Edge TPU"
        reason="an Edge TPU runs full-integer models that its own compiler has compiled, which edgekit does not do; of "
        "its full-integer text models layer norms and softmax stay in float32",
        instead="arm64-generic on a board's CPU, where it has glibc 2.27 and Python 3.10 or newer",
    ),
    Refusal(
        targets=("jetson-orin", "jetson"),
        what="NVIDIA Jetson Orin, its GPU",
        # the files of onnxruntime-gpu 1.31.1 on PyPI: its aarch64 wheels have CUDA code for servers, sm_75 to sm_121
        # without Orin's sm_87, and no TensorRT provider
        reason="PyPI's onnxruntime-gpu for 64-bit ARM has no code for Orin's GPU and no TensorRT; NVIDIA's wheels for "
        "JetPack are not on PyPI",
        instead="arm64-generic on its CPU",
    ),
    Refusal(
        targets=("android-arm64", "android"),
        what="64-bit ARM phones and tablets with Android",
        # the file names of ai-edge-litert 2.3.0 on PyPI: manylinux, macosx and win wheels
        reason="what edgekit puts on a device is Python, and ai-edge-litert has no wheels for Android's C library",
        instead="arm64-generic, whose model/model.tflite an app can load by Android's own LiteRT; edgekit then neither "
        "installs nor measures it",
    ),
    Refusal(
        targets=("g4dn-*", "gpu-host", "t4-host"),
        what="image classifiers on NVIDIA GPUs",
        reason="they run ONNX, which edgekit does not make of the Keras models of image recipes",
        instead="intel-cpu or raspberrypi",
        recipes=("mobilenet-int8", "resnet-int8"),
    ),
    Refusal(
        targets=("g4dn-*", "gpu-host", "t4-host"),
        what="full-integer text models, trained for it, on NVIDIA GPUs",
        reason="these targets run ONNX, for which INT8 is not trained",
        instead="recipe distilbert-int8, whose ranges are fixed after training, or intel-cpu or raspberrypi",
        recipes=("integer-int8",),
    ),
)


def refusal_of(target: str, recipe: str | None = None) -> Refusal | None:
    """Why nothing is built for this target, or for this pair; None where nothing here speaks against it."""
    for refusal in REFUSALS:
        if not any(fnmatchcase(target, pattern) for pattern in refusal.targets):
            continue
        if refusal.recipes == ("*",) or (recipe and any(fnmatchcase(recipe, pattern) for pattern in refusal.recipes)):
            return refusal
    return None


def hardware(shipped: list[str]) -> list[Refusal]:
    """The refusals of hardware that no shipped target describes."""
    return [r for r in REFUSALS if not any(fnmatchcase(name, r.targets[0]) for name in shipped)]
