"""What stands in a .tflite file: its operators and their precision, and how a dense layer gets its float weights back.

The tables are those of tensorflow/lite/schema/schema.fbs, by TensorFlow's own reader and writer.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ...errors import StageError
from .framework import import_keras

DENSE = "FULLY_CONNECTED"
#: Operators that compute nothing: they move numbers, or change how these are written.
MOVES = ("CAST", "CONCATENATION", "DEQUANTIZE", "GATHER", "QUANTIZE", "RESHAPE", "STRIDED_SLICE", "TRANSPOSE")


def operators(content: bytes) -> dict[str, dict[str, int]]:
    """How many operators of the first signature compute in INT8, weights at least, and how many in float32, by name."""
    reader, schema = _tools()
    model = reader.read_model_from_bytearray(bytearray(content))
    graph = model.subgraphs[0]
    counts = {"int8": Counter[str](), "float32": Counter[str]()}
    for operator in graph.operators:
        name = _name(reader, model, operator)
        kinds = {graph.tensors[at].type for at in (*operator.inputs, *operator.outputs) if at >= 0}
        if name in MOVES or not kinds.intersection((schema.TensorType.INT8, schema.TensorType.FLOAT32)):
            continue
        counts["int8" if schema.TensorType.INT8 in kinds else "float32"][name] += 1
    return {kind: dict(sorted(found.items())) for kind, found in counts.items()}


def with_float_layers(content: bytes, matrices: Mapping[str, np.ndarray[Any, Any]]) -> bytes:
    """The file with float32 weights [outputs, inputs] in the dense layers of these names, in every signature.

    The converter has no way to leave single layers out where activations are quantised as they come. Raises
    StageError where it did not write a layer as it used to.
    """
    import_keras()
    reader, schema = _tools()
    model = reader.read_model_from_bytearray(bytearray(content))
    plain = _plain_code(model, schema)
    for layer, matrix in matrices.items():
        buffer = None
        for graph in model.subgraphs:
            (operator, tensor) = _dense(reader, model, graph, layer, matrix.shape)
            operator.opcodeIndex = plain
            operator.builtinOptions.asymmetricQuantizeInputs = False
            tensor.type, tensor.quantization = schema.TensorType.FLOAT32, None
            if buffer is None:
                buffer = tensor.buffer
                model.buffers[buffer].data = np.frombuffer(matrix.astype("<f4").tobytes(), np.uint8)
            elif tensor.buffer != buffer:
                raise StageError(f"keep_float: the weights of {layer} stand in the .tflite more than once")
    return bytes(reader.convert_object_to_bytearray(model))


def _tools() -> tuple[Any, Any]:
    import_keras()
    from tensorflow.lite.python import schema_py_generated
    from tensorflow.lite.tools import flatbuffer_utils

    return flatbuffer_utils, schema_py_generated


def _name(reader: Any, model: Any, operator: Any) -> str:
    return str(reader.opcode_to_name(model, operator.opcodeIndex))


def _plain_code(model: Any, schema: Any) -> int:
    """The number of a dense layer's operator in version 1, which is all float; added to the file's list."""
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    code.version = 1
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def _dense(reader: Any, model: Any, graph: Any, layer: str, shape: tuple[int, ...]) -> tuple[Any, Any]:
    """A layer's operator and its weights: the one of that shape whose tensors bear its name."""
    found = list(_candidates(reader, model, graph, re.compile(rf"(^|[/;]){re.escape(layer)}/"), shape))
    if len(found) != 1:
        raise StageError(f"keep_float: {len(found)} operators of the .tflite are {layer}, expected one")
    return found[0]


def _candidates(
    reader: Any, model: Any, graph: Any, name: re.Pattern[str], shape: tuple[int, ...]
) -> Iterator[tuple[Any, Any]]:
    for operator in graph.operators:
        if _name(reader, model, operator) != DENSE:
            continue
        weights, answer = graph.tensors[operator.inputs[1]], graph.tensors[operator.outputs[0]]
        if tuple(weights.shape) == shape and any(name.search(t.name.decode()) for t in (weights, answer)):
            yield operator, weights
