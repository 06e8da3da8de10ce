"""ONNX models: made from a torch module, folded into a plain graph, and halved in precision.

Opset 17 is the newest that TensorRT 8.6 reads whole, and has LayerNormalization as one operator (onnx/onnx,
docs/Operators.md; onnx/onnx-tensorrt 8.6, docs/operators.md). Token ids are int32, which TensorRT computes in.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import StageError
from ...ondevice.runtimes import onnxruntime as runtime
from ...ondevice.runtimes.onnx_session import HALF_MARK, failures

OPSET = 17
INPUTS = ("input_ids", "attention_mask")
OUTPUT = "logits"
#: A protocol buffer holds no more than 2 GB, and weights in a second file can be lost: bytes.
LARGEST = 2_000_000_000
#: What masked scores become: e^-10000 is 0 in every precision, and float16, which ends at 65504, still holds it.
MASKED = -1e4


def export(model: Any, path: Path) -> None:
    """Write a torch module's graph: `input_ids` and `attention_mask` [batch, tokens] to `logits`."""
    import torch

    example = torch.ones(2, 16, dtype=torch.int32)
    open_axes = {name: {0: "batch", 1: "tokens"} for name in (*INPUTS, OUTPUT)}
    with torch.inference_mode():
        if model.eval()(example, example).ndim == 2:  # one row of logits for a text, not for each token
            del open_axes[OUTPUT][1]
    with warnings.catch_warnings(), _plain_operators():
        # Tracing meets checks of shapes, which become constants, and calls what torch and transformers call deprecated.
        # Whether it matters, the comparison of answers at another length tells.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model.eval(), (example, example), path, dynamo=False, opset_version=OPSET, input_names=list(INPUTS),
            output_names=[OUTPUT], dynamic_axes=open_axes,
        )  # fmt: skip
    model.eval()  # exporting gives a module back as it was marked, and its parts with it


@contextmanager
def _plain_operators() -> Iterator[None]:
    """While a module is traced, attention and reshaping become few operators, which runtimes know as a pattern."""
    import torch
    from torch.nn import functional

    def attention(
        query: Any, key: Any, value: Any, attn_mask: Any = None, *_: Any, scale: Any = None, **__: Any
    ) -> Any:
        scores = (query * (scale or int(query.shape[-1]) ** -0.5)) @ key.transpose(-1, -2)
        if attn_mask is not None:
            is_bool = attn_mask.dtype == torch.bool
            scores = scores.masked_fill(~attn_mask, MASKED) if is_bool else scores + attn_mask
        return scores.softmax(-1) @ value

    def unflatten(x: Any, dim: int, sizes: Any) -> Any:
        return x.reshape(*x.shape[:dim], *sizes, *(x.shape[dim:][1:]))

    def flatten(x: Any, start_dim: int = 0, end_dim: int = -1) -> Any:
        if end_dim != -1 or not start_dim:
            return torch.flatten(x, start_dim, end_dim)
        return x.reshape(*x.shape[:start_dim], math.prod(int(size) for size in x.shape[start_dim:]))

    plain = {
        (functional, "scaled_dot_product_attention"): attention,
        (torch.Tensor, "unflatten"): unflatten,
        (torch.Tensor, "flatten"): flatten,
    }
    own = {place: getattr(*place) for place in plain}
    try:
        for place, operator in plain.items():
            setattr(*place, operator)
        yield
    finally:
        for place, operator in own.items():
            setattr(*place, operator)


def fold(path: Path, named: object = "convert") -> Any:
    """The model of a file with its constants computed, by ONNX Runtime's basic optimisations: standard operators only.

    Raises StageError where the runtime cannot load it, with what is `named`.
    """
    import onnx

    onnxruntime = runtime.library()
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 3
    folded = path.with_suffix(".folded")
    options.optimized_model_filepath = str(folded)
    try:
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        model = onnx.load(folded)
    except failures() as error:
        said = " ".join(str(error).split()).replace(str(path), path.name)
        if lacking := re.search(r"No Op registered for (\w+) with domain_version of (\d+)", said):
            said = f"opset {lacking[2]} has no operator {lacking[1]}; possible: export it with ONNX's own alone"
        raise StageError(f"{named}: ONNX Runtime cannot load the graph: {said:.300}") from None
    finally:
        folded.unlink(missing_ok=True)
    foreign = {node.domain for node in model.graph.node} - {""}
    if foreign:
        raise StageError(f"{named}: operators of {', '.join(sorted(foreign))} are not ONNX's own")
    keep_standard(model)
    return model


def keep_standard(model: Any) -> None:
    """Leave ONNX's own operators as the only ones that the model asks for, and nothing of who made it."""
    opset = next(used for used in model.opset_import if used.domain in ("", "ai.onnx"))
    version = opset.version
    del model.opset_import[:]
    model.opset_import.add(domain="", version=version)
    model.producer_name = model.producer_version = ""


def write_model(model: Any, path: Path) -> None:
    """Write the model, weights and all, as one file: the same model gives the same bytes.

    Raises StageError where it breaks ONNX's rules.
    """
    import onnx

    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise StageError(f"{path.name}: not a valid ONNX model: {' '.join(str(error).split())}") from None
    path.write_bytes(model.SerializeToString(deterministic=True))


def layer_of(node: Any) -> str:
    """The layer that an exported operator is of: `layers.0.query` for /layers.0/query/MatMul; "" for none."""
    module = node.name.strip("/").rpartition("/")[0]
    return str(module.replace("/", "."))


def layers(model: Any) -> dict[str, str]:
    """The dense layers, with the name of their MatMul or Gemm, in the order in which they compute."""
    weights = {value.name for value in model.graph.initializer}
    weights |= {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    dense = (n for n in model.graph.node if n.op_type in ("MatMul", "Gemm") and n.input[1] in weights)
    return {name: node.name for node in dense if (name := layer_of(node))}


def halve(model: Any) -> None:
    """Let the model compute in float16, in place: weights and constants too. Its logits stay float32.

    What lies beyond float16's range (65504) ends at its limit, and numbers without fractions stay as they are.
    """
    from onnx import AttributeProto, TensorProto, helper

    graph = model.graph
    for tensor in graph.initializer:
        _halve_tensor(tensor)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR:
                _halve_tensor(attribute.t)
            elif node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.FLOAT16
    del graph.value_info[:]
    for port in graph.output:
        inner = f"{port.name}_float16"
        for node in graph.node:
            node.output[:] = [inner if name == port.name else name for name in node.output]
            node.input[:] = [inner if name == port.name else name for name in node.input]
        graph.node.append(helper.make_node("Cast", [inner], [port.name], name=f"/{port.name}", to=TensorProto.FLOAT))
    mark = model.metadata_props.add()
    mark.key, mark.value = HALF_MARK, "1"


def _halve_tensor(tensor: Any) -> None:
    from onnx import TensorProto, numpy_helper

    if tensor.data_type != TensorProto.FLOAT:
        return
    limit = float(np.finfo(np.float16).max)
    half = np.clip(numpy_helper.to_array(tensor), -limit, limit).astype(np.float16)
    tensor.CopyFrom(numpy_helper.from_array(half, tensor.name))
