"""The recipe language: which steps there are, and what each of them may say.

A recipe is an ordered list of `[[stage]]` tables; `step` names one of the classes below, the other keys are its
fields. Nothing here names a tool or a board: `plan` picks the stage module that does a step for a target.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(gt=0, le=1)]
Positive = Annotated[int, Field(ge=1)]


class StepOptions(BaseModel):
    """What every step has in common: strict types, no unknown keys, immutable."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, defer_build=True)


class Training(StepOptions):
    """How a step trains, where it does."""

    epochs: Annotated[float, Field(gt=0, description="passes over the training split; 0.5 is half of it")] = 3.0
    batch_size: Positive = 64
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 3e-4
    warmup: Annotated[float, Field(ge=0, lt=1, description="share of the steps over which the rate rises")] = 0.06
    weight_decay: Annotated[float, Field(ge=0, lt=1)] = 0.01
    evaluations: Annotated[Positive, Field(description="how often an epoch looks at the validation split")] = 4
    patience: Annotated[Positive, Field(description="evaluations without a gain before it stops early")] = 6
    train_embeddings: Annotated[bool, Field(description="false keeps the token vectors as they start: faster")] = False
    precision: Annotated[
        Literal["auto", "float32", "bfloat16"], Field(description="auto: bfloat16 where the CPU computes in it")
    ] = "auto"


class Distillation(Training):
    """Response-based distillation: Hinton, Vinyals & Dean 2015, arXiv:1503.02531.

    loss = alpha * T^2 * KL(teacher/T || student/T) + (1 - alpha) * cross-entropy with the labels.
    """

    temperature: Annotated[float, Field(gt=0)] = 2.0
    alpha: Annotated[float, Field(ge=0, le=1, description="weight of the teacher against the labels")] = 0.9


class Teacher(Training):
    """Take the teacher as it is, or fine-tune a base checkpoint, and keep its answers over the data."""

    step: Literal["teacher"] = "teacher"
    fine_tune: Annotated[
        Literal["auto", "always", "never"], Field(description="auto: where it is not a classifier yet")
    ] = "auto"
    train_embeddings: bool = True
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 5e-5


class Distill(Distillation):
    """Train a smaller student on the teacher's answers."""

    step: Literal["distill"] = "distill"
    layers: Annotated[
        Share | list[Annotated[int, Field(ge=0)]],
        Field(description="share of the teacher's layers that the student keeps, or their numbers from 0"),
    ] = 0.5


class Prune(Distillation):
    """Structured pruning: shapes shrink. Then recovery with the distillation loss."""

    step: Literal["prune"] = "prune"
    layers: Annotated[Share, Field(description="share of the layers to keep")] = 1.0
    heads: Annotated[Share, Field(description="share of each layer's attention heads to keep")] = 1.0
    ffn: Annotated[Share, Field(description="share of each layer's feed-forward neurons to keep")] = 1.0
    vocabulary: Annotated[
        Literal["keep", "corpus"], Field(description="corpus: tokens that the training texts never use go")
    ] = "keep"
    least_vocabulary: Annotated[
        float,
        Field(ge=0, le=1, description="share of the tokens that stays at least: the corpus's, then the most frequent"),
    ] = 0.0
    importance_samples: Annotated[Positive, Field(description="training texts that the scores are taken over")] = 1024


class Sparsify(Distillation):
    """Magnitude sparsity: weights become zero, shapes stay; the compressed bundle shrinks, latency does not."""

    step: Literal["sparsify"] = "sparsify"
    sparsity: Annotated[float, Field(gt=0, lt=1, description="share of zero weights in the dense layers")] = 0.5
    pattern: Annotated[
        Literal["unstructured", "2:4", "block"], Field(description="2:4 and block: where the toolchain can")
    ] = "unstructured"
    block: Annotated[tuple[Positive, Positive], Field(strict=False, description="for pattern = 'block'")] = (1, 4)
    epochs: Annotated[float, Field(gt=0)] = 0.5
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 1e-4


class Quantize(Distillation):
    """INT8: after training (ptq) or within it (qat)."""

    step: Literal["quantize"] = "quantize"
    method: Annotated[Literal["ptq", "qat"], Field(description="qat trains with rounded weights first")] = "ptq"
    calibration_samples: Annotated[
        Positive, Field(description="training texts that fix the ranges, where ranges are static")
    ] = 300
    epochs: Annotated[float, Field(gt=0, description="of qat")] = 0.5
    learning_rate: Annotated[float, Field(gt=0, lt=1, description="of qat")] = 3e-5


class Convert(StepOptions):
    """Fix the artifact's format; without it the target's runtime decides."""

    step: Literal["convert"] = "convert"
    format: Literal["ir", "tflite"]


Step = Annotated[Teacher | Distill | Prune | Sparsify | Quantize | Convert, Field(discriminator="step")]
STEPS: dict[str, type[StepOptions]] = {
    "teacher": Teacher, "distill": Distill, "prune": Prune, "sparsify": Sparsify, "quantize": Quantize,
    "convert": Convert,
}  # fmt: skip
