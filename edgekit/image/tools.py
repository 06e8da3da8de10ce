"""mtools and e2fsprogs, as programs of their own that see nothing but the image."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import ConfigError

#: Program -> the package that brings it, on Debian and with Homebrew alike.
PACKAGES = {"debugfs": "e2fsprogs", "e2fsck": "e2fsprogs", "mcopy": "mtools", "mdir": "mtools", "mtype": "mtools"}
#: Where Debian keeps debugfs, and a user's PATH does not lead.
_MORE = ("/usr/sbin", "/sbin", "/opt/homebrew/opt/e2fsprogs/sbin", "/usr/local/opt/e2fsprogs/sbin")
_TIMEOUT_S = 1800.0
#: The image's name in the folder that the programs run in: none of them can then misread a user's path.
DISK = "disk.img"


@dataclass(frozen=True)
class Done:
    """A program that ended by itself."""

    code: int
    stdout: bytes
    stderr: str

    @property
    def last_words(self) -> str:
        """The last line that says something."""
        lines = [line.strip() for line in self.stderr.splitlines() if line.strip()]
        return lines[-1][:300] if lines else f"exit code {self.code}"


def check_tools() -> None:
    """Raise ConfigError that names what is missing, and the line that brings it."""
    missing = [program for program in PACKAGES if _find(program) is None]
    if missing:
        packages = sorted({PACKAGES[program] for program in missing})
        raise ConfigError(f"no {', '.join(missing)} here: sudo apt install {' '.join(packages)}")


def run_tool(words: Sequence[str], folder: Path, now_unix: int, stdin: bytes = b"") -> Done:
    """A program in the folder that holds `DISK`; what it writes is dated `now_unix`. Raises ConfigError."""
    program = _find(words[0])
    if program is None:
        raise ConfigError(f"no {words[0]} here: sudo apt install {PACKAGES[words[0]]}")
    kept = {key: value for key, value in os.environ.items() if key in ("PATH", "HOME", "TMPDIR")}
    settings = {"LC_ALL": "C", "TZ": "UTC", "MTOOLSRC": os.devnull, "DEBUGFS_PAGER": "cat", "PAGER": "cat"}
    settings["SOURCE_DATE_EPOCH"] = str(now_unix)
    try:
        done = subprocess.run(
            [program, *words[1:]], cwd=folder, env={**kept, **settings}, input=stdin, capture_output=True,
            timeout=_TIMEOUT_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise ConfigError(f"{words[0]}: did not end in {_TIMEOUT_S / 60:.0f} minutes") from None
    return Done(done.returncode, done.stdout, done.stderr.decode("utf-8", "replace"))


def _find(program: str) -> str | None:
    return shutil.which(program) or shutil.which(program, path=os.pathsep.join(_MORE))
