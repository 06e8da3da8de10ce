"""Edgekit's folder on a device: where it may lie, and what the agent makes in it.

For whatever acts on that folder as root without the agent's own care: packages, and a card's first boot.
"""

from __future__ import annotations

#: What the agent makes in its folder, by name. All else there is its owner's.
MADE = (
    "agent", "blobs", "current", "incoming", "journal.jsonl", "lock", "pending", "previous", "releases", "runtime",
    "service.json",
)  # fmt: skip
#: In these folders others act, to their lowest depth: the system, package managers, mounts that a boot empties.
_OTHERS = (
    "/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/lost+found", "/proc", "/run", "/sbin",
    "/sys", "/usr", "/var/backups", "/var/lib/apt", "/var/lib/dpkg", "/var/lib/systemd", "/var/lock", "/var/log",
    "/var/mail", "/var/run", "/var/spool",
)  # fmt: skip
#: Folders that many share: one of its own below them is fine.
_SHARED = ("/var/cache", "/var/lib", "/var/local", "/var/opt", "/var/tmp", "/var/www")


def is_own(path: str) -> bool:
    """Whether a whole path without `..` can be edgekit's alone: two levels deep or more, and no system folder."""
    return path.count("/") >= 2 and path not in _SHARED and not any(is_within(path, tree) for tree in _OTHERS)


def is_within(path: str, folder: str) -> bool:
    """Whether a path is the folder, or below it."""
    return f"{path}/".startswith(f"{folder}/")
