from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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
