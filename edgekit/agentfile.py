"""The agent as one file that a device's own Python runs: the same sources give the same bytes."""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

from . import agent as agent_package

#: Old syntax, so that an old Python can read it and say what is the matter.
_MAIN = """
import sys
if sys.version_info < (3, 9):
    sys.exit("edgekit: this is Python %d.%d; the agent needs 3.9 or newer" % sys.version_info[:2])
from agent.__main__ import main
sys.exit(main(sys.argv[1:]))
""".lstrip()
#: The earliest time that a zip archive can say.
_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class AgentFile:
    """The agent's bytes; `digest16` is the beginning of their sha256, and of the file's name on the device."""

    content: bytes
    digest16: str

    @property
    def name(self) -> str:
        """What it is called in B/agent."""
        return f"{self.digest16}.pyz"


def build_agent() -> AgentFile:
    """Pack edgekit/agent as a zipapp."""
    folder = Path(agent_package.__file__).parent
    sources = {f"agent/{p.relative_to(folder).as_posix()}": p.read_bytes() for p in folder.rglob("*.py")}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, content in sorted({**sources, "__main__.py": _MAIN.encode()}.items()):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system, entry.external_attr = 3, 0o100644 << 16
            archive.writestr(entry, content)
    content = packed.getvalue()
    return AgentFile(content, hashlib.sha256(content).hexdigest()[:16])
