"""Response-based distillation: a student of fewer layers, started from the teacher's, learns the teacher's answers."""

from __future__ import annotations

from collections.abc import Sequence

from .. import steps
from ..artifact import Artifact, Job, Outcome
from ..errors import ConfigError
from ..shape import label_names, read_config
from .tokens import check_tokenizer, load_tokenizer

ACCEPTS = "torch"
PRODUCES = "torch"
USES = ("torch", "transformers", "tokenizers", "safetensors")
EXTRA = "torch"


class Options(steps.Distill):
    """The recipe's step, and where texts are cut."""

    max_tokens: int


def run(source: Artifact, options: Options, job: Job) -> Outcome:
    """Write the trained student.

    It starts from the teacher's layers, or from the folder that the user gave as student, with that one's tokenizer.
    Raises ConfigError for layers that the teacher does not have, and for a student folder that cannot be used.
    """
    from .encoder import load_encoder, save_encoder
    from .hf_model import write_tokenizer
    from .shrink import keep_layers, keep_positions
    from .token_splits import read_split
    from .trained import trained_metrics
    from .training import train

    folder = job.inputs.get("student")
    if folder:
        student = load_encoder(folder, job.seed, label_names(read_config(source.path)))
        notes: tuple[str, ...] = ()
    else:
        teacher = load_encoder(source.path)
        layers = chosen_layers(len(teacher.shape.layers), options.layers)
        student = keep_layers(teacher, layers)
        notes = (f"the student starts from the teacher's layers {', '.join(map(str, layers))}",)
    origin, path = (folder or source.path) / "tokenizer.json", job.work / "tokenizer.json"
    write_tokenizer(origin.parent, path)
    tokenizer = load_tokenizer(path, options.max_tokens)
    check_tokenizer(origin, tokenizer, student.shape.vocabulary, student.shape.positions)
    if student.shape.positions > options.max_tokens:
        notes += (
            f"of {student.shape.positions} position vectors {options.max_tokens} stay: texts have no more tokens",
        )
        student = keep_positions(student, options.max_tokens)
    training, validation = (read_split(job, tokenizer, split) for split in ("train", "validation"))
    result = train(student, training, validation, options, job, student.shape.pad_id)
    save_encoder(student, job.work, path)
    return Outcome(trained_metrics(source, student, validation, result, job.work), notes)


def chosen_layers(depth: int, wanted: float | Sequence[int]) -> list[int]:
    """The numbers of the teacher's layers that a student starts from, ascending.

    A share is spread evenly from the first layer to the last, which for half of 12 gives DistilBERT's own choice of
    0, 2, 4, 7, 9, 11 (Sanh et al. 2019, arXiv:1910.01108). A list is taken as it is. Raises ConfigError for a number
    that the teacher does not have, or that stands there twice.
    """
    if isinstance(wanted, float):
        count = max(1, round(wanted * depth))
        return [round(at * (depth - 1) / max(1, count - 1)) for at in range(count)]
    outside = [number for number in wanted if number >= depth]
    if outside or not wanted or len(set(wanted)) < len(wanted):
        what = f"layer {outside[0]} of a teacher" if outside else f"{list(wanted)} of a teacher"
        raise ConfigError(f"distill.layers: {what} with layers 0 … {depth - 1}; possible: some of these, each once")
    return sorted(wanted)
