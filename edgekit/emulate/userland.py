"""An aarch64 userland and the device's own wheels, fetched once into the cache: no root, no chroot, no binfmt."""

from __future__ import annotations

import compileall
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from py_compile import PycInvalidationMode

from ..atomic import publish_folder
from ..errors import ProfileError
from ..ondevice.runtimes.buckets import installed_version

#: Debian 12, the base of Raspberry Pi OS "bookworm"; what Python and the runtimes' libraries need of it.
SUITE = "bookworm"
PACKAGES = ("python3", "libstdc++6", "libatomic1", "libgomp1")
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
#: pip takes a wheel for exactly the platforms that it is told, so all that a glibc runs are told, the newest first.
OLDEST_GLIBC = 17

Report = Callable[[str], None]
Fill = Callable[[Path], None]


def default_cache() -> Path:
    """$XDG_CACHE_HOME/edgekit/emulate, by default ~/.cache/edgekit/emulate."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "edgekit" / "emulate"


def userland_folder(cache: Path, packages: Sequence[str] = PACKAGES) -> Path:
    """Where the userland is or will be."""
    return cache / f"userland-{SUITE}-{_digest(' '.join(packages))}"


def fetch_userland(cache: Path, report: Report, packages: Sequence[str] = PACKAGES) -> Path:
    """The folder of an aarch64 Debian with Python: 76 MB, extracted and not configured. Raises ProfileError."""

    def fill(folder: Path) -> None:
        report(f"fetching an aarch64 userland, Debian {SUITE}, once (76 MB)")
        include = ",".join(packages)
        words = ["mmdebstrap", "--quiet", "--mode=chrootless", "--variant=extract", "--architectures=arm64"]
        words += [f"--include={include}", SUITE, str(folder), *_mirror()]
        _run(words, "mmdebstrap: the aarch64 userland could not be fetched")
        shutil.rmtree(folder / "dev", ignore_errors=True)  # root gets device nodes, which cannot be synced
        for library in (folder / "usr" / "lib").glob("python3.*"):  # here it takes seconds, emulated each run as many
            compileall.compile_dir(library, quiet=2, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH)

    return keep(userland_folder(cache, packages), fill)


def _mirror() -> list[str]:
    """The Debian mirror that this machine's apt uses; none on another distribution: mmdebstrap then has its own."""
    words = ["apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages", "Label: Debian"]
    try:
        done = subprocess.run(words, capture_output=True, text=True)
    except FileNotFoundError:
        return []
    return done.stdout.splitlines()[:1]


def fetch_wheels(cache: Path, requirements: str, python: str, glibc_minor: int, report: Report) -> Path:
    """A folder with the aarch64 wheels of a bundle's requirements.txt, and no more, as a device installs them.

    Raises ProfileError. `python` is `3.11`, `glibc_minor` the 36 of glibc 2.36: those of the userland.
    """

    def fill(folder: Path) -> None:
        names = dict.fromkeys(re.split("[<>=~!; ]", line)[0] for line in requirements.splitlines())
        report(f"fetching aarch64 wheels, once: {', '.join(names)}")
        if installed_version("pip") is None:
            raise ProfileError(f"{sys.executable}: has no pip, which fetches the device's wheels: install pip there")
        listed = folder / "requirements.txt"
        folder.mkdir()
        listed.write_text(requirements)
        platforms = [f"manylinux_2_{minor}_aarch64" for minor in range(glibc_minor, OLDEST_GLIBC - 1, -1)]
        words = [sys.executable, "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]
        words += ["--target", str(folder / "site"), "--only-binary=:all:", "--no-deps", "--implementation=cp"]
        words += [f"--python-version={python}", "--platform=manylinux2014_aarch64"]
        words += [f"--platform={platform}" for platform in platforms]
        _run([*words, "--requirement", str(listed)], "pip: the device's wheels could not be fetched")

    name = f"wheels-{python}-{_digest(f'{glibc_minor} {requirements}')}"
    return keep(cache / name, fill) / "site"


def keep(folder: Path, fill: Fill) -> Path:
    """`folder`, filled by the first process that needs it while others wait. It appears whole or not at all.

    Raises ProfileError where the cache cannot be written.
    """
    if folder.is_dir():
        return folder
    work = folder.with_name(f".{folder.name}.work")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with folder.with_name(f".{folder.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.is_dir():
                shutil.rmtree(work, ignore_errors=True)  # of a process that was killed
                try:
                    fill(work)
                    publish_folder(work, folder)
                finally:
                    shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        raise ProfileError(f"{folder.parent}: the cache cannot be used: {error.strerror or error}") from None
    return folder


def _run(words: Sequence[str], failure: str) -> None:
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise ProfileError(f"{failure}: {last_words(done.stderr) or f'it ended with code {done.returncode}'}")


def last_words(stderr: str) -> str:
    """The line that says most of what went wrong: the first that a tool calls an error, or else the last."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    wrong = [line for line in lines if re.search(r"^(e|err|error):|: (fatal )?error: ", line, re.IGNORECASE)]
    return (wrong or lines[-1:] or [""])[0]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
