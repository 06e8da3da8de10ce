"""Who may import whom, read from the source's own imports; and that nothing heavy loads with the package."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from edgekit.artifact import FORMATS
from edgekit.stages import STAGES, load_stage

PACKAGE = Path(__file__).parents[1] / "edgekit"
HEAVY = {"torch", "tensorflow", "tf_keras", "openvino", "nncf", "transformers", "datasets", "pyarrow", "pandas"}

#: module or folder -> what it may import of edgekit. A folder's entry covers the modules in it.
MAY_IMPORT = {
    "errors": set(),
    "atomic": set(),
    "quiet": set(),
    "steps": set(),
    "artifact": set(),
    "refusals": set(),
    "catalog": {"errors", "refusals"},
    "tomlfile": {"errors"},
    "shape": {"errors"},
    "modelfiles": {"errors", "modelfiles", "shape", "tasks"},
    "store": {"artifact", "atomic", "errors"},
    "recipe": {"catalog", "errors", "steps", "tasks", "tomlfile"},
    "lanes": {"shape"},
    "target": {"catalog", "errors", "steps", "tomlfile"},
    "tables": {"errors"},
    "hub": {"errors", "tables"},
    "inputs": {"errors", "hub", "modelfiles", "shape", "tables", "tasks"},
    "checks": {
        "checks",
        "errors",
        "inputs",
        "lanes",
        "modelfiles",
        "recipe",
        "route",
        "shape",
        "stages",
        "steps",
        "target",
        "tasks",
    },
    "route": {"errors", "lanes", "recipe", "stages", "steps", "target"},
    "plan": {
        "checks",
        "errors",
        "inputs",
        "lanes",
        "ondevice",
        "recipe",
        "refusals",
        "route",
        "stages",
        "steps",
        "target",
        "tomlfile",
    },
    "card": {"artifact"},
    "tarball": {"errors", "ondevice"},
    "bundle": {"artifact", "atomic", "card", "errors", "ondevice", "tarball"},
    "wheels": {"errors", "plan", "stages", "wheels"},
    "build": {"artifact", "bundle", "errors", "lanes", "ondevice", "plan", "quiet", "stages", "store", "wheels"},
    "doctor": {"errors", "stages", "ondevice"},
    "documents": {"errors"},
    "profile": {"documents", "errors", "ondevice", "tomlfile"},
    "measure": {"errors", "meter", "ondevice", "profile"},
    "meter": {"errors", "meter_log", "ondevice", "profile"},
    "meter_log": {"errors"},
    "compare": {"compare", "documents", "emulate", "errors", "ondevice", "profile"},
    "emulate": {"atomic", "bundle", "documents", "emulate", "errors", "ondevice", "profile", "tomlfile"},
    "cost": {"cost", "documents", "errors", "profile", "steps", "target", "tomlfile"},
    "agent": {"agent"},
    "agentfile": {"agent"},
    "devicebase": set(),
    "sign": {"agent", "atomic", "bundle", "errors"},
    "transports": {"errors", "transports"},
    "inventory": {"errors", "tomlfile", "transports"},
    "flash": {
        "agentfile",
        "atomic",
        "bundle",
        "errors",
        "flash",
        "inventory",
        "ondevice",
        "sign",
        "target",
        "transports",
        "wheels",
    },
    "image": {"agent", "agentfile", "atomic", "bundle", "devicebase", "errors", "flash", "image", "sign", "wheels"},
    "export": {"agent", "agentfile", "atomic", "bundle", "devicebase", "errors", "export", "sign"},
    "assess": {"cost", "doctor", "errors", "plan", "profile"},
    "report": {
        "artifact",
        "atomic",
        "bundle",
        "card",
        "compare",
        "cost",
        "documents",
        "emulate",
        "errors",
        "profile",
        "report",
    },
    "tasks": {"errors", "ondevice", "tables", "tasks"},
    "stages": {
        "artifact",
        "atomic",
        "errors",
        "modelfiles",
        "ondevice",
        "shape",
        "stages",
        "steps",
        "tables",
        "tasks",
    },
    "ondevice": {"ondevice"},
    "__init__": set(),
    "__main__": {"cli"},
}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported_rooms(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = path.parents[node.level - 1].relative_to(PACKAGE).parts
            names = [*base, *(node.module or "").split(".")] if node.module else list(base)
            found |= {names[0]} if names and names[0] else {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "edgekit":
            pytest.fail(f"{path}: imports edgekit by its name; use a relative import")
    return found - {"__version__"}


@pytest.mark.parametrize("path", modules(), ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_rooms_are_entered_by_their_doors(path: Path) -> None:
    name = room(path)
    if name == "cli":
        return  # the command line may call everything
    assert name in MAY_IMPORT, f"say in MAY_IMPORT what {name} may import"
    strangers = imported_rooms(path) - MAY_IMPORT[name]
    assert not strangers, f"{path.relative_to(PACKAGE)} imports {', '.join(sorted(strangers))}"


@pytest.mark.parametrize("path", modules(), ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_only_stages_for_training_import_a_framework_at_their_top(path: Path) -> None:
    tops = {
        (alias.name if isinstance(node, ast.Import) else str(node.module)).split(".")[0]
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    if path.parent.parent.name == "stages":
        return  # helpers of stages, which a stage imports inside `run`
    assert not tops & HEAVY


@pytest.mark.parametrize(
    "code",
    [
        "from edgekit.cli import cli; cli.main(['--help'], standalone_mode=False)",
        "from edgekit.stages import STAGES, load_stage; [load_stage(s) for s in STAGES]",
        "import edgekit.plan, edgekit.build, edgekit.store, edgekit.inputs, edgekit.doctor",
    ],
)
def test_nothing_heavy_loads_before_it_is_needed(code: str) -> None:
    report = f"{code}\nimport sys; print(sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_tuple_of_stages_is_what_the_folder_holds() -> None:
    offered = {p.stem for p in (PACKAGE / "stages").glob("*.py") if "\ndef run(" in p.read_text()}
    assert set(STAGES) == offered


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_says_what_it_takes_and_makes(name: str) -> None:
    stage = load_stage(name)
    assert stage.PRODUCES in FORMATS
    assert isinstance(stage.USES, tuple)
    assert stage.EXTRA
    assert stage.Options.model_config["frozen"]
    assert stage.run.__doc__
