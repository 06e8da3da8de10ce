"""The on-device package stands alone, and runs on the oldest Python that a device may have."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "edgekit" / "ondevice"
SOURCES = sorted(PACKAGE.rglob("*.py"))
OUTSIDE = {
    "numpy",
    "tokenizers",
    "ai_edge_litert",
    "tflite_runtime",
    "openvino",
    "onnxruntime",
    "mlperf_loadgen",
    "PIL",
}
RUNTIME_LIBRARIES = OUTSIDE - {"numpy"}


def name(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_imports_the_standard_library_numpy_and_a_runtime_only(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            tops = {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            tops = {str(node.module).partition(".")[0]}
        elif isinstance(node, ast.ImportFrom):
            assert path.parents[node.level - 1].is_relative_to(PACKAGE), "a relative import leads out of the package"
            continue
        else:
            continue
        assert tops <= sys.stdlib_module_names | OUTSIDE
        if node.col_offset == 0:
            assert not tops & RUNTIME_LIBRARIES, "a runtime is imported where it is used"


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_is_python_3_9(path: Path) -> None:
    tree = ast.parse(path.read_text(), feature_version=(3, 9))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert not [c for c in calls if any(k.arg == "strict" for k in c.keywords)], "zip(strict=) is Python 3.10's"
    # `int | None` is fine in an annotation, which is never evaluated, and nowhere else.
    assert "from __future__ import annotations" in path.read_text() or not calls
    aliases = [node.value for node in tree.body if isinstance(node, ast.Assign)]
    assert not [n for a in aliases for n in ast.walk(a) if isinstance(n, ast.BinOp) and isinstance(n.op, ast.BitOr)]


def test_every_runtime_is_in_the_tuple() -> None:
    from edgekit.ondevice.runtimes import RUNTIMES, load_runtime

    offered = {path.stem for path in (PACKAGE / "runtimes").glob("*.py") if "\ndef load(" in path.read_text()}
    assert set(RUNTIMES) == offered
    for runtime in RUNTIMES:
        module = load_runtime(runtime)
        assert isinstance(module.FORMAT, str)
        assert isinstance(module.PACKAGE, str)
        assert callable(module.version)
