"""What a wheel's file name says of where it runs, and what pip's log says of wheels that are missing."""

from __future__ import annotations

import pytest

from edgekit.errors import StageError
from edgekit.wheels import parse_wheel
from edgekit.wheels.explain import explain
from edgekit.wheels.fetch import applying, platforms

LITERT = "ai_edge_litert-2.3.0-cp311-cp311-manylinux_2_27_aarch64.whl"
NUMPY = "numpy-1.26.4-cp311-cp311-manylinux_2_17_aarch64.manylinux2014_aarch64.whl"
TOKENIZERS = "tokenizers-0.23.3-cp310-abi3-manylinux_2_17_aarch64.manylinux2014_aarch64.whl"


@pytest.mark.parametrize(
    ("file", "on", "not_on"),
    [
        (LITERT, [(3, 11)], [(3, 10), (3, 12)]),
        (TOKENIZERS, [(3, 10), (3, 11), (3, 14)], [(3, 9)]),
        ("pip-26.3-py3-none-any.whl", [(3, 9), (3, 14)], []),
        ("six-1-py2.py3-none-any.whl", [(3, 9)], []),
        ("old-1-py2-none-any.whl", [], [(3, 9)]),
        ("x-1-py310-none-any.whl", [(3, 10), (3, 12)], [(3, 9)]),
        ("x-1-1-cp39.cp310-cp39.cp310-linux_armv7l.whl", [(3, 9), (3, 10)], [(3, 11)]),
        ("x-1-pp310-pypy310_pp73-manylinux_2_17_aarch64.whl", [], [(3, 10)]),
    ],
)
def test_the_pythons_of_a_wheel(file: str, on: list[tuple[int, int]], not_on: list[tuple[int, int]]) -> None:
    wheel = parse_wheel(file)
    assert wheel is not None
    assert [python for python in on if not wheel.runs_on(python)] == []
    assert [python for python in not_on if wheel.runs_on(python)] == []


@pytest.mark.parametrize(
    ("file", "glibc"),
    [
        (LITERT, (2, 27)),
        (NUMPY, (2, 17)),
        ("x-1-cp311-cp311-manylinux_2_27_aarch64.manylinux_2_28_aarch64.whl", (2, 27)),
        ("x-1-py3-none-any.whl", (0, 0)),
        ("x-1-cp311-cp311-linux_aarch64.whl", (0, 0)),
        ("x-1-cp311-cp311-manylinux2014_x86_64.whl", None),
        ("x-1-cp311-cp311-musllinux_1_2_aarch64.whl", None),
        ("x-1-cp311-cp311-macosx_12_0_arm64.whl", None),
    ],
)
def test_the_oldest_c_library_of_a_wheel(file: str, glibc: tuple[int, int] | None) -> None:
    wheel = parse_wheel(file)
    assert wheel is not None
    assert wheel.least_glibc("aarch64") == glibc


@pytest.mark.parametrize("file", ["x-1.tar.gz", "x.whl", "x-1-py3-any.whl", "a-b-c-d-e-f-g.whl"])
def test_what_is_no_wheel(file: str) -> None:
    assert parse_wheel(file) is None


def test_platforms_are_what_a_c_library_runs_the_newest_first() -> None:
    assert platforms("aarch64", "2.18") == [
        "manylinux_2_18_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64", "linux_aarch64",
    ]  # fmt: skip
    assert platforms("x86_64", "2.17")[1:] == [
        "manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64", "linux_x86_64",
    ]  # fmt: skip


def test_a_marker_is_the_devices_and_not_this_machines() -> None:
    older, newer = "numpy<2; python_version < '3.13'", "numpy>=2.1; python_version >= '3.13'"
    assert (applying(older, (3, 9)), applying(newer, (3, 9))) == ("numpy<2", None)
    assert (applying(older, (3, 13)), applying(newer, (3, 13))) == (None, "numpy>=2.1")
    assert applying("tokenizers==0.23.3", (3, 11)) == "tokenizers==0.23.3"
    with pytest.raises(StageError, match="its marker is not one of python_version"):
        applying("x; sys_platform == 'linux'", (3, 11))


def log(*files: str, versions: str = "none", requirement: str = "ai-edge-litert==2.3.0", more: str = "") -> str:
    """As pip 23.2 writes it, shortened."""
    skipped = "".join(
        f"  Skipping link: none of the wheel's tags (…) are compatible (run pip debug): https://files.example/{file} "
        "(from https://pypi.org/simple/x/) (requires-python:>=3.9)\n"
        for file in files
    )
    return (
        f"{skipped}{more}ERROR: Could not find a version that satisfies the requirement {requirement} "
        f"(from versions: {versions})\nERROR: No matching distribution found for {requirement}\nException:\n"
    )


FOR_BOTH = [
    LITERT,
    "ai_edge_litert-2.3.0-cp310-cp310-manylinux_2_27_aarch64.whl",
    "ai_edge_litert-2.3.0-cp311-cp311-manylinux_2_28_x86_64.whl",
    "ai_edge_litert-2.3.0-cp311-cp311-macosx_12_0_arm64.whl",
    "ai_edge_litert-1.0-cp39-cp39-manylinux_2_17_aarch64.whl",
]


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (
            log(*FOR_BOTH, versions="1.0"),
            "no wheel of ai-edge-litert==2.3.0 for Python 3.9 on aarch64 with glibc 2.31; of 2.3.0 there are: "
            "aarch64: Python 3.10, 3.11 (glibc 2.27); x86_64: Python 3.11 (glibc 2.28)",
        ),
        (
            log(*FOR_BOTH[3:4]),
            "no wheel of ai-edge-litert==2.3.0 for Python 3.9 on aarch64 with glibc 2.31; of 2.3.0 there are: none "
            "for Linux",
        ),
        (
            log(FOR_BOTH[4], versions="1, 2, 3, 4, 5, 6", requirement="ai-edge-litert==9"),
            "no wheel of ai-edge-litert==9 for Python 3.9 on aarch64 with glibc 2.31; possible for this machine: "
            "…, 2, 3, 4, 5, 6",
        ),
        (
            log(*FOR_BOTH[:2], requirement="ai-edge-litert>=3"),
            "no wheel of ai-edge-litert>=3 for Python 3.9 on aarch64 with glibc 2.31; of 2.3.0 there are: aarch64: "
            "Python 3.10, 3.11 (glibc 2.27)",
        ),
        (
            log(requirement="nothing==1", more="Could not fetch URL https://pypi.org/simple/nothing/: 404 Client Er\n"),
            "no wheel of nothing==1 for Python 3.9 on aarch64 with glibc 2.31; the index has no wheels of nothing at "
            "all",
        ),
        (
            log(more="Could not fetch URL https://me:secret@index/simple/: connection error: HTTPSConnectionPool\n"),
            "no wheel of ai-edge-litert==2.3.0 for Python 3.9 on aarch64 with glibc 2.31: the index cannot be reached "
            "(https://index/simple/); connect, or name another index (PIP_INDEX_URL) or a folder of wheels "
            "(PIP_FIND_LINKS)",
        ),
        ("Created temporary directory\nERROR: Could not install: No space left on device\n",
         "pip: Could not install: No space left on device"),
        ("", "pip: it said nothing"),
    ],
)  # fmt: skip
def test_a_missing_wheel_is_one_line(said: str, line: str) -> None:
    assert explain(said, (3, 9), "aarch64", "2.31") == line
