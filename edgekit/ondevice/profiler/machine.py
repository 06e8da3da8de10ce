"""The machine that a profile is made on: which one it is, its state meanwhile, and what casts doubt on the figures.

Formats below /proc and /sys: the kernel's Documentation/driver-api/thermal/sysfs-api.rst, admin-guide/pm/cpufreq.rst,
filesystems/proc.rst 1.7 (/proc/stat), hwmon/sysfs-interface.rst, hwmon/raspberrypi-hwmon.rst, admin-guide/cgroup-v2.rst
(cpu.stat); x86 thermal_throttle counters: arch/x86/kernel/cpu/mce/therm_throt.c. Raspberry Pi's bits:
https://www.raspberrypi.com/documentation/computers/os.html (get_throttled).
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .identity import CONTAINER, EMULATED, identify
from .procfs import find, read_number, read_text

__all__ = ["Watch", "identify", "marks"]

#: Raspberry Pi: bit -> cause while it holds; 16 bits up is the same cause at any time since the boot.
PI_CAUSES = {0: "under-voltage", 1: "ARM frequency capped", 2: "firmware throttling", 3: "soft temperature limit"}
_SINCE_BOOT = " since boot"
_PI_FLAGS = "sys/devices/platform/soc/soc:firmware/get_throttled"

#: Work of others that may touch a run: a tenth of a processor delays every tenth query, which p90 then shows.
OTHER_LOAD = 0.1
#: Where the others' work during the run is not known: one runnable process for four processors before it.
LOAD_PER_PROCESSOR = 0.25
#: As much as p99 leaves out.
STEAL_PERCENT = 1.0
#: Turbo steps are 2 to 3 % of a frequency; the mildest cap of a hot board (Pi 3B+: 1.4 to 1.2 GHz) is 14 %.
FREQUENCY_FALL = 0.1
#: Below this no common board or processor slows down for heat: a fall is then the governor's.
HOT_C = 70.0
#: Governors that keep the frequency where it is.
STEADY_GOVERNORS = ("performance", "userspace")

#: Kinds of thermal zone that are the processor's own, best first; then what holds "cpu", then the whole chip.
_ZONES = ("x86-pkg-temp", "cpu-thermal", "cpu-therm", "tcpu")
_HWMON_CPUS = ("coretemp", "k10temp", "zenpower", "cpu_thermal")
_PLAUSIBLE_MILLIDEGREES = (-40_000, 150_000)
#: A share of time is told from at least this many ticks (10 ms each) of every processor.
_MIN_TICKS = 20
_COMMAND_SECONDS = 5


class _Times(NamedTuple):
    """Clock ticks since the boot, over the processors used; `own` are those of this process and its children."""

    total: int
    busy: int
    stolen: int
    own: int


class _Counts(NamedTuple):
    """What only grows, or stays set, until the next boot."""

    flags: int
    causes: dict[str, int]


class Watch:
    """Reads the machine's state, again and again; what only grows is compared with the first reading."""

    def __init__(self, root: Path, processors: Sequence[int]) -> None:
        self._root = root
        self._processors = list(processors)
        self._temperature = _temperature_file(root)
        self._vcgencmd = None if read_text(root, _PI_FLAGS) else shutil.which("vcgencmd")
        self._voltage_alarm = next(iter(_hwmon(root, ("rpi_volt",), "in0_lcrit_alarm")), None)
        self._first_times: _Times | None = None
        self._counts: _Counts | None = None
        self._seen = dict[str, None]()

    def state(self) -> dict[str, Any]:
        """MachineState: steal and other load are since the first call, causes of throttling since the last.

        The first call also lists what the board has seen `since boot`.
        """
        times = _times(self._root, self._processors)
        first, self._first_times = self._first_times, self._first_times or times
        return {
            "temperature_c": self.temperature_c(),
            "frequency_mhz": _frequency_mhz(self._root, self._processors),
            "throttled": self._throttled(),
            "throttle_events": _throttle_events(self._root),
            "load_1m": _load_1m(self._root),
            "steal_percent": _steal_percent(first, times),
            "other_load": _other_load(first, times, len(self._processors)),
        }

    def overall(self) -> dict[str, Any]:
        """The state now, with every cause of throttling that any state since the first has had."""
        return {**self.state(), "throttled": list(self._seen)}

    def _throttled(self) -> list[str]:
        counts = _Counts(self._flags() or 0, _counters(self._root))
        before, self._counts = self._counts, counts
        held = counts.flags | (counts.flags & ~(before.flags if before else counts.flags)) >> 16
        found = [cause for bit, cause in PI_CAUSES.items() if held >> bit & 1]
        if before is None:
            earlier = [cause for bit, cause in PI_CAUSES.items() if counts.flags >> 16 >> bit & 1]
            return found + [cause + _SINCE_BOOT for cause in earlier if cause not in found]
        found += [cause for cause, count in counts.causes.items() if count > before.causes.get(cause, count)]
        self._seen.update(dict.fromkeys(found))
        return found

    def _flags(self) -> int | None:
        """Raspberry Pi's bits: the firmware driver's file (hex), else `vcgencmd` (throttled=0x…), else the alarm."""
        said = read_text(self._root, _PI_FLAGS)
        if said is None and self._vcgencmd:
            said = _output([self._vcgencmd, "get_throttled"])
        if said is None and self._voltage_alarm:
            return read_number(self._root, self._voltage_alarm)
        try:
            return None if said is None else int(said.rpartition("=")[2], 16)
        except ValueError:
            return None

    def temperature_c(self) -> float | None:
        """The processor's, or the next best sensor's; None where none says something plausible."""
        found = read_number(self._root, self._temperature) if self._temperature else None
        low, high = _PLAUSIBLE_MILLIDEGREES
        return found / 1000 if found is not None and low < found < high else None


def marks(machine: dict[str, Any], before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Why not to trust what was measured between two states of the machine that `identify` described; or nothing."""
    found = _noise(machine["cores"], before, after)
    causes = dict.fromkeys(before["throttled"] + after["throttled"])
    found += [f"throttled: {cause}" for cause in causes if not cause.endswith(_SINCE_BOOT)]
    found += [f"throttled earlier: {cause}" for cause in causes if cause.endswith(_SINCE_BOOT)]
    if before["throttle_events"] is not None and after["throttle_events"] is not None:
        events = after["throttle_events"] - before["throttle_events"]
        if events > 0:
            found.append(f"throttled: x86 thermal events {events}")
    governor = machine["governor"]
    steady = governor in STEADY_GOVERNORS
    fast, slow, heat = before["frequency_mhz"], after["frequency_mhz"], after["temperature_c"]
    if fast and slow and slow < fast * (1 - FREQUENCY_FALL) and (steady or (heat is not None and heat >= HOT_C)):
        found.append(f"hot: frequency fell from {fast:.0f} to {slow:.0f} MHz" + (f" at {heat:.0f} °C" if heat else ""))
    if governor and not steady:
        found.append(f"governor: {governor}, frequency varies")
    return found + _unreal(machine["virtual"])


def _noise(cores: int, before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Work of others: measured during the run where the system says it, else the load before it."""
    found = []
    load, other, steal = before["load_1m"], after["other_load"], after["steal_percent"]
    if other is not None:
        if other > OTHER_LOAD:
            found.append(f"noisy: other programs kept {other:.1f} processors busy during the run")
    elif load is not None and load > LOAD_PER_PROCESSOR * cores:
        found.append(f"noisy: load {load:.1f} on {cores} processors before the run")
    if steal is not None and steal > STEAL_PERCENT:
        found.append(f"noisy: {steal:.1f} % stolen by the hypervisor")
    return found


def _unreal(virtual: str | None) -> list[str]:
    """A container alone changes no times; an emulator or a hypervisor does."""
    layers = virtual.split(" in ") if virtual else []
    return [
        f"emulated: {layer}" if layer in EMULATED else f"virtual: {layer}"
        for layer in layers
        if not layer.endswith(CONTAINER)
    ]


def _temperature_file(root: Path) -> str | None:
    """The thermal zone of the processor; else its hwmon sensor (AMD has no zone); else ACPI's, which is the board's.

    Of several packages the first. The file holds thousandths of a degree.
    """
    ranked = []
    for name in find(root, "sys/class/thermal/thermal_zone*/type"):
        kind = (read_text(root, name) or "").lower().replace("_", "-")
        ranks = [*_ZONES, "cpu" in kind and kind, "soc" in kind and kind, None, kind == "acpitz" and kind]
        if kind in ranks:
            ranked.append((ranks.index(kind), f"{name[: -len('type')]}temp"))
    ranked += [(len(_ZONES) + 2, name) for name in _hwmon(root, _HWMON_CPUS, "temp1_input")]
    return min(ranked)[1] if ranked else None


def _hwmon(root: Path, drivers: Sequence[str], file: str) -> list[str]:
    """That file of every hwmon device of these drivers; the devices' numbers change from boot to boot."""
    names = [name for name in find(root, "sys/class/hwmon/hwmon*/name") if read_text(root, name) in drivers]
    files = [f"{name[: -len('name')]}{file}" for name in names]
    return [name for name in files if (root / name).exists()]


def _frequency_mhz(root: Path, processors: Sequence[int]) -> float | None:
    """The mean over the processors: cpufreq's scaling_cur_freq (kHz), else x86's `cpu MHz` of /proc/cpuinfo."""
    found = [read_number(root, f"sys/devices/system/cpu/cpu{n}/cpufreq/scaling_cur_freq") for n in processors]
    mhz = [khz / 1000 for khz in found if khz]
    if not mhz:
        blocks = (read_text(root, "proc/cpuinfo") or "").split("\n\n")
        fields = [dict(_pair(line) for line in block.splitlines()) for block in blocks]
        used = [field for field in fields if field.get("processor") in [str(n) for n in processors]]
        mhz = [float(field["cpu MHz"]) for field in used if "cpu MHz" in field]
    return round(sum(mhz) / len(mhz), 1) if mhz else None


def _pair(line: str) -> tuple[str, str]:
    key, _, value = line.partition(":")
    return key.strip(), value.strip()


def _throttle_events(root: Path) -> int | None:
    """x86: how often cores and packages were too hot since the boot; each once, though every thread repeats it."""
    counts: dict[tuple[str | None, ...], int] = {}
    for name in find(root, "sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/*_throttle_count"):
        processor, _, file = name.partition("/thermal_throttle/")
        level = file.partition("_")[0]
        place = ("physical_package_id", "core_id") if level == "core" else ("physical_package_id",)
        key = (level, *(read_text(root, f"{processor}/topology/{part}") for part in place))
        counts[key] = max(counts.get(key, 0), read_number(root, name) or 0)
    return sum(counts.values()) if counts else None


def _counters(root: Path) -> dict[str, int]:
    """Causes that are counted: a container's CPU quota (cgroup v2 or v1), over-current events of a Jetson Orin."""
    found = dict[str, int]()
    groups = [line.split(":", 2) for line in (read_text(root, "proc/self/cgroup") or "").splitlines()]
    own = [f"{'/cpu' if kinds else ''}{path}" for _, kinds, path in groups if not kinds or "cpu" in kinds.split(",")]
    for place in [*own, "", "/cpu"]:
        lines = (read_text(root, f"sys/fs/cgroup{place}/cpu.stat") or "").splitlines()
        periods = [int(line.split()[1]) for line in lines if line.startswith("nr_throttled ")]
        if periods:
            found["CPU quota of the container"] = periods[0]
            break
    for name in find(root, "sys/class/hwmon/hwmon*/oc[0-9]*_event_cnt"):
        found[f"over-current ({name.rpartition('/')[2].partition('_')[0]})"] = read_number(root, name) or 0
    return found


def _load_1m(root: Path) -> float | None:
    text = read_text(root, "proc/loadavg")
    return float(text.split()[0]) if text else None


def _times(root: Path, processors: Sequence[int]) -> _Times | None:
    """From /proc/stat (user nice system idle iowait irq softirq steal; guest is within user) and /proc/self/stat."""
    rows = {line.split()[0]: line.split()[1:9] for line in (read_text(root, "proc/stat") or "").splitlines() if line}
    used = [[int(value) for value in rows[f"cpu{n}"]] for n in processors if f"cpu{n}" in rows]
    if not used or len(used[0]) < 8:
        return None
    ticks = [sum(row[at] for row in used) for at in range(8)]
    own = (read_text(root, "proc/self/stat") or "").rpartition(")")[2].split()[11:15]
    stolen = ticks[7]
    return _Times(sum(ticks), sum(ticks) - ticks[3] - ticks[4] - stolen, stolen, sum(int(value) for value in own))


def _steal_percent(first: _Times | None, now: _Times | None) -> float | None:
    ticks = now.total - first.total if first and now else 0
    return 100 * (now.stolen - first.stolen) / ticks if first and now and ticks >= _MIN_TICKS else None


def _other_load(first: _Times | None, now: _Times | None, processors: int) -> float | None:
    """Processors that others kept busy, of those used. QEMU's user mode does not tell a program its own time (0)."""
    if not first or not now or not now.own or now.total - first.total < _MIN_TICKS * processors:
        return None
    others = (now.busy - first.busy) - (now.own - first.own)
    return max(0.0, others / (now.total - first.total) * processors)


def _output(command: list[str]) -> str | None:
    """What a command prints; None where it fails: vcgencmd needs the group video."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_COMMAND_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
