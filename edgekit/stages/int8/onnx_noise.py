"""What INT8 costs each layer of an ONNX model, and what float16 costs its answers, text by text on the CPU."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ...ondevice.runtimes import onnxruntime as runtime
from ...ondevice.runtimes.onnx_session import session_options
from ..files.onnx_model import INPUTS, halve, layers
from .layer_noise import Noise

#: Operators that only move numbers, which a quantiser may stand before as well as after.
_MOVING = ("Reshape", "Transpose", "Gather", "Slice", "Squeeze", "Unsqueeze")
#: What NNCF calls the multiplications that SmoothQuant puts before layers.
_SMOOTHING = "nncf_smooth_quant"
#: Calibration texts that both are measured over.
TEXTS = 48

FloatArray = np.ndarray[Any, Any]


def inputs(token_ids: Sequence[int]) -> dict[str, Any]:
    """One text as the model takes it."""
    ids = np.array([token_ids], np.int32)
    return dict(zip(INPUTS, (ids, np.ones_like(ids)), strict=True))


def open_model(model: Any) -> Any:
    """A model in memory, on one thread of the CPU, computed as it is defined."""
    return runtime.library().InferenceSession(
        model.SerializeToString(), session_options(1, plain=True), providers=["CPUExecutionProvider"]
    )


def measure(exact: Any, int8: Any, token_ids: Sequence[Sequence[int]]) -> tuple[Noise, Noise]:
    """The noise in the layers of `int8` as a whole, and of its INT8 layers alone: reading what they read in `exact`.

    NNCF leaves the names of operators and of their outputs as they were.
    """
    names = layers(exact)
    nodes = {node.name: node for node in exact.graph.node}
    rounded = _Rounded(int8)
    read = {name: nodes[node].input[0] for name, node in names.items()}
    made = {name: nodes[node].output[0] for name, node in names.items()}
    weights = _constants(exact)
    float_session = _with_outputs(exact, [*made.values(), *read.values()])
    int8_session = _with_outputs(int8, list(made.values()))
    whole, alone = Noise(), Noise()
    for text in token_ids[:TEXTS]:
        found, rough = (_answers(session, inputs(text)) for session in (float_session, int8_session))
        for name, node in names.items():
            whole.add(name, found[made[name]], rough[made[name]])
            if rounded.reads_int8(node):
                weight = weights[nodes[node].input[1]]
                transposed = _attribute(nodes[node], "transB")
                x, plain = found[read[name]], weight.T if transposed else weight
                own = rounded.weight(node)
                alone.add(name, x @ plain, rounded.activation(node, x) @ (own.T if transposed else own))
    return whole, alone


def half_rounding(exact: Any, token_ids: Sequence[Sequence[int]]) -> float:
    """The largest difference between the logits of a float32 model and of the same in float16."""
    half = type(exact)()
    half.CopyFrom(exact)
    halve(half)
    return largest_difference(exact, half, map(inputs, token_ids[:TEXTS]))


def largest_difference(exact: Any, other: Any, feeds: Iterable[Mapping[str, Any]]) -> float:
    """Between the answers of two models that are alike in their inputs and outputs."""
    sessions = [open_model(model) for model in (exact, other)]
    pairs = (pair for feed in feeds for pair in zip(*(session.run(None, feed) for session in sessions), strict=True))
    return max(float(np.abs(np.subtract(one, two, dtype=np.float64)).max()) for one, two in pairs)


class _Rounded:
    """The quantisers of an INT8 model, at the inputs of its dense layers."""

    def __init__(self, model: Any) -> None:
        self.constants = _constants(model)
        self.nodes = {node.name: node for node in model.graph.node}
        self.makers = {output: node for node in model.graph.node for output in node.output}

    def reads_int8(self, node: str) -> bool:
        """Whether both inputs of this operator were rounded."""
        makers = (self._maker(node, at) for at in (0, 1))
        return all(maker is not None and maker.op_type == "DequantizeLinear" for maker in makers)

    def weight(self, node: str) -> FloatArray:
        """Its weights as they are after rounding."""
        maker = self._maker(node, 1)
        whole = self.constants[maker.input[0]].astype(np.float32)
        scale = self.constants[maker.input[1]]
        if scale.ndim == 0:
            return whole * scale
        shape = [1] * whole.ndim
        shape[_attribute(maker, "axis", 1)] = scale.size
        rounded: FloatArray = whole * scale.reshape(shape)
        return rounded

    def activation(self, node: str, x: FloatArray) -> FloatArray:
        """What it reads, smoothed and rounded as QuantizeLinear does: halves to even, 127 at most; no zero points."""
        back = self._maker(node, 0)
        scale = self.constants[back.input[1]]
        smoother = self._past_moves(self.makers[back.input[0]].input[0])
        if smoother is not None and _SMOOTHING in smoother.name:
            x = x * next(self.constants[name] for name in smoother.input if name in self.constants)
        rounded: FloatArray = np.clip(np.rint(x / scale), -128, 127) * scale
        return rounded

    def _maker(self, node: str, at: int) -> Any:
        """The operator that makes this input, past those that only move numbers; None for a constant."""
        return self._past_moves(self.nodes[node].input[at])

    def _past_moves(self, value: str) -> Any:
        maker = self.makers.get(value)
        while maker is not None and maker.op_type in _MOVING:
            maker = self.makers.get(maker.input[0])
        return maker


def _constants(model: Any) -> Mapping[str, FloatArray]:
    from onnx import numpy_helper

    return {value.name: numpy_helper.to_array(value) for value in model.graph.initializer}


def _attribute(node: Any, name: str, default: int = 0) -> int:
    return next((int(a.i) for a in node.attribute if a.name == name), default)


def _with_outputs(model: Any, names: Sequence[str]) -> Any:
    """The model opened so that it answers these values too."""
    wider = type(model)()
    wider.CopyFrom(model)
    known = {port.name for port in wider.graph.output}
    for name in dict.fromkeys(names):
        if name not in known:
            wider.graph.output.add(name=name)
    return open_model(wider)


def _answers(session: Any, feeds: Mapping[str, Any]) -> dict[str, Any]:
    names = [port.name for port in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))
