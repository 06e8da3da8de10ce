"""What INT8 costs each layer of an IR, by comparing it with the float IR that it was made from, text by text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...ondevice.runtimes import openvino as runtime
from ..convert_openvino import is_layer
from .layer_noise import Noise

#: The noise is measured over so many lengths of calibration texts, and at most so many texts of each.
LENGTHS = 4
TEXTS = 16

#: Operators that only move numbers, which a FakeQuantize may stand before as well as after.
_MOVING = ("Reshape", "Transpose", "Gather", "Slice", "StridedSlice", "Squeeze", "Unsqueeze")
#: Which input of an attention its values are.
_VALUES = 2
#: The model as it is defined, in float32 arithmetic, so that every CPU has the same figures. In OpenVINO 2026.4 that
#: goes for static shapes only: with dynamic ones answers were 11 dB off.
_EXACT = {"INFERENCE_PRECISION_HINT": "f32", "LP_TRANSFORMS_MODE": "NO", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}


def layer_operators(network: Any) -> dict[str, Any]:
    """The operators of a network's dense layers and attentions by layer, in the order in which they compute."""
    return {op.get_friendly_name(): op for op in network.get_ordered_ops() if is_layer(op)}


def float_layers(network: Any) -> list[str]:
    """The layers whose activations are not INT8."""
    layers = layer_operators(network)
    return [name for name, op in layers.items() if not any(_rounding(op, at) for at in range(op.get_input_size()))]


def measure(exact: Any, int8: Any, token_ids: Sequence[Sequence[int]]) -> tuple[Noise, Noise]:
    """The noise in the layers of `int8` as a whole, and alone: where each layer reads what it reads in `exact`.

    Both are OpenVINO models with the same names of operators, as NNCF leaves them.
    """
    openvino = runtime.library()
    exact, whole, alone = exact.clone(), int8.clone(), int8.clone()
    layers = list(layer_operators(exact))
    operators = [layer_operators(network) for network in (exact, whole, alone)]
    answers = [[_answer(own[layer]) for layer in layers] for own in operators]  # while all of them are connected
    without = float_layers(int8)  # none of their own, and nothing to cut them off by
    read = _feed_alone(operators[2], exact)
    networks = []
    for network, ports, sources in zip((exact, whole, alone), answers, (read, (), ()), strict=True):
        inputs = [*network.get_parameters(), *(read.values() if network is alone else ())]
        networks.append(openvino.Model([*ports, *(_port(network, source) for source in sources)], inputs))
    inside, apart = Noise(), Noise()
    for ids in batches(token_ids):
        feeds = in_order(exact, ids, np.ones_like(ids))
        said = answer_exactly(networks[0], feeds)
        expected, activations = said[: len(layers)], said[len(layers) :]
        for noise, network, given in ((inside, networks[1], feeds), (apart, networks[2], [*feeds, *activations])):
            for layer, right, wrong in zip(layers, expected, answer_exactly(network, given), strict=True):
                noise.add(layer, right, right if noise is apart and layer in without else wrong)
    return inside, apart


def batches(token_ids: Sequence[Sequence[int]]) -> list[np.ndarray[Any, np.dtype[np.int32]]]:
    """Texts [texts, tokens] of a few lengths, which lie evenly among the lengths of all."""
    lengths = np.sort([len(ids) for ids in token_ids])
    chosen = {int(part[len(part) // 2]) for part in np.array_split(lengths, LENGTHS) if len(part)}
    return [np.array([ids for ids in token_ids if len(ids) == length][:TEXTS], np.int32) for length in sorted(chosen)]


def in_order(network: Any, ids: np.ndarray[Any, Any], mask: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
    """Ids and mask in the order of a network's inputs."""
    return [{"input_ids": ids, "attention_mask": mask}[port.any_name] for port in network.inputs]


def answer_exactly(network: Any, feeds: Sequence[np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
    """What a network answers as it is defined, in the order of its outputs; `feeds` in that of its inputs."""
    fixed = network.clone()
    fixed.reshape({at: feed.shape for at, feed in enumerate(feeds)})
    request = runtime.library().Core().compile_model(fixed, "CPU", _EXACT).create_infer_request()
    request.infer(dict(enumerate(feeds)))
    return [np.array(request.get_output_tensor(at).data) for at in range(len(request.model_outputs))]


def _answer(operation: Any) -> Any:
    """What a layer answers: its product with the bias added, where there is one."""
    port = operation.output(0)
    readers = [reader.get_node() for reader in port.get_target_inputs()]
    if len(readers) == 1 and readers[0].get_type_name() == "Add":
        others = [v.get_node() for v in readers[0].input_values() if v.get_node() != operation]
        if others and others[0].get_type_name() == "Constant":
            return readers[0].output(0)
    return port


def _port(network: Any, name: str) -> Any:
    return next(op for op in network.get_ordered_ops() if op.get_friendly_name() == name).output(0)


def _rounding(operation: Any, at: int) -> Any | None:
    """The FakeQuantize through which an operator reads its input number `at`; None where that is float or constant."""
    node = operation.input_value(at).get_node()
    while node.get_type_name() in _MOVING:
        node = node.input_value(0).get_node()
    return node if node.get_type_name() == "FakeQuantize" else None


def _feed_alone(layers: Mapping[str, Any], exact: Any) -> dict[str, Any]:
    """Cut an INT8 model into its single layers: what a layer reads, before it is rounded, becomes a new input.

    Answers these inputs by the name of the operator of `exact` whose answer each wants.
    """
    ops = runtime.library().opset13
    known = {op.get_friendly_name(): op for op in exact.get_ordered_ops()}
    cuts: dict[str, tuple[Any, str]] = {}  # by the operator that reads: its input, and the name of what it reads
    for operation in layers.values():
        if operation.get_type_name() == "ScaledDotProductAttention":  # NNCF rounds its queries and keys alone
            values = operation.input_value(_VALUES).get_node().get_friendly_name()
            cuts[operation.get_friendly_name()] = operation.input(_VALUES), values
        for at in range(operation.get_input_size()):
            first = _rounding(operation, at)
            while first and (source := first.input_value(0).get_node()).get_friendly_name() not in known:
                first = source  # what smooths outliers
            if first:
                cuts[first.get_friendly_name()] = first.input(0), source.get_friendly_name()
    inputs: dict[str, Any] = {}
    for number, (port, name) in enumerate(cuts.values()):
        if name not in inputs:
            shape = known[name].get_output_partial_shape(0)
            inputs[name] = ops.parameter(shape, np.float32, name=f"alone {number}")
        port.replace_source_output(inputs[name].output(0))
    return inputs
