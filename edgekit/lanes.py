"""How models are made: for each kind of task the stages that every build shares, and those of each runtime family."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from .shape import FAMILIES


@dataclass(frozen=True)
class Toolchain:
    """How the models of one runtime family are made: the formats in order, and who takes each step."""

    formats: tuple[str, ...]
    converters: Mapping[str, str]  # format -> the stage that makes it
    stages: Mapping[str, tuple[str, ...]]  # step, or step:method -> stages
    families: tuple[str, ...] | None = None  # architectures, or forms of files, that it can take; None: any
    otherwise: Toolchain | None = None  # who takes the others

    def takes(self, family: str) -> bool:
        """Whether it can take an architecture, or a form of file."""
        return self.families is None or family in self.families

    def of(self, family: str | None) -> Toolchain:
        """The toolchain for an architecture: this one, or the one for what it cannot take."""
        return self.otherwise.of(family) if family and self.otherwise and not self.takes(family) else self


@dataclass(frozen=True)
class Lane:
    """What the tasks of one kind have in common."""

    dataset: str  # the stage that makes the dataset
    common: Mapping[str, tuple[str, ...]]  # steps that are done once, whatever the target -> stages
    toolchains: Mapping[str, Toolchain]  # by the format that the target's runtime loads
    by_token: bool = False  # whether it answers for each token, not for each text


#: Texts: the encoder is distilled and pruned in PyTorch.
TEXT = Lane(
    dataset="dataset_text",
    common={"teacher": ("teacher_hf",), "distill": ("distill_torch",), "prune": ("prune_torch",)},
    toolchains={
        "tflite": Toolchain(
            formats=("dataset", "torch", "keras", "tflite"),
            converters={"keras": "convert_keras", "tflite": "convert_tflite"},
            stages={
                "sparsify:magnitude": ("sparsify_tfmot",),
                "cluster": ("cluster_tfmot",),
                "quantize:ptq": ("quantize_tflite",),
                "quantize:qat": ("quantize_tfmot", "quantize_tflite"),
            },
            families=FAMILIES,
            otherwise=Toolchain(
                formats=("dataset", "torch", "tflite"),
                converters={"tflite": "convert_litert_torch"},
                stages={"quantize:ptq": ("quantize_ai_edge",)},
            ),
        ),
        "ir": Toolchain(
            formats=("dataset", "torch", "ir"),
            converters={"ir": "convert_openvino"},
            stages={
                "sparsify:magnitude": ("sparsify_nncf",),
                "sparsify:regularisation": ("sparsify_nncf",),
                "quantize:ptq": ("quantize_nncf",),
                "quantize:qat": ("quantize_nncf_torch",),
            },
        ),
        "onnx": Toolchain(
            formats=("dataset", "torch", "onnx"),
            converters={"onnx": "convert_onnx"},
            stages={
                "sparsify:magnitude": ("sparsify_nncf",),
                "sparsify:regularisation": ("sparsify_nncf",),
                "quantize:ptq": ("quantize_onnx",),
                "quantize:fp16": ("quantize_half",),
            },
        ),
    },
)


def _by_token(dataset: str) -> Lane:
    """The lane of texts, for answers by token: the teacher too is read in windows, and is of edgekit's own families."""
    chains = {form: replace(chain, families=FAMILIES, otherwise=None) for form, chain in TEXT.toolchains.items()}
    return Lane(dataset, {**TEXT.common, "teacher": ("teacher_tokens",)}, chains, by_token=True)


#: Bare model files: they are quantised after training, and nothing else.
FILE = Lane(
    dataset="dataset_tensors",
    common={},
    toolchains={
        "ir": Toolchain(
            formats=("dataset", "ir"),
            converters={},
            stages={"teacher": ("teacher_openvino",), "quantize:ptq": ("quantize_ir_file",)},
            families=("onnx", "ir", "keras", "pt2"),
        ),
        "onnx": Toolchain(
            formats=("dataset", "onnx"),
            converters={},
            stages={"teacher": ("teacher_onnx",), "quantize:ptq": ("quantize_onnx_file",)},
            families=("onnx",),
        ),
        "tflite": Toolchain(
            formats=("dataset", "tflite"),
            converters={},
            stages={"teacher": ("teacher_tflite",), "quantize:ptq": ("quantize_tflite_file",)},
            families=("keras",),
            otherwise=Toolchain(
                formats=("dataset", "tflite"),
                converters={},
                stages={"teacher": ("teacher_litert_torch",), "quantize:ptq": ("quantize_ai_edge_file",)},
                families=("pt2",),
            ),
        ),
    },
)

#: Images: the classifier is distilled, and trained further, in Keras.
_IMAGE_STEPS = {"sparsify:magnitude": ("sparsify_tfmot_images",)}
IMAGES = Lane(
    dataset="dataset_images",
    common={"teacher": ("teacher_keras",), "distill": ("distill_keras",)},
    toolchains={
        "tflite": Toolchain(
            formats=("dataset", "keras", "tflite"),
            converters={"tflite": "convert_tflite_images"},
            stages={
                **_IMAGE_STEPS,
                "quantize:ptq": ("quantize_tflite_images",),
                "quantize:qat": ("quantize_tfmot_images", "quantize_tflite_images"),
            },
        ),
        "ir": Toolchain(
            formats=("dataset", "keras", "ir"),
            converters={"ir": "convert_openvino_images"},
            stages={
                **_IMAGE_STEPS,
                "quantize:ptq": ("quantize_nncf_images",),
                "quantize:qat": ("quantize_tfmot_images", "quantize_nncf_images"),
            },
        ),
    },
)

#: Task -> its lane.
LANES = dict.fromkeys(("text_classification", "text_regression", "multi_label_classification"), TEXT)
LANES |= {"tensors": FILE, "image_classification": IMAGES}
LANES |= {"question_answering": _by_token("dataset_qa"), "token_classification": _by_token("dataset_tokens")}

#: What each runtime loads, and the distribution that it comes in (its module's FORMAT and PACKAGE; a test compares).
RUNTIME_FORMATS = {"litert": "tflite", "tflite": "tflite", "openvino": "ir", "onnxruntime": "onnx"}
RUNTIME_PACKAGES = {
    "litert": "ai-edge-litert", "tflite": "tflite-runtime", "openvino": "openvino", "onnxruntime": "onnxruntime",
}  # fmt: skip
#: What each runtime computes on, in its own words; of several GPUs one may be named, such as GPU.1.
RUNTIME_DEVICES = {
    "litert": ("CPU",), "tflite": ("CPU",), "openvino": ("CPU", "GPU", "NPU"),
    "onnxruntime": ("CPU", "CUDA", "TENSORRT"),
}  # fmt: skip
