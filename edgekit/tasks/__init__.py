"""The kinds of models that edgekit knows, one module each: `load` its data, `score` its answers."""

from __future__ import annotations

TASKS = ("text_classification",)
