"""One HTML file of bundles, profiles, costs and instruction counts, that a person would rather look at than read JSON.

sources.py reads the inputs, names.py says what to call each run; built, tradeoff, latency, sustained, energy, work,
counts and money make the sections (content.py) with drawings (drawing.py, strips.py, money_figures.py); page.py renders
them with page.html.j2 and style.css.
"""

from __future__ import annotations

from .write import Written, write_report

__all__ = ["Written", "write_report"]
