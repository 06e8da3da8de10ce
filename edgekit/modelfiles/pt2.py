"""A torch ExportedProgram's file (.pt2), checked and copied so that loading the copy runs nothing of its author's.

`torch.export.load` unpickles, evaluates the expressions of open dimensions, compiles guards and calls whatever the
graph names (torch 2.13: export/pt2_archive/_package.py, _export/serde/serialize.py). The copy has the graph as JSON,
its weights as bare bytes, and nothing else: operators of ATen alone, expressions of sums and products alone.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ConfigError

SUFFIX = ".pt2"
#: Schema's ScalarType -> numpy's name (torch/_export/serde/schema.py).
_TYPES = {
    1: "uint8",
    2: "int8",
    3: "int16",
    4: "int32",
    5: "int64",
    6: "float16",
    7: "float32",
    8: "float64",
    12: "bool",
}

#: What a graph may call: these take tensors and numbers, and give such.
_TARGETS = re.compile(
    r"torch\.ops\.(aten|prims)\.\w+\.\w+"
    r"|_operator\.(add|sub|mul|floordiv|truediv|mod|neg|pow|eq|ne|lt|le|gt|ge|and_|or_|getitem)"
    r"|math\.(ceil|floor|trunc)|torch\.sym_(int|float|ite|max|min|not|sum)"
)
#: Operators with words among their arguments, none of which names a file or code.
_WITH_WORDS = re.compile(r"torch\.ops\.aten\.(gelu|einsum|div|div_|pad|grid_sampler|searchsorted|bucketize)\.\w+")
#: Of an expression: the names that it may use, and the characters.
_NAMES = frozenset({
    "Symbol", "Integer", "Mul", "Add", "Pow", "FloorDiv", "CleanDiv", "Mod", "PythonMod", "Max", "Min", "True", "False",
    "integer", "positive", "nonnegative",
})  # fmt: skip
_EXPRESSION = re.compile(r"[\w\s+\-*/(),=']*")

_GRAPH, _VERSION = "models/model.json", "archive_version"
_CONFIGS = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")
_PLAIN = ("archive_format", _VERSION, ".data/version", "byteorder", ".data/serialization_id")
#: The arguments that it was traced with; they are pickled, and empty ones are none.
_SAMPLES = "data/sample_inputs/model.pt"


@dataclass(frozen=True)
class Pt2File:
    """What a file says of its program, all of it checked."""

    inputs: tuple[tuple[str, str, tuple[int | None, ...]], ...]  # name, numpy's type, shape; None: open


def read_pt2_file(path: Path) -> Pt2File:
    """Raises ConfigError for another or a damaged file, and for all that could run code."""
    _, program = _read(path)
    try:
        graph = program["graph_module"]["graph"]
        wanted = [
            spec["user_input"]["arg"]
            for spec in program["graph_module"]["signature"]["input_specs"]
            if "user_input" in spec
        ]
        inputs = []
        for argument in wanted:
            name = argument["as_tensor"]["name"] if "as_tensor" in argument else ""
            if not name:
                raise ConfigError(f"{path}: takes {next(iter(argument))[3:]} beside tensors; possible: tensors alone")
            facts = graph["tensor_values"][name]
            if facts["dtype"] not in _TYPES:
                raise ConfigError(f"{path}: input {name}: its type is no type of numbers that runtimes are fed")
            sizes = tuple(size.get("as_int") for size in facts["sizes"])
            inputs.append((name, _TYPES[facts["dtype"]], sizes))
    except (KeyError, TypeError, AttributeError, StopIteration) as error:
        raise ConfigError(f"{path}: damaged, or of a torch that edgekit does not know: no {error}") from None
    return Pt2File(tuple(inputs))


def copy_safely(path: Path, copy: Path) -> None:
    """Write the file's graph and weights, and nothing else of it, as a .pt2. Raises ConfigError as `read_pt2_file`."""
    parts, program = _read(path)
    parts[_GRAPH] = json.dumps(program).encode()
    parts[_SAMPLES] = b""
    with zipfile.ZipFile(copy, "w", zipfile.ZIP_STORED) as archive:
        for name, content in parts.items():
            archive.writestr(zipfile.ZipInfo(f"{copy.stem}/{name}"), content)


def _read(path: Path) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The records that are let through, by their names, and the program among them, without what it need not say."""
    parts = _records(path)
    problems: list[str] = []
    for config in _CONFIGS:
        for name, facts in _json(path, parts, config).get("config", {}).items():
            if facts.get("use_pickle") is not False or not re.fullmatch(r"(weight|tensor)_\d+", facts["path_name"]):
                problems.append(f"{path}: {name} is a pickle or an object, not plain numbers")
    program = _json(path, parts, _GRAPH)
    program["guards_code"] = []
    for found in _dicts(program):
        if "metadata" in found:
            found["metadata"] = {}
        problems += [f"{path}: {said}" for said in _faults(found)]
    if problems:
        lines = list(dict.fromkeys(problems))[:5]
        raise ConfigError([f"{line}, so it is not loaded; possible: export it to ONNX" for line in lines])
    return parts, program


def _records(path: Path) -> dict[str, bytes]:
    """The contents of the archive by name, without the folder that all of them lie in."""
    try:
        with zipfile.ZipFile(path) as archive:
            named = {name.partition("/")[2]: name for name in archive.namelist()}
            if _GRAPH not in named or _VERSION not in named:
                older = any(name.endswith("serialized_exported_program.json") for name in archive.namelist())
                hint = (
                    " of this version (an older torch pickled the weights: save it with torch 2.9 or newer)"
                    if older
                    else ""
                )
                raise ConfigError(f"{path}: no ExportedProgram{hint}; possible: torch.export.save, or an ONNX export")
            wanted = re.compile(r"data/weights/weight_\d+|data/constants/tensor_\d+")
            keep = {*_PLAIN, *_CONFIGS, _GRAPH}
            return {n: archive.read(full) for n, full in named.items() if n in keep or wanted.fullmatch(n)}
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise ConfigError(f"{path}: damaged, or no ExportedProgram: {error}") from None


def _json(path: Path, parts: dict[str, bytes], name: str) -> dict[str, Any]:
    try:
        content = json.loads(parts[name])
    except (KeyError, ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: damaged: its {name} is missing or cut off")
    return content


def _dicts(part: Any) -> Iterator[dict[str, Any]]:
    """Every object within a JSON value, itself included."""
    pending = [part]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            yield value
            pending += value.values()
        elif isinstance(value, list):
            pending += value


def _faults(found: dict[str, Any]) -> Iterator[str]:
    """What one object of the program says that could run more than arithmetic."""
    target = found.get("target")
    if isinstance(target, str) and "inputs" in found:
        words = any({"as_string", "as_strings"} & set(inner) for inner in _dicts(found["inputs"]))
        if not _TARGETS.fullmatch(target):
            yield f"its graph calls {target[:80]}, which is none of ATen's operators"
        elif words and not _WITH_WORDS.fullmatch(target):
            yield f"its graph calls {target[:80]} with words"
    expression = found.get("expr_str")
    if expression is not None:
        names = set(re.findall(r"[A-Za-z_]\w*", str(expression)))
        strange = {name for name in names - _NAMES if not re.fullmatch(r"[su]\d+", name)}
        if strange or not _EXPRESSION.fullmatch(str(expression)):
            yield f"an open dimension is {str(expression)[:60]!r}, which is no plain expression"
    if found.get("custom_obj_values") or "as_custom_obj" in found or "as_operator" in found:
        yield "it has objects beside tensors"
    if any(isinstance(value, str) and "__enum__" in value for value in found.values()):
        yield "its arguments name classes to import"
