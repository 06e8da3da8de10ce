"""What a stage that shrinks and trains an encoder says of it: how good it is now, and how large, against before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...artifact import Artifact
from ..network.encoder import Encoder, predict
from ..text.splits import Split
from .loop import TrainResult


def trained_metrics(
    source: Artifact, model: Encoder, validation: Split, result: TrainResult, folder: Path
) -> dict[str, Any]:
    """The metrics of a trained encoder that is saved in `folder`; `…_before` are those of the stage's source.

    `validation_<metric>_untrained` is the task's headline after shrinking and before training.
    """
    logits = predict(model, validation.token_ids, pad_id=model.shape.pad_id)
    scores = validation.score(logits)
    now = {
        **{f"validation_{name}": value for name, value in scores.items() if name != "count"},
        "parameters": model.shape.parameters,
        "macs_per_token": model.shape.macs_per_token,
        "bytes": (folder / "model.safetensors").stat().st_size,
        "vocabulary": model.shape.vocabulary,
    }
    before = {f"{name}_before": source.metrics.get(name) for name in now}
    return {
        **now,
        **before,
        f"validation_{validation.metric}_untrained": result.start_score,
        "steps": result.steps,
        "best_step": result.best_step,
        "stopped_early": result.stopped_early,
    }
