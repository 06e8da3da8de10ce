"""This process's memory: what is resident now, and the most that was, in MB (10^6 bytes).

Formats: the kernel's Documentation/filesystems/proc.rst, 1.1 (status: VmRSS, VmHWM; clear_refs;
smaps_rollup: Pss). The kernel counts kB of 1024 bytes.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import TracebackType

from .procfs import read_fields

#: One reading costs about 50 µs, so this is a thousandth of a processor.
SAMPLE_HZ = 20.0
#: The kernel counts resident pages in batches per processor: a fresh high-water mark may stand this far above.
_SLACK_MB = 1.0


def resident(root: Path = Path("/")) -> dict[str, float | None]:
    """`{"rss_mb", "pss_mb"}`: resident set, and its share where pages are shared. None: this kernel does not say."""
    return {"rss_mb": _status_mb(root, "VmRSS"), "pss_mb": _mb(read_fields(root, "proc/self/smaps_rollup").get("Pss"))}


class Peak:
    """The largest resident set while this is open, as a context manager; may be read before it closes.

    Writing 5 to clear_refs sets the kernel's own high-water mark (VmHWM) back to what is resident now. Where that is
    not allowed or has no effect, as in some containers and emulators, a thread samples; `method` says which it is.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._highest: float | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._reset = False

    @property
    def method(self) -> str:
        """How the peak is known."""
        if self._reset:
            return "VmHWM, reset before the run"
        return "unknown: no VmRSS in /proc" if self._highest is None else f"sampled at {SAMPLE_HZ:g} Hz"

    @property
    def peak_rss_mb(self) -> float | None:
        """The peak until now, or until this was closed."""
        if not self._stop.is_set():
            self._look()
        return self._highest

    def __enter__(self) -> Peak:
        self._reset = _reset_high_water(self._root)
        self._look()
        if not self._reset and self._highest is not None:
            self._thread = threading.Thread(target=self._sample, name="peak memory", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._look()
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _look(self) -> None:
        found = _status_mb(self._root, "VmHWM" if self._reset else "VmRSS")
        if found is not None:
            self._highest = found if self._highest is None else max(self._highest, found)

    def _sample(self) -> None:
        while not self._stop.wait(1 / SAMPLE_HZ):
            self._look()


def _reset_high_water(root: Path) -> bool:
    """Whether VmHWM was set back, as it then shows itself."""
    try:
        file = os.open(root / "proc/self/clear_refs", os.O_WRONLY)  # never created: a tree without it stays so
        try:
            os.write(file, b"5")
        finally:
            os.close(file)
    except OSError:
        return False
    highest, now = _status_mb(root, "VmHWM"), _status_mb(root, "VmRSS")
    return highest is not None and now is not None and highest <= now + _SLACK_MB


def _status_mb(root: Path, key: str) -> float | None:
    return _mb(read_fields(root, "proc/self/status").get(key))


def _mb(said: str | None) -> float | None:
    """MB of a value such as `33872 kB`."""
    number = said.split()[0] if said else ""
    return int(number) * 1024 / 1e6 if number.isdigit() else None
