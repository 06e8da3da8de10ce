"""Quantisation-aware training of the encoder by NNCF: where roundings stand, how they train, and their IR.

Jacob et al. 2018, arXiv:1712.05877; ranges train along (Esser et al. 2019, arXiv:1902.08153). Only `run` functions
import this module.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...ondevice.runtimes import openvino as runtime
from ..convert_openvino import convert, is_layer
from ..network.encoder import Encoder
from .nncf_words import NncfQuantize, arguments, library

#: What the front end calls the product of an attention's queries and keys, of its two the one in INT8.
_SCORES = re.compile(r"__module\.encoder\.([\w.]+)/aten::matmul/MatMul")


class Steady(nn.Module):  # type: ignore[misc]
    """An encoder that computes attention step by step also in evaluation, so that its roundings stand there as well."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.eval()

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Token ids and mask to logits, as the encoder does."""
        return self.encoder(input_ids, attention_mask)

    def train(self, mode: bool = True) -> Steady:
        """As torch has it, but for the layers' own choice of how to compute attention."""
        super().train(mode)
        for layer in self.encoder.layers:
            layer.training = True
        return self


def insert_roundings(
    encoder: Encoder, token_ids: Sequence[Sequence[int]], options: NncfQuantize, float_names: Sequence[str], feed: Any
) -> Any:
    """The encoder with NNCF's roundings of weights and activations, their ranges fixed over these texts.

    Token vectors have none: they are rounded once. `feed` makes a text's ids and mask of its token ids.
    """
    nncf = library()
    _use_torch_formulas()
    nodes = [node for name in float_names for node in node_names(name, len(encoder.layers))]
    known = arguments(options, len(token_ids), nodes, types=["embedding"])
    return nncf.quantize(Steady(encoder), nncf.Dataset(token_ids, feed), **known)


def node_names(layer: str, layers: int) -> list[str]:
    """What NNCF calls the operations of a layer, which it numbers in the order in which they compute."""
    _, _, number = layer.partition("layers.")
    if not number:
        return [f"encoder/{layer}/linear/0"]
    at, part = number.split(".")
    if part == "attention":
        return [f"encoder/matmul/{2 * int(at)}", f"encoder/matmul/{2 * int(at) + 1}"]
    return [f"encoder/{part}/linear/{at}"]


def _use_torch_formulas() -> None:
    """Let NNCF round by its formulas in torch.

    Otherwise it would compile C++ when it first rounds: into the user's home folder, within 60 seconds or not at all,
    and where there is no compiler it would answer by these formulas, so that bytes would hang on the machine.
    """
    from nncf.torch.quantization import extensions, reference

    formulas = reference.torch_executor
    extensions.QuantizedFunctionsCPU._loaded_namespace = SimpleNamespace(
        Quantize_forward=formulas.forward, Quantize_backward=formulas.backward
    )


def round_rows(table: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Token vectors as INT8 in -127 … 127, and a float32 scale for each; a vector of zeros has the scale 1."""
    largest = np.abs(table).max(axis=1, keepdims=True)
    scale = np.where(largest > 0, largest / 127, 1).astype(np.float32)
    return np.round(table / scale).astype(np.int8), scale


def settle_tokens(encoder: Encoder) -> None:
    """Round an encoder's token vectors in place."""
    values, scale = round_rows(encoder.word.weight.detach().numpy())
    with torch.no_grad():
        encoder.word.weight.copy_(torch.from_numpy(values * scale))


def to_ir(model: Any) -> Any:
    """The IR of a model with roundings: INT8 constants, and INT8 token vectors that are scaled once looked up."""
    from openvino._offline_transformations import compress_quantize_weights_transformation

    network = convert(model)
    _name_by_encoder(network)
    compress_quantize_weights_transformation(network)
    _look_up_int8(network, model.encoder.word.weight.detach().numpy())
    return network


def to_float_ir(model: Any) -> Any:
    """The IR of the same model without its roundings: the same parameters, and the same names of operators."""
    from nncf.torch.quantization.layers import BaseQuantizer

    rounding = [module for module in model.modules() if isinstance(module, BaseQuantizer)]
    for module in rounding:
        module.disable_quantization()
    network = convert(model)
    for module in rounding:
        module.enable_quantization()
    _name_by_encoder(network)
    return network


def _name_by_encoder(network: Any) -> None:
    """Layers are named as in the encoder; of an attention, the scores."""
    for operation in network.get_ordered_ops():
        found = operation.get_friendly_name()
        scores = _SCORES.fullmatch(found)
        if scores:
            operation.set_friendly_name(f"{scores.group(1)}.attention")
        elif is_layer(operation):
            operation.set_friendly_name(found.removeprefix("encoder."))


def _look_up_int8(network: Any, table: np.ndarray[Any, Any]) -> None:
    """Put INT8 rows and their scales in the place of the token vectors."""
    ops = runtime.library().opset13
    values, scale = round_rows(table)
    for lookup in network.get_ordered_ops():
        if lookup.get_type_name() != "Gather" or list(lookup.get_input_shape(0)) != list(table.shape):
            continue
        token_ids, axis = lookup.input_value(1), lookup.input_value(2)
        rows = ops.convert(ops.gather(ops.constant(values), token_ids, axis), "f32")
        lookup.output(0).replace(ops.multiply(rows, ops.gather(ops.constant(scale), token_ids, axis)).output(0))
        break
    network.validate_nodes_and_infer_types()
