"""What this machine has and lacks: processor, memory, frameworks by version, and which stages can run here."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .stages import STAGES, installed_version, load_stage

#: The distributions that edgekit can use -> the extra that installs them; "" comes with edgekit itself.
DISTRIBUTIONS = {
    "numpy": "", "pydantic": "", "click": "", "rich": "",
    "torch": "torch", "transformers": "torch", "tokenizers": "torch", "safetensors": "torch",
    "huggingface-hub": "torch",
    "openvino": "openvino", "nncf": "openvino",
    "tensorflow": "tflite", "tf_keras": "tflite", "tensorflow-model-optimization": "tflite",
    "ai-edge-litert": "tflite", "tflite-runtime": "tflite",
    "onnx": "onnx", "onnxruntime": "onnx",
    "h5py": "images", "keras": "images", "pillow": "images", "scikit-learn": "images",
    "litert-torch": "litert-torch", "ai-edge-quantizer": "litert-torch",
    "datasets": "data", "pyarrow": "data", "zstandard": "archive",
}  # fmt: skip

#: Instructions that make INT8 or bfloat16 faster, as /proc/cpuinfo names them (x86: flags, ARM: Features).
CPU_FEATURES = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16",
                "asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve")  # fmt: skip


@dataclass(frozen=True)
class Cpu:
    """The processor: its name, the features of CPU_FEATURES that it has, and the cores that this process may use."""

    model: str | None
    features: tuple[str, ...]
    cores: int


@dataclass(frozen=True)
class Package:
    """A distribution; `version` None means that it is missing, and `extra` installs it."""

    name: str
    version: str | None
    extra: str


@dataclass(frozen=True)
class Stage:
    """A stage, and the distributions that it lacks here."""

    name: str
    missing: tuple[str, ...]
    extra: str


@dataclass(frozen=True)
class Report:
    """Everything that `examine` finds. `problems` are combinations that are known not to work, one line each."""

    python: str
    system: str
    machine: str
    cpu: Cpu
    memory_mb: int | None
    packages: tuple[Package, ...]
    stages: tuple[Stage, ...]
    problems: tuple[str, ...]


def examine() -> Report:
    """Look at this machine; no framework is imported."""
    packages = tuple(Package(name, installed_version(name), extra) for name, extra in DISTRIBUTIONS.items())
    versions = {package.name: package.version for package in packages if package.version}
    return Report(
        python=platform.python_version(),
        system=f"{platform.system()} {platform.release()}",
        machine=platform.machine(),
        cpu=read_cpu(_read("/proc/cpuinfo"), cores()),
        memory_mb=read_memory_mb(_read("/proc/meminfo")),
        packages=packages,
        stages=tuple(_stage(name) for name in STAGES),
        problems=tuple(known_problems(versions, sys.version_info[:2])),
    )


def cores() -> int:
    """The cores that this process may use, which in a container are fewer than the machine's."""
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def read_cpu(cpuinfo: str, usable: int) -> Cpu:
    """The processor out of /proc/cpuinfo's text; ARM has no 'model name', there the board's 'Model' stands in."""
    fields: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        key, found, value = line.partition(":")
        if found:
            fields.setdefault(key.strip(), value.strip())
    flags = (fields.get("flags") or fields.get("Features") or "").split()
    model = fields.get("model name") or fields.get("Model") or platform.processor() or None
    return Cpu(model, tuple(name for name in CPU_FEATURES if name in flags), usable)


def read_memory_mb(meminfo: str) -> int | None:
    """Total memory in MB (10^6 bytes) out of /proc/meminfo's text, which counts in KiB; None where it is not said."""
    for line in meminfo.splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024 // 1_000_000
    return None


def known_problems(versions: Mapping[str, str], python: tuple[int, ...]) -> list[str]:
    """Combinations of installed versions that import but do not work, each with its remedy."""
    numpy, pyarrow = _major(versions, "numpy"), _major(versions, "pyarrow")
    problems = []
    if numpy >= 2 and "tflite-runtime" in versions:
        problems.append(
            f"tflite-runtime {versions['tflite-runtime']} fails with numpy {versions['numpy']} "
            "(_ARRAY_API not found): pip install 'numpy<2'"
        )
    if numpy == 1 and pyarrow >= 26:
        problems.append(
            f"pyarrow {versions['pyarrow']} refuses numpy {versions['numpy']} at import: pip install 'pyarrow<26'"
        )
    if "tensorflow" in versions and "tf_keras" not in versions:
        problems.append(
            "tensorflow without tf_keras brings Keras 3, which tensorflow-model-optimization cannot use: "
            "pip install 'edgekit[tflite]'"
        )
    if "tf_keras" in versions and "tensorflow" in versions:
        wanted = ".".join(versions["tensorflow"].split(".")[:2])
        if not versions["tf_keras"].startswith(f"{wanted}."):
            problems.append(
                f"tf_keras {versions['tf_keras']} belongs to another tensorflow: pip install 'tf_keras~={wanted}.0'"
            )
    if python >= (3, 12) and "tflite-runtime" not in versions:
        found = ".".join(map(str, python))
        problems.append(
            f"tflite-runtime has no wheels for Python {found}: artifacts for it cannot be checked; use 3.11"
        )
    return problems


def _stage(name: str) -> Stage:
    module = load_stage(name)
    return Stage(name, tuple(p for p in module.USES if installed_version(p) is None), module.EXTRA)


def _major(versions: Mapping[str, str], name: str) -> int:
    """The first number of a version; 0 where the distribution is missing."""
    return int(versions[name].split(".")[0]) if name in versions else 0


def _read(path: str) -> str:
    """A file of /proc; empty on a system without it."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
