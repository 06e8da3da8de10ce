"""How a device is written, and what is no device."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.errors import ConfigError
from edgekit.transports import TRANSPORTS, Address, parse_address, transport


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pi@kitchen", Address("ssh", "kitchen", "pi")),
        ("pi@kitchen.local:2222", Address("ssh", "kitchen.local", "pi", 2222)),
        ("kitchen", Address("ssh", "kitchen")),
        ("10.0.0.7:22", Address("ssh", "10.0.0.7", None, 22)),
        ("pi@[fe80::1%eth0]:22", Address("ssh", "fe80::1%eth0", "pi", 22)),
        ("[::1]", Address("ssh", "::1")),
        ("local:/opt/edge", Address("local", "/opt/edge")),
    ],
)
def test_a_written_address_is_understood_and_written_again(text: str, expected: Address) -> None:
    assert parse_address(text) == expected
    assert str(expected) == text


def test_a_local_folder_may_be_relative_or_in_the_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse_address("local:dev").host == str(tmp_path / "dev")
    assert parse_address("local:~/dev").host == str(Path.home() / "dev")


@pytest.mark.parametrize(
    "text",
    [
        "", "@kitchen", "pi@", "-oProxyCommand=reboot", "pi@-oProxyCommand=reboot", "-l@kitchen", "pi@kitchen:0",
        "pi@kitchen:70000", "pi@kitchen:", "pi@kitchen:ssh", "a b@kitchen", "pi@kit;chen", "::1", "local:",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="device"):
        parse_address(text)


def test_every_transport_is_a_module_that_connects() -> None:
    folder = Path(transport.__file__).parent
    assert set(TRANSPORTS) == {p.stem for p in folder.glob("*.py") if "\ndef connect(" in p.read_text()} - {"__init__"}
