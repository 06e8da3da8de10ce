"""Convert a torch classifier to OpenVINO's IR in float32, one dynamic shape, and check that it answers the same."""

from __future__ import annotations

import re
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..artifact import Artifact, Job, Outcome
from ..errors import StageError
from ..ondevice.runtimes import openvino as runtime
from ..shape import FAMILIES, label_names, read_config
from ..steps import StepOptions
from .text.splits import read_token_ids
from .text.tokens import in_order, load_tokenizer

ACCEPTS = "torch"
PRODUCES = "ir"
USES = ("torch", "transformers", "tokenizers", "safetensors", "openvino")
EXTRA = "openvino"

#: Validation texts that the IR and the torch model must answer alike, and how nearly, in logits.
CHECKED_TEXTS = 32
TOLERANCE = 1e-4

#: What the front end calls the operator of a torch module's dense layer, and of its attention.
_DENSE = re.compile(r"__module\.([\w.]+)/aten::linear/MatMul")
_ATTENTION = re.compile(r"__module\.([\w.]+)/aten::scaled_dot_product_attention/ScaledDotProductAttention")
#: A layer's name, which operators keep; others are numbered.
LAYER_NAME = re.compile(r"[a-z][\w.]*")


class Options(StepOptions):
    """Where texts are cut."""

    max_tokens: int


def run(source: Artifact, options: Options, job: Job) -> Outcome:
    """Write model.xml and model.bin. Raises StageError where the IR's answers are not those of the torch model."""
    model = _read_model(source.path, options.max_tokens)
    network = convert(model)
    save_ir(network, job.work)
    shutil.copyfile(source.path / "tokenizer.json", job.work / "tokenizer.json")
    tokenizer = load_tokenizer(job.work / "tokenizer.json", options.max_tokens)
    token_ids = read_token_ids(job, tokenizer, "validation", CHECKED_TEXTS)
    difference = _difference(model, job.work / "model.xml", token_ids, options.max_tokens)
    if not difference <= TOLERANCE:  # nor NaN
        raise StageError(
            f"{source.path}: converted to IR and padded to {options.max_tokens} tokens, its logits differ by "
            f"{difference:.3g} from those of PyTorch; at most {TOLERANCE} is rounding"
        )
    return Outcome({"bytes": ir_bytes(job.work), "max_abs_diff": difference})


def _read_model(folder: Path, max_tokens: int) -> Any:
    """The folder's classifier as a module (ids, mask) -> logits."""
    config = read_config(folder)
    if config["model_type"] in FAMILIES:
        from .network.encoder import load_encoder

        return load_encoder(folder)
    from .network.hf_model import load_hf_classifier

    return load_hf_classifier(folder, label_names(config), seed=0, max_tokens=max_tokens)


def convert(model: Any) -> Any:
    """An OpenVINO model of a torch module: int32 `input_ids` and `attention_mask` [batch, tokens] to `logits`."""
    import torch

    openvino = runtime.library()
    example = torch.ones(2, 16, dtype=torch.int32)
    names = ("input_ids", "attention_mask")
    with warnings.catch_warnings():
        # Tracing meets checks of shapes, which become constants, and calls what torch and transformers call deprecated.
        # Whether it matters, the comparison of answers at another length tells.
        warnings.simplefilter("ignore")
        network = openvino.convert_model(
            model.eval(),
            example_input=dict.fromkeys(names, example),
            input=[(name, [-1, -1], openvino.Type.i32) for name in names],
        )
    for name, port in zip((*names, "logits"), (*network.inputs, *network.outputs), strict=True):
        port.get_tensor().set_names({name})
    name_layers(network)
    return network


def name_layers(network: Any) -> None:
    """Give the operators of dense layers and attentions the names of their torch modules: `layers.0.up`.

    An attention is named after the module it stands in: `layers.0.attention`. A module that is used twice has one name.
    """
    taken = set()
    for operation in network.get_ordered_ops():
        found = operation.get_friendly_name()
        dense, attention = _DENSE.fullmatch(found), _ATTENTION.fullmatch(found)
        name = dense.group(1) if dense else f"{attention.group(1)}.attention" if attention else ""
        if name and name not in taken:
            operation.set_friendly_name(name)
            taken.add(name)


def save_ir(network: Any, folder: Path) -> None:
    """Write model.xml and model.bin. Their bytes follow from the model alone.

    OpenVINO numbers models and operations through the life of a process; here each model counts its own. Layers keep
    their names.
    """
    openvino = runtime.library()
    network.set_friendly_name("model")
    for number, operation in enumerate(network.get_ordered_ops()):
        kind = operation.get_type_name()
        if kind != "Parameter" and not is_layer(operation):
            operation.set_friendly_name(f"{kind}_{number}")
    openvino.save_model(network, folder / "model.xml", compress_to_fp16=False)


def is_layer(operation: Any) -> bool:
    """Whether it is the operator of a dense layer or an attention, which has the layer's name."""
    kinds = ("MatMul", "ScaledDotProductAttention")
    return operation.get_type_name() in kinds and bool(LAYER_NAME.fullmatch(operation.get_friendly_name()))


def ir_bytes(folder: Path) -> int:
    """The size of an IR."""
    return sum((folder / name).stat().st_size for name in ("model.xml", "model.bin"))


def _difference(model: Any, ir: Path, token_ids: Sequence[list[int]], max_tokens: int) -> float:
    """The largest difference between the logits of torch, without padding, and of the IR in float32, all padded."""
    from .network.encoder import predict

    expected = predict(model, token_ids, batch_size=1)
    answer = runtime.load(ir, (max_tokens,), "CPU", threads=2, reference=True)
    found = {at: answer(np.array([ids]), np.ones((1, len(ids)), np.int32)) for at, ids in enumerate(token_ids)}
    return float(np.abs(in_order(found, token_ids) - expected).max())
