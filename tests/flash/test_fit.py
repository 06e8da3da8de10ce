"""What a device must have: each thing that is missing is one line, and what is there is no trouble."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_bundle import make_bundle

from edgekit.errors import ConfigError
from edgekit.flash.fit import (
    WHEELS,
    Needs,
    check_target,
    doubts,
    install_command,
    lacking,
    needs_of,
    objections,
    wheel_python,
)
from edgekit.inventory import Device
from edgekit.transports import parse_address
from edgekit.wheels import parse_wheel

NOW = 1_790_000_000.0
NEEDS = Needs(
    "aarch64", "ai-edge-litert", "2.3.0", {"ai-edge-litert": ("ai-edge-litert==2.3.0",), "numpy": ("numpy<2",)}, 17.0,
)  # fmt: skip
DEVICE = Device("kitchen", parse_address("pi@kitchen"))
#: A Raspberry Pi 4 as `probe` describes it.
PI: dict[str, Any] = {
    "os": "Debian GNU/Linux 12 (bookworm)", "arch": "aarch64", "libc": ["glibc", "2.36"],
    "pythons": {"/usr/bin/python3": "3.11.2"}, "python": "/usr/bin/python3", "free_mb": 20_000.0, "memory_mb": 3976.0,
    "runtime": {"ai-edge-litert": "2.3.0", "numpy": "1.26.4"}, "time_unix": NOW, "current": None, "previous": None,
    "releases": [], "trusts_signed_only": False, "machine": "Raspberry Pi 4 Model B Rev 1.4",
    "base": "/home/pi/.edgekit", "base_writable": True, "problem": None,
}  # fmt: skip
BARE = {"ai-edge-litert": None, "numpy": "1.26.4"}


def test_a_device_that_has_all_is_no_trouble() -> None:
    assert objections(NEEDS, PI, DEVICE) == []
    assert doubts(NEEDS, PI, NOW + 59) == []
    assert objections(NEEDS, {**PI, "arch": "arm64", "memory_mb": None, "libc": ["musl", None]}, DEVICE) == []


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"arch": "x86_64"}, "the bundle is for aarch64, the device is x86_64"),
        ({"arch": "armv7l"}, "the bundle is for aarch64, the device is armv7l"),
        ({"pythons": {"/usr/bin/python3": "3.8.10"}}, "/usr/bin/python3 there is Python 3.8; needs 3.9 or newer"),
        ({"memory_mb": 100.0}, "100 MB of memory, and a model of 17.0 MB needs about 115 MB"),
        ({"base_writable": False, "problem": "/: the file system is read-only"}, "/: the file system is read-only"),
        ({"runtime": BARE}, "ai-edge-litert not installed for /usr/bin/python3 there; run this on the device"),
        (
            {"runtime": BARE, "libc": ["glibc", "2.24"]},
            "ai-edge-litert needs glibc 2.27 or newer, and this system has 2.24",
        ),
        ({"runtime": BARE, "libc": ["musl", None]}, "ai-edge-litert needs glibc, and this system has musl"),
        (
            {"runtime": BARE, "pythons": {"/usr/bin/python3": "3.9.2"}},
            "has wheels for Python 3.10 to 3.14 only; /usr/bin/python3 is 3.9",
        ),
    ],
)
def test_what_cannot_work_is_refused_and_why(changes: dict[str, Any], line: str) -> None:
    found = objections(NEEDS, {**PI, **changes}, DEVICE)
    assert len(found) == 1
    assert line in found[0]


def test_a_32_bit_board_is_told_that_there_are_no_wheels() -> None:
    needs = Needs("armv7l", "ai-edge-litert", "2.3.0", NEEDS.packages, 17.0)
    found = objections(needs, {**PI, "arch": "armv7l", "runtime": BARE}, DEVICE)
    assert found == ["ai-edge-litert has no wheels for armv7l; possible: aarch64, x86_64"]


BROUGHT = [
    "ai_edge_litert-2.3.0-cp311-cp311-manylinux_2_27_aarch64.whl",
    "ai_edge_litert-2.3.0-cp313-cp313-manylinux_2_34_aarch64.whl",
    "tokenizers-0.23.3-cp310-abi3-manylinux_2_17_aarch64.whl",
    "pip-26.3-py3-none-any.whl",
]
WITH_WHEELS = replace(NEEDS, wheels=tuple(wheel for name in BROUGHT if (wheel := parse_wheel(name))))


def test_a_bundle_with_wheels_needs_no_runtime_there() -> None:
    bare = {**PI, "runtime": BARE}
    assert lacking(WITH_WHEELS, bare) == ["ai-edge-litert"]
    assert objections(WITH_WHEELS, bare, DEVICE) == []
    other = {**PI, "runtime": {"ai-edge-litert": "1.0", "numpy": "1.26.4"}}
    assert doubts(WITH_WHEELS, other, NOW) == [], "what is there is not what it will run with"


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"pythons": {"/usr/bin/python3": "3.12.3"}},
            "the bundle brings no wheel of ai_edge_litert for Python 3.12, which /usr/bin/python3 there is; build it "
            "with --with-runtime --python 3.12, or name another there (--python)",
        ),
        ({"libc": ["musl", None]}, "the bundle's wheels need glibc, and this system has musl"),
        (
            {"pythons": {"/usr/bin/python3": "3.13"}, "libc": ["glibc", "2.31"]},
            "the bundle's ai_edge_litert needs glibc 2.34 or newer, and this system has 2.31; build it for a target "
            'with [wheels] glibc = "2.31", or install a newer system',
        ),
    ],
)
def test_wheels_that_do_not_fit_do_not_travel(changes: dict[str, Any], line: str) -> None:
    assert objections(WITH_WHEELS, {**PI, "runtime": BARE, **changes}, DEVICE) == [line]


def test_the_python_that_the_wheels_are_for_is_found() -> None:
    pythons = {"/usr/bin/python3": "3.12.3", "/usr/local/bin/python3.11": "3.11", "/opt/bin/python3.13": "3.13"}
    assert wheel_python(WITH_WHEELS, {**PI, "pythons": pythons}) == "/usr/local/bin/python3.11"
    del pythons["/usr/local/bin/python3.11"], pythons["/opt/bin/python3.13"]
    assert wheel_python(WITH_WHEELS, {**PI, "pythons": pythons}) == "/usr/bin/python3"


@pytest.mark.parametrize(
    ("off", "line"),
    [(-3 * 86400, "its clock is 3 days behind"), (7200, "2 hours ahead"), (-1_790_000_000, "20718 days behind")],
)
def test_a_wrong_clock_is_said_and_does_not_stop(off: float, line: str) -> None:
    probe = {**PI, "time_unix": NOW + off}
    assert line in doubts(NEEDS, probe, NOW)[0]
    assert objections(NEEDS, probe, DEVICE) == []


def test_another_version_of_the_runtime_is_the_golden_samples_to_judge() -> None:
    probe = {**PI, "runtime": {"ai-edge-litert": "2.1.0", "numpy": "1.26.4"}}
    assert doubts(NEEDS, probe, NOW) == [
        "ai-edge-litert 2.1.0 is there, the bundle was validated with 2.3.0: its golden samples decide"
    ]
    assert objections(NEEDS, probe, DEVICE) == []


def test_the_line_that_installs_can_be_pasted() -> None:
    device = Device("x", parse_address("pi@x"), base="/opt/my edge", python="/usr/bin/python3.11")
    assert install_command({"a": ("a==1; python_version < '3'",)}, device) == (
        "/usr/bin/python3.11 -m venv '/opt/my edge'/venv && '/opt/my edge'/venv/bin/python -m pip install --no-deps "
        "'a==1; python_version < '\"'\"'3'\"'\"'' (and let the inventory's python be '/opt/my edge'/venv/bin/python)"
    )


def test_needs_are_read_from_the_bundle(tmp_path: Path) -> None:
    lines = "rt==1.5\nnumpy>=1.22,<2; python_version < '3.13'\nnumpy>=2.1; python_version >= '3.13'\n"
    bundle = make_bundle(
        tmp_path / "b", requirements=lines, size=2_000_000, target={"arch": "aarch64"},
        runtime={"name": "r", "package": "rt", "version": "1.5"},
    )  # fmt: skip
    needs = needs_of(bundle)
    assert (needs.arch, needs.runtime, needs.version, needs.wheels) == ("aarch64", "rt", "1.5", ())
    assert needs.model_mb == 2.0
    assert {package: len(found) for package, found in needs.packages.items()} == {"rt": 1, "numpy": 2}


def test_a_bundle_of_another_target_is_refused(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "b", target={"arch": "aarch64"}, runtime={"name": "litert", "version": "2.3.0"})

    def check(target: str | None) -> list[str]:
        return check_target(bundle, Device("kitchen", DEVICE.address, target=target))

    assert check(None) == check("raspberrypi4") == []
    assert check("intel-cpu") == ["the bundle is for aarch64, and the inventory says it is intel-cpu, x86_64"]
    other = make_bundle(tmp_path / "o", target={"arch": "aarch64"}, runtime={"name": "openvino", "version": "1"})
    (line,) = check_target(other, Device("kitchen", DEVICE.address, target="raspberrypi4"))
    assert re.match("the bundle runs on openvino, and raspberrypi4 on litert", line)
    with pytest.raises(ConfigError, match="no target 'raspberypi4'; did you mean 'raspberrypi4'"):
        check("raspberypi4")


def test_known_wheels_are_of_packages_that_runtimes_name() -> None:
    from edgekit.ondevice.runtimes import RUNTIMES, load_runtime

    modules = [load_runtime(name) for name in RUNTIMES]
    others = {package for module in modules for package in getattr(module, "DEVICE_PACKAGES", {}).values()}
    assert set(WHEELS) == {module.PACKAGE for module in modules} | others
