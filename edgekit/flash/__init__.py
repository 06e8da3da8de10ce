"""Flashing: a bundle onto a device, step by step, each of which can be cut off and continued.

fleet.py    many devices at once, in waves
waves.py    who goes first, and how many may fail
record.py   what is done of a fleet, so that another run can go on from there
back.py     a fleet's device back to what it ran
steps.py    the steps of one device, in their order
service.py  the service there, where it is asked for
fit.py      what a device must have, and what is refused
remote.py   the agent on the device, as a function call
there.py    what a device runs, asked from here
send.py     the files that a device lacks
result.py   what came of it, and who watches
"""

from __future__ import annotations

from .fleet import Count, FleetResult, flash_fleet
from .record import create_record, default_path, make_head, resume_record
from .remote import Refusal, Remote
from .result import FlashResult, Reporter, Silent, Step, Transfer, document
from .service import Service
from .steps import FlashOptions, flash, flash_each
from .there import run_there
from .waves import Policy, Wave, make_policy

__all__ = [
    "Count", "FlashOptions", "FlashResult", "FleetResult", "Policy", "Refusal", "Remote", "Reporter", "Service",
    "Silent", "Step", "Transfer", "Wave", "create_record", "default_path", "document", "flash", "flash_each",
    "flash_fleet", "make_head", "make_policy", "resume_record", "run_there",
]  # fmt: skip
