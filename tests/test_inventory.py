"""Names and groups of devices."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.errors import ConfigError
from edgekit.inventory import BASE, Inventory, load_inventory
from edgekit.transports import Address

GOOD = """
[hosts.kitchen]
address = "pi@kitchen.local:2222"
target = "raspberrypi4"
base = "/opt/edgekit"
python = "/usr/bin/python3.11"
options = { IdentityFile = "~/.ssh/lab" }

[hosts.attic]
address = "attic"

[hosts.here]
address = "local:/srv/edge"

[groups]
house = ["kitchen", "attic"]
all = ["house", "here", "kitchen"]
"""


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("EDGEKIT_DEVICES", raising=False)


def load(content: str) -> Inventory:
    Path("devices.toml").write_text(content)
    return load_inventory()


def problems(content: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(content)
    return caught.value.problems


def test_names_groups_and_addresses_are_found_each_once() -> None:
    found = load(GOOD).find(["all", "kitchen", "root@10.0.0.7"])
    assert [d.name for d in found] == ["kitchen", "attic", "here", "root@10.0.0.7"]
    kitchen, attic, here, other = found
    assert kitchen.address == Address("ssh", "kitchen.local", "pi", 2222)
    assert (kitchen.base, kitchen.python, kitchen.target) == ("/opt/edgekit", "/usr/bin/python3.11", "raspberrypi4")
    assert kitchen.ssh_options == {"IdentityFile": "~/.ssh/lab"}
    assert (attic.address, attic.base) == (Address("ssh", "attic"), BASE)
    assert (here.address.transport, here.base) == ("local", "/srv/edge")
    assert (other.address, other.base) == (Address("ssh", "10.0.0.7", "root"), BASE)


def test_what_the_command_says_goes_before_the_file() -> None:
    (kitchen,) = load(GOOD).find(["kitchen"], base="~/other", python="/usr/bin/python3")
    assert (kitchen.base, kitchen.python) == ("~/other", "/usr/bin/python3")
    for given in ({"base": "other"}, {"python": "python3.11"}):
        with pytest.raises(ConfigError, match="expected"):
            load(GOOD).find(["kitchen"], **given)


def test_a_slip_of_the_pen_is_not_taken_for_a_host_of_the_network() -> None:
    with pytest.raises(ConfigError, match=r"devices\.toml: no device or group 'kichen'; did you mean 'kitchen'\?"):
        load(GOOD).find(["kichen"])
    assert load(GOOD).find(["garage"])[0].address == Address("ssh", "garage")


def test_the_file_is_looked_for_where_a_user_may_keep_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert load_inventory() == Inventory(None, {}, {})
    home = tmp_path / "home" / ".config" / "edgekit" / "devices.toml"
    home.parent.mkdir(parents=True)
    home.write_text('[hosts.a]\naddress = "a"\n')
    assert list(load_inventory().hosts) == ["a"]
    Path("devices.toml").write_text('[hosts.b]\naddress = "b"\n')
    assert list(load_inventory().hosts) == ["b"]
    Path("mine.toml").write_text('[hosts.c]\naddress = "c"\n')
    monkeypatch.setenv("EDGEKIT_DEVICES", "mine.toml")
    assert list(load_inventory().hosts) == ["c"]
    with pytest.raises(ConfigError, match=r"gone\.toml: no such file"):
        load_inventory(Path("gone.toml"))


def test_all_faults_of_a_file_are_reported_at_once() -> None:
    found = problems("""
        [hosts.a]
        address = "-oProxyCommand=x"
        base = "relative"
        python = "python3"
        [hosts.b]
        address = "b"
        [groups]
        b = ["a"]
        x = ["y"]
        y = ["x"]
        z = ["aa"]
    """)
    expected = [
        "hosts a: key 'address'", "hosts a: key 'base': found 'relative'", "hosts a: key 'python'",
        "'b' is a host too", "'x' goes round in a circle", "'y' goes round in a circle", "'z': no device or group 'aa'",
    ]  # fmt: skip
    assert len(found) == len(expected)
    for line, part in zip(found, expected, strict=True):
        assert line.startswith("devices.toml: ")
        assert part in line


def test_unknown_keys_name_the_nearest() -> None:
    assert problems('[hosts.a]\nadress = "a"\n') == [
        "devices.toml: hosts a: key 'address' is missing",
        "devices.toml: hosts a: unknown key 'adress'; did you mean 'address'?",
    ]
