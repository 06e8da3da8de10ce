"""Images and a bundle that several tests read."""

from __future__ import annotations

from pathlib import Path

import pytest
from agent.agent_device import write_bundle
from image.images import BOOKWORM, TRIXIE, make_image, need_tools, write_root


@pytest.fixture(scope="session")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """bundle/, bookworm.img, roomy.img, trixie.img, plain.img (GPT, no FAT); not to be changed."""
    need_tools()
    folder = tmp_path_factory.mktemp("image")
    write_bundle(folder / "bundle")
    root = write_root(folder / "root")
    make_image(folder / "bookworm.img", root, BOOKWORM)
    make_image(folder / "roomy.img", root, BOOKWORM, root_mb=64)
    make_image(folder / "plain.img", root, None, label="gpt")
    (root / "usr/bin/cloud-init").write_text("#!")
    make_image(folder / "trixie.img", root, TRIXIE)
    return folder
