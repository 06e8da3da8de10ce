"""NVIDIA's cards, through NVML: mJ since the driver was loaded (nvmlDeviceGetTotalEnergyConsumption, Volta and later).

https://docs.nvidia.com/deploy/nvml-api; the Python package is nvidia-ml-py. The counter moves every 20 to 100 ms by
card, so that a short window reads 0 where the card drew something.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .host import ENERGY, Host, Sensor, SensorError

_UPDATE_S = 0.1


def find(host: Host) -> list[Sensor]:
    """One sensor per card. Raises SensorError where there are cards, and the package or the driver is missing."""
    if not (host.root / "proc/driver/nvidia/version").exists():
        return []
    nvml = host.library("pynvml")
    if nvml is None:
        raise SensorError("an NVIDIA card, but no pynvml to ask it", "pip install nvidia-ml-py")
    try:
        nvml.nvmlInit()
        handles = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]
        cards = [(handle, nvml.nvmlDeviceGetName(handle)) for handle in handles]
    except nvml.NVMLError as error:
        raise SensorError(f"NVML: {error}") from None
    return [
        Sensor(
            name=f"nvml {index} {name}",
            module="nvml",
            source=f"nvmlDeviceGetTotalEnergyConsumption, card {index}",
            scope="device",
            unit=ENERGY,
            update_s=_UPDATE_S,
            read=_counter(nvml, handle, index),
        )
        for index, (handle, name) in enumerate(cards)
    ]


def _counter(nvml: Any, handle: Any, index: int) -> Callable[[], float]:
    """The card's counter in mJ. Raises SensorError where it fails or runs backwards: the driver was loaded again."""
    last = [0.0]

    def read() -> float:
        try:
            now = float(nvml.nvmlDeviceGetTotalEnergyConsumption(handle))
        except nvml.NVMLError as error:
            raise SensorError(f"NVML: card {index}: {error}") from None
        before, last[0] = last[0], now
        if now < before:
            raise SensorError(f"NVML: card {index}: its counter went back from {before:.0f} to {now:.0f} mJ: reset")
        return now

    return read
