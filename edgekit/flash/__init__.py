"""Flashing: a bundle onto a device, step by step, each of which can be cut off and continued.

steps.py    the steps of one device, in their order
fit.py      what a device must have, and what is refused
remote.py   the agent on the device, as a function call
there.py    what a device runs, asked from here
send.py     the files that a device lacks
result.py   what came of it, and who watches
"""

from __future__ import annotations

from .remote import Refusal, Remote
from .result import FlashResult, Reporter, Silent, Step, Transfer, document
from .steps import FlashOptions, flash, flash_each
from .there import run_there

__all__ = [
    "FlashOptions", "FlashResult", "Refusal", "Remote", "Reporter", "Silent", "Step", "Transfer", "document", "flash",
    "flash_each", "run_there",
]  # fmt: skip
