"""SD cards: a bundle into a copy of an operating system's image, so that the board runs it from its first boot on.

No root, no mounts, no block device: FAT by mtools, ext4 by debugfs, both in a copy that appears whole or not at all.
What the board does at its first boot is what `edgekit flash` would have it do: the agent's `install`, golden samples
through the real runtime included.

steps.py       the steps, in their order
place.py       where an image may be read from and written to
work.py        the folder that it is made in
copy.py        the copy, unpacked where the image comes as .xz
table.py       partition tables: MBR, GPT
filesystem.py  what lies in a partition, and how much room it has
ext.py         files into and out of ext4
fat.py         files into and out of FAT
tools.py       the programs that do so
system.py      the operating system in an image
fit.py         whether the bundle can run there
firstboot.py   what is laid into the image for the first boot
"""

from __future__ import annotations

from .firstboot import WAYS, Way
from .steps import ImageOptions, ImageResult, make_image

__all__ = ["WAYS", "ImageOptions", "ImageResult", "Way", "make_image"]
