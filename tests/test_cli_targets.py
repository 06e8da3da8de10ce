"""`edgekit targets` and `plan --target` as a user reads them."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from edgekit.catalog import names
from edgekit.cli import cli
from edgekit.refusals import REFUSALS, refusal_of


def targets(*words: str) -> str:
    done = CliRunner().invoke(cli, ["targets", *words])
    assert done.exit_code == 0, done.output
    return done.output


def test_the_list_holds_every_target_its_aliases_and_every_refusal() -> None:
    text = targets()
    assert "intel-npu (intel-vpu)" in text
    built, refused = text.split("not built for", 1)
    for name in names("targets"):
        assert f" {name} " in (refused if refusal_of(name) else built)
    for refusal in REFUSALS:
        assert f"{', '.join(refusal.targets)}: {refusal.line}" in refused.splitlines()


def test_the_json_list_says_of_each_whether_and_why_not() -> None:
    rows = {row["name"]: row for row in json.loads(targets("--json"))}
    assert rows["intel-npu"]["aliases"] == ["intel-vpu"]
    assert rows["intel-npu"]["refused"] is None
    assert rows["g4dn-xlarge"]["refused"] is None
    assert rows["myriad"]["runtime"] is None
    assert "2023.0" in rows["myriad"]["refused"]


@pytest.mark.parametrize("name", ["myriad", "ncs2"])
def test_hardware_that_nothing_is_built_for_is_explained(name: str) -> None:
    text = targets(name)
    assert text.startswith("Intel Movidius Myriad X, Neural Compute Stick 2\nnot built for: OpenVINO ended its support")
    assert json.loads(targets(name, "--json"))["name"] == "myriad"


def test_an_alias_shows_its_target() -> None:
    assert json.loads(targets("intel-vpu", "--json"))["name"] == "intel-npu"
    assert 'aliases = ["intel-vpu"]' in targets("intel-vpu")
    assert CliRunner().invoke(cli, ["targets", "intel-xpu"]).exit_code != 0
