"""RAPL: the energy that x86 processor packages have drawn, by the kernel's powercap interface.

Documentation/power/powercap/powercap.rst; Documentation/ABI/testing/sysfs-class-powercap. Zones `intel-rapl:N` (AMD's
have the same name) whose name is package-… are added up: one per socket or die. Left out, because they would count
the same joules twice: sub-zones `intel-rapl:N:M` (core, uncore; dram, which on servers is beside the package and is
not counted either), `psys` (the platform, which holds the package), and `intel-rapl-mmio:N` (a second view of the
same counters). Readable by root only since CVE-2020-8694.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from .host import ENERGY, Host, Sensor, SensorError

#: Intel SDM volume 3B, 16.10: the counters move about every millisecond.
_UPDATE_S = 0.001
_ZONE = re.compile(r"intel-rapl:\d+")


def find(host: Host) -> list[Sensor]:
    """One sensor over all packages. Raises SensorError where one of them may not be read."""
    zones = sorted(p for p in (host.root / "sys/class/powercap").glob("intel-rapl:*") if _ZONE.fullmatch(p.name))
    packages = [(str(host.text(zone / "name")), zone) for zone in zones]
    packages = [(name, zone) for name, zone in packages if name.startswith("package")]
    if not packages:
        return []
    paths = [zone / "energy_uj" for _, zone in packages]
    try:
        counters = [Counter(host.number(path), path, _range_uj(host, path)) for path in paths]
    except SensorError as error:
        grant = f"sudo chmod a+r {' '.join(str(path) for path in paths)}"
        raise SensorError(str(error), grant if error.advice else None) from None
    return [
        Sensor(
            name=f"rapl {'+'.join(name for name, _ in packages)}",
            module="rapl",
            source=", ".join(str(path) for path in paths),
            scope="package",
            unit=ENERGY,
            update_s=_UPDATE_S,
            read=lambda: sum([counter.read_uj() for counter in counters]) / 1000,
        )
    ]


def _range_uj(host: Host, counter: Path) -> float:
    """Where the counter starts again at 0. Without it a wrap cannot be told from a reset."""
    return host.number(counter.with_name("max_energy_range_uj"))()


class Counter:
    """µJ since the first reading, through every wrap of the counter at `range_uj`."""

    def __init__(self, read: Callable[[], float], path: Path, range_uj: float) -> None:
        self._read, self._path, self._range_uj = read, path, range_uj
        self._last: float | None = None
        self._total_uj = 0.0

    def read_uj(self) -> float:
        """Raises SensorError where the counter cannot be read, or was reset: what it lost meanwhile is unknown."""
        now = self._read()
        last, self._last = self._last, now
        if last is None:
            return self._total_uj
        step = now - last if now >= last else now - last + self._range_uj
        if now < last and not 0 <= step < self._range_uj / 2:
            raise SensorError(f"{self._path}: went back from {last:.0f} to {now:.0f} µJ: reset, not wrapped")
        self._total_uj += step
        return self._total_uj
