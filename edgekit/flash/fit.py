"""Can this device run this bundle? What speaks against it, each in one line that says what to do."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..bundle import Bundle
from ..inventory import Device
from ..target import Target, load_target
from ..wheels import WheelName, parse_wheel
from ..wheels.name import dotted, parse_version
from .remote import VENV

#: The agent's and the on-device package's.
MIN_PYTHON = (3, 9)
_WHEELS = "wheels/"
#: One name for one kind of processor, whatever system says it.
_ARCHES = {"arm64": "aarch64", "amd64": "x86_64", "armv8l": "armv7l"}
#: Python, numpy, a runtime and a tokenizer, resident, in MB; a model in memory beside its own file takes up to this
#: many times its size while a runtime prepares it.
_PROGRAM_MB, _MODEL_TIMES = 64, 3
#: A clock further off than this gives journals and profiles wrong times.
_CLOCK_S = 60.0


@dataclass(frozen=True)
class OnIndex:
    """What a package's wheels on PyPI ask for: Python from, to; arch -> the least glibc."""

    pythons: tuple[tuple[int, int], tuple[int, int]]
    glibc: Mapping[str, tuple[int, int]]


#: Why an installation would fail, told before anyone tries: from the file names on PyPI of the versions in targets/.
WHEELS = {
    "ai-edge-litert": OnIndex(((3, 10), (3, 14)), {"aarch64": (2, 27), "x86_64": (2, 27)}),
    "tflite-runtime": OnIndex(((3, 8), (3, 11)), {"aarch64": (2, 34), "armv7l": (2, 34), "x86_64": (2, 17)}),
    "openvino": OnIndex(((3, 10), (3, 14)), {"aarch64": (2, 35), "x86_64": (2, 28)}),
    "onnxruntime": OnIndex(((3, 11), (3, 14)), {"aarch64": (2, 28), "x86_64": (2, 28)}),
    "onnxruntime-gpu": OnIndex(((3, 11), (3, 14)), {"aarch64": (2, 34), "x86_64": (2, 28)}),
}


@dataclass(frozen=True)
class Needs:
    """What a bundle needs of a device. `packages` are requirement lines by package."""

    arch: str | None
    runtime: str
    version: str | None
    packages: Mapping[str, tuple[str, ...]]
    model_mb: float
    wheels: tuple[WheelName, ...] = ()


def needs_of(bundle: Bundle) -> Needs:
    """What its manifest and its requirements.txt say."""
    manifest = bundle.manifest
    runtime: Mapping[str, Any] = manifest["runtime"]
    package = str(runtime.get("package", runtime["name"]))
    listed = bundle.path / "requirements.txt"
    lines = listed.read_text(encoding="utf-8").splitlines() if "requirements.txt" in manifest["files"] else [package]
    packages: dict[str, tuple[str, ...]] = {}
    for line in lines:
        if found := re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", line):
            packages[found[0]] = (*packages.get(found[0], ()), line.strip())
    folder = str(manifest["model"]).rpartition("/")[0] + "/"
    model = sum(f["size"] for name, f in manifest["files"].items() if name.startswith(folder) or folder == "/")
    named = (parse_wheel(name.removeprefix(_WHEELS)) for name in manifest["files"] if name.startswith(_WHEELS))
    wheels = tuple(wheel for wheel in named if wheel)
    arch = manifest.get("target", {}).get("arch")
    return Needs(arch, package, runtime.get("version"), packages, model / 1e6, wheels)


def objections(needs: Needs, probe: Mapping[str, Any], device: Device) -> list[str]:
    """Why it cannot work. Empty: nothing is known that speaks against it."""
    machine = [*_machine(needs, probe), *_memory(needs, probe), *_base(probe)]
    return machine or list(_wheels(needs, probe) if needs.wheels else _runtime(needs, probe, device))


def wheel_python(needs: Needs, probe: Mapping[str, Any]) -> str:
    """The first interpreter there that the bundle brings all wheels for; else the probed one."""
    for python in (probe["python"], *probe["pythons"]):
        version = parse_version(str(probe["pythons"].get(python, "")))
        if version and not _without(needs, version):
            return str(python)
    return str(probe["python"])


def lacking(needs: Needs, probe: Mapping[str, Any]) -> list[str]:
    """The packages that the probed interpreter does not have."""
    return [package for package in needs.packages if probe["runtime"].get(package) is None]


def doubts(needs: Needs, probe: Mapping[str, Any], now_unix: float | None = None) -> list[str]:
    """What may be wrong, but is the device's or the golden samples' to tell."""
    found = []
    off = float(probe["time_unix"]) - (time.time() if now_unix is None else now_unix)
    if abs(off) > _CLOCK_S:
        way = "ahead" if off > 0 else "behind"
        found.append(
            f"its clock is {_span(abs(off))} {way} of this machine's, so its journal and profiles tell wrong times: "
            "sudo timedatectl set-ntp true"
        )
    there = None if needs.wheels else probe["runtime"].get(needs.runtime)
    if there and needs.version and there != needs.version:
        found.append(
            f"{needs.runtime} {there} is there, the bundle was validated with {needs.version}: "
            "its golden samples decide"
        )
    return found


def check_target(bundle: Bundle, device: Device) -> list[str]:
    """Why the bundle is not for the target that the inventory says this device is. Raises ConfigError."""
    if device.target is None:
        return []
    target: Target = load_target(device.target)
    made_for = bundle.manifest.get("target", {})
    runtime = str(bundle.manifest["runtime"]["name"])
    runtimes = {target.runtime.name, *target.runtime.also}
    if made_for.get("arch") not in (None, target.arch):
        return [f"the bundle is for {made_for['arch']}, and the inventory says it is {device.target}, {target.arch}"]
    if runtime not in runtimes:
        return [
            f"the bundle runs on {runtime}, and {device.target} on {', '.join(sorted(runtimes))}; build it for that"
        ]
    return []


def _machine(needs: Needs, probe: Mapping[str, Any]) -> Iterator[str]:
    arch = normal_arch(str(probe["arch"]))
    if needs.arch and needs.arch != arch:
        yield f"the bundle is for {needs.arch}, the device is {arch}; build it for a target of that arch"
    version = parse_version(str(probe["pythons"].get(probe["python"], "")))
    if version and version < MIN_PYTHON:
        found = f"{probe['python']} there is Python {dotted(version)}"
        yield f"{found}; needs {dotted(MIN_PYTHON)} or newer (--python names another)"


def _memory(needs: Needs, probe: Mapping[str, Any]) -> Iterator[str]:
    needed = _PROGRAM_MB + _MODEL_TIMES * needs.model_mb
    if probe["memory_mb"] is not None and probe["memory_mb"] < needed:
        yield (
            f"{probe['memory_mb']:.0f} MB of memory, and a model of {needs.model_mb:.1f} MB needs about "
            f"{needed:.0f} MB; build a smaller one"
        )


def _base(probe: Mapping[str, Any]) -> Iterator[str]:
    if not probe["base_writable"]:
        yield f"its folder cannot be written: {probe['problem'] or probe['base']} (--base)"


def _runtime(needs: Needs, probe: Mapping[str, Any], device: Device) -> Iterator[str]:
    missing = lacking(needs, probe)
    if not missing:
        return
    why = list(_uninstallable(missing, probe))
    if why:
        yield from why
        return
    yield (
        f"{', '.join(missing)} not installed for {probe['python']} there; run this on the device, then flash again: "
        f"{install_command(needs.packages, device)}"
    )


def _wheels(needs: Needs, probe: Mapping[str, Any]) -> Iterator[str]:
    """Why the wheels that the bundle brings could not be installed."""
    python, arch = str(probe["python"]), normal_arch(str(probe["arch"]))
    version = parse_version(str(probe["pythons"].get(python, "")))
    name, said = (*probe["libc"], None, None)[:2]
    glibc = parse_version(str(said or ""))
    if name and name != "glibc":
        yield f"the bundle's wheels need glibc, and this system has {name}"
        return
    missing = _without(needs, version) if version else []
    if version and missing:
        yield (
            f"the bundle brings no wheel of {', '.join(missing)} for Python {dotted(version)}, which {python} there "
            f"is; build it with --with-runtime --python {dotted(version)}, or name another there (--python)"
        )
    for wheel in needs.wheels:
        least = wheel.least_glibc(arch)
        if version and wheel.runs_on(version) and glibc and least and glibc < least:
            yield (
                f"the bundle's {wheel.package} needs glibc {dotted(least)} or newer, and this system has {said}; "
                f'build it for a target with [wheels] glibc = "{dotted(glibc)}", or install a newer system'
            )


def _without(needs: Needs, python: tuple[int, int]) -> list[str]:
    """The packages that the bundle brings wheels of, and none for this Python."""
    fits: dict[str, bool] = {}
    for wheel in needs.wheels:
        fits[wheel.package] = fits.get(wheel.package, False) or wheel.runs_on(python)
    return [package for package, is_there in fits.items() if not is_there]


def _uninstallable(missing: Sequence[str], probe: Mapping[str, Any]) -> Iterator[str]:
    """Why pip would find nothing for this device."""
    arch, python = normal_arch(str(probe["arch"])), parse_version(str(probe["pythons"].get(probe["python"], "")))
    name, said = (*probe["libc"], None, None)[:2]
    glibc = parse_version(str(said or ""))
    for package, wheels in ((p, WHEELS[p]) for p in missing if p in WHEELS):
        oldest, newest = wheels.pythons
        least = wheels.glibc.get(arch)
        if least is None:
            yield f"{package} has no wheels for {arch}; possible: {', '.join(wheels.glibc)}"
        elif name and name != "glibc":
            yield f"{package} needs glibc, and this system has {name}"
        elif glibc and glibc < least:
            yield f"{package} needs glibc {dotted(least)} or newer, and this system has {said}; install a newer system"
        elif python and not oldest <= python <= newest:
            yield (
                f"{package} is missing, and has wheels for Python {dotted(oldest)} to {dotted(newest)} only; "
                f"{probe['python']} is {dotted(python)}: name another (--python, or python in the inventory)"
            )


def install_command(packages: Mapping[str, Sequence[str]], device: Device) -> str:
    """The line that gives a device the packages without touching its system's Python; found there by itself later."""
    python = device.python or "python3"
    base = "~/" + shlex.quote(device.base[2:]) if device.base.startswith("~/") else shlex.quote(device.base)
    venv = f"{base}/{VENV.partition('/')[0]}"
    lines = [shlex.quote(line) for lines in packages.values() for line in lines]
    then = f" (and let the inventory's python be {venv}/bin/python)" if device.python else ""
    return f"{python} -m venv {venv} && {base}/{VENV} -m pip install --no-deps {' '.join(lines)}{then}"


def normal_arch(arch: str) -> str:
    """The kernel's word for a processor as targets spell it."""
    return _ARCHES.get(arch.lower(), arch)


def _span(seconds: float) -> str:
    for unit, length in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
