"""A card from its image to its second boot: an emulated ARM machine, systemd, the real runtime. On request: minutes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from image import board, images

from edgekit.bundle import open_bundle
from edgekit.flash import Step
from edgekit.image import ImageOptions, Way, make_image

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(
        not os.environ.get("EDGEKIT_BOOT_CARDS"),
        reason="boots systems for 6 minutes: EDGEKIT_BOOT_CARDS=1 lets it",
    ),
]


class Silent:
    """Nobody watches."""

    def started(self, name: str) -> None: ...
    def progress(self, done: int, total: int | None) -> None: ...
    def finished(self, step: Step) -> None: ...


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("board")
    (folder / "work").mkdir()
    return board.make_board(folder / "base.img", folder / "work")


@pytest.mark.parametrize("way", ["firstrun", "unit"])
def test_a_card_answers_from_its_first_boot_on(way: Way, base: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    card = tmp_path / "card.img"
    options = ImageOptions(python="/opt/venv/bin/python3", way=way, service={})
    make_image(base, open_bundle(tiny_bundle), card, options, Silent())
    first = board.boot(card)
    log = images.boot_file(card, "edgekit-first-boot.log")
    assert '"max_difference"' in log
    assert log.endswith(" done\n"), log
    assert images.boot_file(card, "cmdline.txt") == board.CMDLINE
    said = first if way == "unit" else board.boot(card)
    assert "LAB service active" in said
    assert '"ok": true' in said
    assert "LAB left 0" in said
