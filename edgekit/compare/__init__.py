"""Profiles side by side: the ratio of each figure to the first one's, and whether that exceeds the noise.

change      one figure against the baseline's: the ratio, its interval, a verdict
comparison  what a comparison holds, and its JSON document
likeness    which runs may stand side by side, and what else differs between them
profiles    the figures of measured profiles
counts      the figures of emulated instruction counts, which are no times
files       documents from their files; the two kinds are never mixed
"""

from __future__ import annotations

from .comparison import Comparison
from .files import compare_files
from .profiles import compare

__all__ = ["Comparison", "compare", "compare_files"]
