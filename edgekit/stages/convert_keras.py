"""Build the Keras twin of a text encoder, which TensorFlow's tools work on, and prove that it answers the same."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from ..artifact import Artifact, Job, Outcome
from ..errors import StageError
from ..steps import StepOptions

ACCEPTS = "torch"
PRODUCES = "keras"
USES = ("torch", "safetensors", "tokenizers", "tensorflow", "tf_keras")
EXTRA = "tflite"

#: Largest difference of a logit that float32 arithmetic in another order explains.
TOLERANCE = 1e-4
CHECKED_TEXTS = 256


class Options(StepOptions):
    """What the twin must be able to read."""

    max_tokens: Annotated[int, Field(ge=1, description="longest text, in tokens")]


def run(source: Artifact, options: Options, job: Job) -> Outcome:
    """Copy the encoder's parameters into its twin and compare both on texts of the validation split.

    Raises StageError where a logit differs by more than 1e-4.
    """
    from .keras import twin
    from .network import encoder
    from .text.splits import read_token_ids
    from .text.tokens import load_tokenizer

    tokenizer = source.path / "tokenizer.json"
    token_ids = read_token_ids(job, load_tokenizer(tokenizer, options.max_tokens), "validation", CHECKED_TEXTS)
    torch_model = encoder.load_encoder(source.path)
    shape = torch_model.shape
    expected = encoder.predict(torch_model, token_ids, pad_id=shape.pad_id)
    job.progress(1, 3, "parts", "read")
    model = twin.build_twin(shape, options.max_tokens)
    twin.fill_twin(model, {name: tensor.numpy() for name, tensor in torch_model.state_dict().items()})
    job.progress(2, 3, "parts", "built")
    found = twin.predict(twin.compiled(model), token_ids, shape.pad_id)
    difference = float(np.abs(found - expected).max())
    if not difference <= TOLERANCE:
        raise StageError(
            f"{source.path}: the Keras twin's logits differ from PyTorch's by up to {difference:.2g} over "
            f"{len(token_ids)} texts; possible: at most {TOLERANCE:.0e}"
        )
    twin.save_twin(model, shape, job.work, tokenizer)
    job.progress(3, 3, "parts", "compared")
    return Outcome(
        metrics={
            "max_abs_diff": difference,
            "compared_texts": len(token_ids),
            "parameters": model.count_params(),
            "bytes": (job.work / "weights.safetensors").stat().st_size,
        }
    )
