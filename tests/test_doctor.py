from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from importlib import metadata

import pytest

from edgekit.doctor import DISTRIBUTIONS, examine, known_problems, read_cpu, read_memory_mb
from edgekit.stages import STAGES, load_stage

X86 = """processor\t: 0
model name\t: Intel(R) Xeon(R) Platinum 8481C
flags\t\t: fpu sse4_2 avx2 avx512f avx512_vnni avx_vnni avx512_bf16 amx_int8 amx_bf16

processor\t: 1
model name\t: another
flags\t\t: fpu
"""
PI_5 = """processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41
CPU part\t: 0xd0b

Hardware\t: BCM2835
Model\t\t: Raspberry Pi 5 Model B Rev 1.0
"""


def test_an_x86_processor() -> None:
    cpu = read_cpu(X86, 2)
    assert cpu.model == "Intel(R) Xeon(R) Platinum 8481C"
    assert cpu.features == ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
    assert cpu.cores == 2


def test_an_arm_processor() -> None:
    cpu = read_cpu(PI_5, 4)
    assert cpu.model == "Raspberry Pi 5 Model B Rev 1.0"
    assert cpu.features == ("asimd", "asimdhp", "asimddp")


def test_memory_is_unknown_where_it_is_not_said() -> None:
    assert read_memory_mb("MemTotal:        8000000 kB\nMemFree: 1 kB\n") == 8192
    assert read_memory_mb("") is None


@pytest.mark.parametrize(
    ("versions", "python", "said"),
    [
        ({"numpy": "2.1.0", "tflite-runtime": "2.14.0"}, (3, 11), "pip install 'numpy<2'"),
        ({"numpy": "1.26.4", "tflite-runtime": "2.14.0"}, (3, 11), None),
        ({"numpy": "1.26.4", "pyarrow": "26.0.0"}, (3, 11), "pip install 'pyarrow<26'"),
        ({"numpy": "1.26.4", "pyarrow": "25.0.1"}, (3, 11), None),
        ({"numpy": "2.1.0", "pyarrow": "26.0.0"}, (3, 11), None),
        ({"tensorflow": "2.21.0"}, (3, 11), "pip install 'edgekit[tflite]'"),
        ({"tensorflow": "2.21.0", "tf_keras": "2.21.0"}, (3, 11), None),
        ({"tensorflow": "2.21.0", "tf_keras": "2.20.1"}, (3, 11), "pip install 'tf_keras~=2.21.0'"),
        ({}, (3, 12), "no wheels for Python 3.12"),
        ({"pyarrow": "25.0.1"}, (3, 11), None),
    ],
)
def test_known_problems_name_their_remedy(versions: dict[str, str], python: tuple[int, ...], said: str | None) -> None:
    problems = known_problems(versions, python)
    assert len(problems) == (said is not None)
    assert said is None or said in problems[0]


def test_this_machine() -> None:
    report = examine()
    assert report.cpu.cores >= 1
    assert report.python == ".".join(map(str, sys.version_info[:3]))
    found = {package.name: package.version for package in report.packages}
    assert found["numpy"] == metadata.version("numpy")
    assert [stage.name for stage in report.stages] == list(STAGES)
    for stage in report.stages:
        assert set(stage.missing) == {name for name in load_stage(stage.name).USES if not found[name]}
    json.dumps(asdict(report))


def test_every_distribution_of_a_stage_is_looked_for() -> None:
    used = {name for stage in STAGES for name in load_stage(stage).USES}
    assert used <= set(DISTRIBUTIONS)


def test_no_framework_is_imported() -> None:
    code = "import sys; from edgekit.doctor import examine; examine(); print(sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not [
        name for name in ("torch", "tensorflow", "openvino", "transformers", "pyarrow") if f"'{name}'" in loaded
    ]
