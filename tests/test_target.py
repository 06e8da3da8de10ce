from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from edgekit.catalog import aliases, names
from edgekit.errors import ConfigError
from edgekit.refusals import hardware
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


def test_an_alias_leads_to_its_target_and_is_not_inherited(tmp_path: Path) -> None:
    assert load_target("intel-vpu").name == "intel-npu"
    assert load_target("intel-npu").aliases == ("intel-vpu",)
    path = tmp_path / "mine.toml"
    path.write_text('schema = 1\nextends = "intel-vpu"\n')
    assert load_target(str(path)).aliases == ()


def test_every_name_means_one_thing() -> None:
    refused = [name for refusal in hardware(names("targets")) for name in refusal.targets]
    every = [*names("targets"), *aliases("targets"), *refused]
    assert len(set(every)) == len(every)


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
        (
            OWN + '[wheels]\npythons = ["3.11.2"]\n',
            "wheels: key 'pythons': found '3.11.2', expected String should match",
        ),
        (OWN + '[wheels]\nglibc = "musl"\n', "wheels: key 'glibc': found 'musl'"),
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


def test_g4dn_prices_are_the_quoted_ones() -> None:
    """USD per hour on demand, Linux, January and April 2026: us-east-1, eu-west-1, eu-central-1."""
    quoted = {
        "xlarge": (1, "0.526", "0.587", "0.658"), "2xlarge": (1, "0.752", "0.838", "0.940"),
        "4xlarge": (1, "1.204", "1.342", "1.505"), "8xlarge": (1, "2.176", "2.426", "2.720"),
        "12xlarge": (4, "3.912", "4.362", "4.890"), "16xlarge": (1, "4.352", "4.853", "5.440"),
        "metal": (8, "7.824", "8.724", "9.780"),
    }  # fmt: skip
    assert {f"g4dn-{size}" for size in quoted} == {name for name in names("targets") if name.startswith("g4dn")}
    for size, (gpus, *prices) in quoted.items():
        cloud = load_target(f"g4dn-{size}").cloud
        assert cloud is not None
        assert (cloud.instance, cloud.gpus, cloud.pricing) == (f"g4dn.{size}", gpus, "on_demand")
        assert list(cloud.usd_per_hour) == ["us-east-1", "eu-west-1", "eu-central-1"]
        assert list(cloud.usd_per_hour.values()) == [Decimal(price) for price in prices]
        assert cloud.as_of
        assert cloud.source


def test_published_throughputs_have_a_name_each_and_a_source() -> None:
    gpu = load_target("g4dn-xlarge").gpu
    assert gpu is not None
    assert len({one.name for one in gpu.published}) == len(gpu.published) == 9
    assert all(one.source for one in gpu.published)
    assert {one.name: one.per_second for one in gpu.published}[
        "bert-base int8 128 tokens batch 32 TensorRT 8.2"
    ] == 1819


@pytest.mark.parametrize(
    ("price", "said"),
    [("-1", "usd_per_hour': found -1"), ('"cheap"', "expected a number"), ("true", "expected a number")],
)
def test_a_bad_price_is_refused(tmp_path: Path, price: str, said: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f'schema = 1\nextends = "g4dn-xlarge"\n[cloud.usd_per_hour]\nus-east-1 = {price}\n')
    with pytest.raises(ConfigError) as caught:
        load_target(str(path))
    assert said in str(caught.value)
