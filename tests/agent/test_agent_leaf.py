"""The agent stands alone: the standard library of Python 3.9, and nothing of a bundle."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "edgekit" / "agent"
SOURCES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.name)
def test_imports_the_standard_library_only(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            assert {alias.name.partition(".")[0] for alias in node.names} <= sys.stdlib_module_names
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            assert str(node.module).partition(".")[0] in sys.stdlib_module_names
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 1, "a relative import leads out of the package"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.name)
def test_is_python_3_9(path: Path) -> None:
    tree = ast.parse(path.read_text(), feature_version=(3, 9))
    assert not [n for n in ast.walk(tree) if isinstance(n, ast.Call) and any(k.arg == "strict" for k in n.keywords)]
    decorators = [d for n in ast.walk(tree) if isinstance(n, ast.ClassDef) for d in n.decorator_list]
    words = [k.arg for d in decorators if isinstance(d, ast.Call) for k in d.keywords]
    assert not {"slots", "kw_only"} & set(words)
    assert "from __future__ import annotations" in path.read_text() or path.name == "__init__.py"
