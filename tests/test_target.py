from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.catalog import names
from edgekit.errors import ConfigError
from edgekit.target import load_target

OWN = """
schema = 1
description = "a board"
arch = "aarch64"
buckets = [16, 64]
[runtime]
name = "litert"
version = "2.3.0"
"""


@pytest.mark.parametrize("name", names("targets"))
def test_shipped_targets_load(name: str) -> None:
    assert load_target(name).name == name


def test_extends_lays_one_target_over_another() -> None:
    pi, general = load_target("raspberrypi4"), load_target("arm64-generic")
    assert pi.runtime == general.runtime
    assert pi.buckets == general.buckets
    assert "Cortex-A72" in pi.description


def test_extends_goes_into_tables(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('schema = 1\nextends = "arm64-generic"\ndescription = "x"\n[runtime]\nthreads = 4\n')
    target = load_target(str(path))
    assert (target.runtime.threads, target.runtime.name) == (4, "litert")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (OWN.replace("[16, 64]", "[64, 16]"), "expected rising lengths"),
        (OWN.replace("aarch64", "riscv"), "key 'arch': found 'riscv'"),
        (OWN.replace("version =", "verzion ="), "runtime: unknown key 'verzion'; did you mean 'version'?"),
        ('schema = 1\nextends = "raspberypi"\n', "did you mean 'raspberrypi'?"),
        ("schema = 1\nextends = 3\n", "expected the name of a target"),
    ],
)
def test_refusals(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_target(str(path))
    assert said in str(caught.value)


def test_a_circle_is_refused(tmp_path: Path) -> None:
    one, two = tmp_path / "one.toml", tmp_path / "two.toml"
    one.write_text(f'extends = "{two}"\n')
    two.write_text(f'extends = "{one}"\n')
    with pytest.raises(ConfigError, match="circle: one -> two -> one"):
        load_target(str(one))
