from __future__ import annotations

import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from edgekit.stages import installed_version

PACKAGE = Path(__file__).parents[1] / "edgekit"


def digests(root: Path) -> dict[str, str]:
    code = "from edgekit.stages import STAGES, code_digest; print(*(f'{s}={code_digest(s)}' for s in STAGES))"
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    return dict(pair.split("=") for pair in done.stdout.split())


@pytest.mark.parametrize(
    ("changed", "stages"),
    [
        ("cli/build.py", set()),
        (
            "ondevice/runtimes/litert.py",
            {
                "convert_litert_torch",
                "quantize_ai_edge_file",
                "quantize_ir_file",
                "quantize_tflite_file",
                "teacher_litert_torch",
                "teacher_onnx",
                "teacher_openvino",
                "teacher_tflite",
                "validate",
            },
        ),
        ("ondevice/verify.py", {"validate"}),
        ("stages/prune_torch.py", {"prune_torch"}),
        ("stages/pruning/latency_table.py", set()),  # its digest is an option of steps that measure latencies
        (
            "stages/learning/loop.py",
            {
                "teacher_hf",
                "teacher_tokens",
                "distill_torch",
                "prune_torch",
                "sparsify_nncf",
                "quantize_nncf_torch",
            },
        ),
        ("tasks/sample.py", {"dataset_text"}),
    ],
)
def test_changed_code_means_another_key_for_the_stages_that_run_it(
    changed: str, stages: set[str], tmp_path: Path
) -> None:
    shutil.copytree(PACKAGE, tmp_path / "edgekit", ignore=shutil.ignore_patterns("__pycache__"))
    before = digests(tmp_path)
    with (tmp_path / "edgekit" / changed).open("a") as file:
        file.write("# changed\n")
    after = digests(tmp_path)
    assert {stage for stage in before if before[stage] != after[stage]} == stages


def test_a_library_may_come_by_another_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "onnxruntime-gpu":
            return "1.2"
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    plain = installed_version.__wrapped__
    monkeypatch.setattr("edgekit.stages.installed_version", plain)
    assert [plain(name) for name in ("onnxruntime", "onnxruntime-gpu", "nncf")] == ["1.2", "1.2", None]


def test_what_measures_latencies_hangs_on_every_runtime(tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / "edgekit", ignore=shutil.ignore_patterns("__pycache__"))
    code = "from edgekit.stages import code_digest; print(code_digest('pruning.latency_table'))"
    said = []
    for _ in range(2):
        said.append(subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=True).stdout)
        with (tmp_path / "edgekit/ondevice/runtimes/litert.py").open("a") as file:
            file.write("# changed\n")
    assert said[0] != said[1]
