"""The recipe language: which steps there are, and what each of them may say.

A recipe is an ordered list of `[[stage]]` tables; `step` names one of the classes below, the other keys are its
fields. Nothing here names a tool or a board: `plan` picks the stage module that does a step for a target.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

Share = Annotated[float, Field(gt=0, le=1)]
Below = Annotated[float, Field(gt=0, lt=1)]
#: Passes over the data; more than the most is a slip of the pen, and would never end.
Epochs = Annotated[float, Field(gt=0, le=10_000)]
Positive = Annotated[int, Field(ge=1)]
Number = Annotated[int, Field(ge=0)]


def _width(value: float) -> float:
    """A share of a width (a float, or 1) or the width itself; vectors are computed in groups of 8 numbers."""
    if not (0 < value <= 1 if isinstance(value, float) or value == 1 else value >= 8 and value % 8 == 0):
        raise ValueError("expected a share above 0 and at most 1, such as 0.67, or a width that is a multiple of 8")
    return value


Width = Annotated[int | float, AfterValidator(_width)]
Weight = Annotated[float, Field(ge=0)]


def _refuse(found: object) -> object:
    raise ValueError("the toolchain that makes this model has no such thing; leave the key out")


#: The type, in a stage's Options, of a key that its toolchain cannot do: a recipe that has it is refused.
NotOffered = Annotated[None, BeforeValidator(_refuse)]


class StepOptions(BaseModel):
    """What every step has in common: strict types, finite numbers, no unknown keys, immutable."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, defer_build=True, allow_inf_nan=False)


class Training(StepOptions):
    """How a step trains, where it does."""

    epochs: Annotated[Epochs, Field(description="passes over the training split; 0.5 is half of it")] = 3.0
    batch_size: Positive = 64
    learning_rate: Below = 3e-4
    warmup: Annotated[float, Field(ge=0, lt=1, description="share of the steps over which the rate rises")] = 0.06
    weight_decay: Annotated[float, Field(ge=0, lt=1)] = 0.01
    evaluations: Annotated[Positive, Field(description="how often an epoch looks at the validation split")] = 4
    patience: Annotated[Positive, Field(description="evaluations without a gain before it stops early")] = 6
    best_by: Annotated[
        Literal["score", "loss"],
        Field(description="which evaluation's weights are kept: that of the best headline, or of the least loss"),
    ] = "score"
    train_embeddings: Annotated[bool, Field(description="false keeps the token vectors as they start: faster")] = False
    precision: Annotated[
        Literal["auto", "float32", "bfloat16"], Field(description="auto: bfloat16 where the CPU computes in it")
    ] = "auto"


class Distillation(Training):
    """Response-based distillation: Hinton, Vinyals & Dean 2015, arXiv:1503.02531.

    loss = alpha * T^2 * KL(teacher/T || student/T) + (1 - alpha) * cross-entropy with the labels.
    """

    temperature: Annotated[float, Field(ge=0.01, le=1000)] = 2.0
    alpha: Annotated[float, Field(ge=0, le=1, description="weight of the teacher against the labels")] = 0.9


class Losses(StepOptions):
    """The weight of each distillation loss in the sum; stages/learning/losses.py has their formulas and papers.

    Response-based: response. Feature-based, by `layer_map`: hidden, attention, value_relation. Relation-based, between
    the texts of a batch: distance, angle, similarity.
    """

    response: Annotated[Weight, Field(description="the teacher's answers at `temperature`")] = 0.0
    hidden: Annotated[Weight, Field(description="outputs of the mapped layers; other widths are projected")] = 0.0
    attention: Annotated[Weight, Field(description="attention of the mapped layers, each the mean of its heads")] = 0.0
    value_relation: Annotated[Weight, Field(description="relations of the values in the last mapped layers")] = 0.0
    distance: Annotated[Weight, Field(description="distances between texts")] = 0.0
    angle: Annotated[Weight, Field(description="angles between three texts each")] = 0.0
    similarity: Annotated[Weight, Field(description="similarities of the texts")] = 0.0

    @model_validator(mode="after")
    def _some(self) -> Losses:
        if not self.chosen:
            raise ValueError(f"expected a weight above 0 for one at least of {', '.join(type(self).model_fields)}")
        return self

    @property
    def chosen(self) -> dict[str, float]:
        """The losses with a weight above 0."""
        return {name: weight for name, weight in self if weight > 0}

    @property
    def need_teacher(self) -> bool:
        """Whether one of them looks into the teacher itself; for `response` its answers are enough."""
        return any(name != "response" for name in self.chosen)

    def __str__(self) -> str:
        return ", ".join(f"{name} {weight:g}" for name, weight in self.chosen.items())


class WeightedDistillation(Distillation):
    """Distillation by any weighted sum of losses.

    loss = alpha * (sum of weight * loss) + (1 - alpha) * cross-entropy with the labels; `response` is T^2 * KL.
    """

    losses: Annotated[Losses, Field(description="weights; a loss that is not named has 0")] = Losses(response=1.0)

    @field_validator("losses")
    @classmethod
    def _count(cls, losses: Losses, others: ValidationInfo) -> Losses:
        if others.data.get("alpha") == 0 and losses.need_teacher:
            raise ValueError("but alpha = 0 lets the labels alone count; expected alpha above 0")
        return losses


class Augment(StepOptions):
    """Changed copies of the training texts, on which the teacher's answers alone count."""

    copies: Annotated[int, Field(ge=1, le=100, description="of each text")] = 1
    mask: Annotated[float, Field(ge=0, le=1, description="probability that a word becomes [MASK]")] = 0.1
    replace: Annotated[float, Field(ge=0, le=1, description="probability that it becomes a word near it")] = 0.1

    @model_validator(mode="after")
    def _change(self) -> Augment:
        if not 0 < self.mask + self.replace <= 1:
            raise ValueError("expected mask + replace above 0 and at most 1")
        return self


class TextDistillation(WeightedDistillation):
    """What only texts have of it: layers to compare, and words to change."""

    layer_map: Annotated[
        Literal["uniform", "last"] | list[list[int]],
        Field(description="which teacher's layer teaches a student's: evenly, the last ones, or [student, teacher]"),
    ] = "uniform"
    augment: Annotated[
        Augment | None, Field(description="more texts to learn on: copies with masked and replaced words")
    ] = None

    @field_validator("layer_map")
    @classmethod
    def _pairs(cls, layer_map: str | list[list[int]]) -> str | list[list[int]]:
        if isinstance(layer_map, list) and (not layer_map or any(len(p) != 2 or min(p) < 0 for p in layer_map)):
            raise ValueError("expected pairs [student's layer, teacher's layer], from 0, such as [[0, 1], [2, 5]]")
        return layer_map


class Teacher(Training):
    """Take the teacher as it is, or fine-tune a base checkpoint, and keep its answers over the data."""

    step: Literal["teacher"] = "teacher"
    fine_tune: Annotated[
        Literal["auto", "always", "never"], Field(description="auto: where it is not a classifier yet")
    ] = "auto"
    train_embeddings: bool = True
    learning_rate: Below = 5e-5
    pixels: Annotated[
        Literal["auto", "0..255", "0..1", "-1..1", "imagenet", "imagenet-bgr"],
        Field(description="of images: what a pixel is to the teacher; auto: the way in which it answers best"),
    ] = "auto"
    labels: Annotated[list[str], Field(description="of images: what the teacher's outputs mean, in their order")] = []

    @field_validator("labels")
    @classmethod
    def _each_once(cls, labels: list[str]) -> list[str]:
        if twice := [label for label in labels if labels.count(label) > 1]:
            raise ValueError(f"expected each label once; found '{twice[0]}' twice")
        return labels


class Student(StepOptions):
    """The shape of an image classifier's student. MobileNets' papers: arXiv:1801.04381, arXiv:1905.02244."""

    architecture: Annotated[
        Literal["mobilenet_v2", "mobilenet_v3", "resnet", "teacher"],
        Field(description="mobilenet_v3 is the minimalistic one; teacher: the teacher with a share of its channels"),
    ] = "mobilenet_v2"
    width: Annotated[float, Field(gt=0, le=2, description="times as many channels as the architecture's")] = 0.35
    depth: Annotated[
        float,
        Field(gt=0, le=2, description="times as many blocks of each size, one at least; teacher: share that stays of "
                                      "the blocks that hand on the shape they are given"),
    ] = 1.0  # fmt: skip


class Distort(StepOptions):
    """How far training images are changed; the teacher answers the changed ones."""

    flip: Annotated[bool, Field(description="half of them are mirrored: not for digits or letters")] = False
    shift: Annotated[float, Field(ge=0, le=0.5, description="moved by up to this share of the size")] = 0.1
    zoom: Annotated[float, Field(ge=0, le=0.7, description="log of the largest zoom, in and out")] = 0.1
    rotate: Annotated[float, Field(ge=0, le=180, description="degrees, either way")] = 10.0
    mix: Annotated[float, Field(ge=0, le=1, description="share of images that another one shines through")] = 0.0


class Distill(TextDistillation):
    """Train a smaller student on what the teacher answers, and where asked for on what it computes on the way."""

    step: Literal["distill"] = "distill"
    layers: Annotated[
        Share | list[Number],
        Field(description="share of the teacher's layers that the student keeps, or their numbers from 0"),
    ] = 0.5
    student: Annotated[Student | None, Field(description="of images: the shape that the student has")] = None
    distort: Annotated[Distort | None, Field(description="of images: how training images are changed")] = None


class Prune(TextDistillation):
    """Structured pruning: shapes shrink. Then recovery by distillation."""

    step: Literal["prune"] = "prune"
    layers: Annotated[Share, Field(description="share of the layers to keep")] = 1.0
    heads: Annotated[Share, Field(description="share of each layer's attention heads to keep")] = 1.0
    ffn: Annotated[Share, Field(description="share of each layer's feed-forward neurons to keep")] = 1.0
    hidden: Annotated[
        Width, Field(description="share of the width of the stream between the layers to keep, or that width")
    ] = 1.0
    embedding: Annotated[
        Width | None, Field(description="width of the token vectors, or their share of it, widened by a matrix then")
    ] = None
    vocabulary: Annotated[
        Literal["keep", "corpus"], Field(description="corpus: tokens that the training texts never use go")
    ] = "keep"
    least_vocabulary: Annotated[
        float,
        Field(ge=0, le=1, description="share of the tokens that stays at least: the corpus's, then the most frequent"),
    ] = 0.0
    importance_samples: Annotated[Positive, Field(description="training texts that the scores are taken over")] = 1024
    target_latency_ratio: Annotated[
        Below | None,
        Field(description="share of the model's latency, measured on the target's runtime; finds the shape"),
    ] = None
    target_macs_ratio: Annotated[
        Below | None, Field(description="share of the model's multiply-accumulates for one token; finds the shape")
    ] = None
    target_bytes_ratio: Annotated[Below | None, Field(description="share of its parameters; finds the shape")] = None
    rounds: Annotated[
        int,
        Field(ge=1, le=1000, description="prune and recover so many times, each a part of the way, in the same epochs"),
    ] = 1

    @field_validator("target_latency_ratio", "target_macs_ratio", "target_bytes_ratio")
    @classmethod
    def _finds_the_shape(cls, ratio: float | None, others: ValidationInfo) -> float | None:
        if ratio is None:
            return None
        given = [name for name in ("layers", "heads", "ffn") if others.data.get(name, 1) != 1]
        given += [name for name in others.data if name.startswith("target_") and others.data[name] is not None]
        if given:
            raise ValueError(f"together with {' and '.join(given)}; expected a budget or shares, and one budget only")
        return ratio

    @property
    def budget(self) -> tuple[str, float] | None:
        """What the step may cost, where it finds the shape itself: "latency", "macs" or "bytes", and the share."""
        for kind in ("latency", "macs", "bytes"):
            if (ratio := getattr(self, f"target_{kind}_ratio")) is not None:
                return kind, ratio
        return None


class Sparsify(Distillation):
    """Sparsity: weights become zero, shapes stay; the compressed bundle shrinks, latency does not."""

    step: Literal["sparsify"] = "sparsify"
    method: Annotated[
        Literal["magnitude", "regularisation"],
        Field(description="magnitude: the smallest weights; regularisation: those that training finds superfluous"),
    ] = "magnitude"
    scope: Annotated[
        Literal["local", "global"],
        Field(description="of the threshold: each matrix its own, or one over all, by each matrix's norm"),
    ] = "local"
    sparsity: Annotated[Below, Field(description="share of zero weights in the dense layers")] = 0.5
    pattern: Annotated[
        Literal["unstructured", "2:4", "block"], Field(description="2:4 and block: where the toolchain can")
    ] = "unstructured"
    block: Annotated[tuple[Positive, Positive], Field(strict=False, description="for pattern = 'block'")] = (1, 4)
    epochs: Epochs = 0.5
    learning_rate: Below = 1e-4

    @model_validator(mode="after")
    def _fits(self) -> Sparsify:
        if self.pattern == "2:4" and self.sparsity != 0.5:
            raise ValueError(f"pattern '2:4' is a sparsity of 0.5; found {self.sparsity}")
        if "block" in self.model_fields_set and self.pattern != "block":
            raise ValueError(f"block counts with pattern = 'block' only; found pattern '{self.pattern}'")
        return self


class Cluster(Distillation):
    """Weights that share few values: the compressed bundle shrinks, latency does not. Weights that are zero stay so."""

    step: Literal["cluster"] = "cluster"
    clusters: Annotated[
        int, Field(ge=3, le=255, description="values that each dense layer's weights share, zero one of them if sparse")
    ] = 16
    init: Annotated[
        Literal["kmeans++", "linear"], Field(description="where the values start: by density, or evenly spread")
    ] = "kmeans++"
    epochs: Epochs = 0.5
    learning_rate: Below = 1e-4


class Quantize(Distillation):
    """INT8: after training (ptq) or within it (qat); or half precision (fp16)."""

    step: Literal["quantize"] = "quantize"
    method: Annotated[
        Literal["ptq", "qat", "fp16"],
        Field(description="qat trains with rounded weights first; fp16 is half precision, for GPUs"),
    ] = "ptq"
    activations: Annotated[
        Literal["auto", "dynamic", "static"],
        Field(description="ranges taken while it runs, or fixed over calibration texts; auto: the toolchain's way"),
    ] = "auto"
    calibration_samples: Annotated[
        Positive, Field(description="training texts that fix the ranges, where ranges are static")
    ] = 300
    smooth_quant: Annotated[
        Annotated[float, Field(ge=0, le=1)] | Literal["off"] | None,
        Field(description="SmoothQuant's alpha: how far outliers of activations move into the weights; or off"),
    ] = None
    bias_correction: Annotated[
        Literal["fast", "accurate", "off"] | None, Field(description="biases take up the mean error of INT8")
    ] = None
    max_drop: Annotated[
        Below | None,
        Field(description="layers go back to float until the validation split loses no more than this"),
    ] = None
    drop_metric: Annotated[
        Literal["accuracy", "agreement"], Field(description="what max_drop counts; agreement needs no labels")
    ] = "accuracy"
    keep_float: Annotated[
        Literal["auto"] | list[str], Field(description="layers that stay in float; auto: those that lose the most")
    ] = []
    keep_float_below_db: Annotated[
        float, Field(gt=0, lt=100, description="auto keeps layers whose own signal-to-noise ratio is below it")
    ] = 20.0
    epochs: Annotated[Epochs, Field(description="of qat")] = 0.5
    learning_rate: Annotated[Below, Field(description="of qat")] = 3e-5

    @field_validator("drop_metric")
    @classmethod
    def _of_drop(cls, metric: str, others: ValidationInfo) -> str:
        if others.data.get("max_drop", 0) is None:
            raise ValueError("but without max_drop nothing counts it")
        return metric

    @field_validator("keep_float_below_db")
    @classmethod
    def _of_auto(cls, limit: float, others: ValidationInfo) -> float:
        if others.data.get("keep_float", "auto") != "auto":
            raise ValueError("but only keep_float = 'auto' asks for a limit")
        return limit


class Convert(StepOptions):
    """Fix the artifact's format; without it the target's runtime decides."""

    step: Literal["convert"] = "convert"
    format: Literal["ir", "tflite", "onnx"]


#: Keys of steps that only images have.
IMAGE_KEYS = frozenset({"student", "distort", "pixels", "labels"})
#: Keys of every step that trains which only texts have.
TEXT_KEYS = frozenset({"precision", "train_embeddings"})

Step = Annotated[Teacher | Distill | Prune | Sparsify | Cluster | Quantize | Convert, Field(discriminator="step")]
STEPS: dict[str, type[StepOptions]] = {
    "teacher": Teacher, "distill": Distill, "prune": Prune, "sparsify": Sparsify, "cluster": Cluster,
    "quantize": Quantize, "convert": Convert,
}  # fmt: skip
