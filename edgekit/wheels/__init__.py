"""What a device without internet installs: the wheels of a bundle's requirements, resolved where it is built.

name.py     what a wheel's file name says: Python, C library, processor
fetch.py    pip finds them for a target, once per set of requirements
explain.py  why there is none, and what there is instead

Whoever only reads names does not load what fetches.
"""

from __future__ import annotations

from .name import WheelName, parse_wheel

__all__ = ["WheelName", "parse_wheel"]
