"""The power-management chip of a Raspberry Pi 5, 500 and Compute Module 5, asked through `vcgencmd pmic_read_adc`.

https://www.raspberrypi.com/documentation/computers/os.html#vcgencmd. Lines `VDD_CORE_A current(7)=1.2340000A` and
`VDD_CORE_V volt(15)=0.8750V`; the power is the sum of V × A over the rails that have both. EXT5V, the input, has no
current, so what hangs on USB and HATs is not seen, nor what the converters lose. At most 10 Hz: 50 Hz slowed a
workload six times.
"""

from __future__ import annotations

import re

from .host import POWER, Host, Sensor, SensorError

COMMAND = ("vcgencmd", "pmic_read_adc")
_UPDATE_S = 0.1
_LINE = re.compile(r"\s*(?P<rail>\w+)_(?P<kind>[AV]) (?:current|volt)\(\d+\)=(?P<value>[-+.\w]+)(?P=kind)\s*")
_GRANT = 'sudo usermod -aG video "$USER" (then log in again)'


def find(host: Host) -> list[Sensor]:
    """The chip's rails together. [] on boards whose firmware knows no such command; raises SensorError."""
    if "Raspberry Pi" not in (host.text(host.root / "proc/device-tree/model") or ""):
        return []
    output = _ask(host)
    if output is None:
        return []
    rails = sorted(rail_milliwatts(output))
    return [
        Sensor(
            name="pmic",
            module="pmic",
            source=f"{' '.join(COMMAND)}, {len(rails)} rails; loads on USB and HATs are not seen",
            scope="board rails",
            unit=POWER,
            update_s=_UPDATE_S,
            read=lambda: _read(host, rails),
        )
    ]


def _ask(host: Host) -> str | None:
    """The command's output; None where this board has no such chip. Raises SensorError."""
    try:
        output = host.run(COMMAND)
    except SensorError as error:
        said = str(error)
        if "not registered" in said:
            return None
        denied = "/dev/vcio" in said or "VCHI" in said or "ermission denied" in said
        raise SensorError(said, _GRANT if denied else None) from None
    return None if "not registered" in output else output


def _read(host: Host, rails: list[str]) -> float:
    output = _ask(host)
    power = rail_milliwatts(output or "")
    missing = [rail for rail in rails if rail not in power]
    if missing:
        raise SensorError(f"{' '.join(COMMAND)}: no longer says {', '.join(missing)}")
    return sum(power[rail] for rail in rails)


def rail_milliwatts(output: str) -> dict[str, float]:
    """Each rail's mW, of those that have a current and a voltage. Raises SensorError where none has, or at NaN."""
    values: dict[str, dict[str, float]] = {}
    for line in output.splitlines():
        match = _LINE.fullmatch(line)
        if match:
            values.setdefault(match["rail"], {})[match["kind"]] = _number(match["value"], line)
    power = {rail: pair["A"] * pair["V"] * 1000 for rail, pair in values.items() if len(pair) == 2}
    if not power:
        first = repr(output.strip().splitlines()[0][:60]) if output.strip() else "nothing"
        raise SensorError(f"{' '.join(COMMAND)}: no rail with current and voltage; it says {first}")
    return power


def _number(text: str, line: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise SensorError(f"{' '.join(COMMAND)}: {line.strip()!r} is not a number") from None
    if value != value or value in (float("inf"), float("-inf")):
        raise SensorError(f"{' '.join(COMMAND)}: {line.strip()!r} is not a finite number")
    return value
