"""Distillation: a student of fewer layers, started from the teacher's, learns what the teacher answers and computes."""

from __future__ import annotations

from .. import steps
from ..artifact import Artifact, Job, Outcome
from ..shape import answers_of, label_names, problem_of, read_config
from ..tasks.columns import Wanted
from .learning.layers import chosen_layers
from .text.tokens import check_tokenizer, load_tokenizer, separator_of

ACCEPTS = "torch"
PRODUCES = "torch"
USES = ("torch", "transformers", "tokenizers", "safetensors")
EXTRA = "torch"


class Options(steps.Distill):
    """The recipe's step, where texts are cut, and which columns of the user's tables hold them."""

    max_tokens: int
    text_column: str | None = None
    pair_column: str | None = None  # the second text of a pair


def run(source: Artifact, options: Options, job: Job) -> Outcome:
    """Write the trained student.

    It starts from the teacher's layers, or from the folder that the user gave as student, with that one's tokenizer.
    Raises ConfigError for layers that the teacher does not have, for a student folder that cannot be used, and for
    losses that do not fit the two.
    """
    from .learning.lesson import prepare_lesson
    from .learning.loop import train
    from .learning.objective import make_objective
    from .learning.trained import trained_metrics
    from .network.encoder import load_encoder, save_encoder
    from .network.hf_model import write_tokenizer
    from .network.shrink import keep_layers, keep_positions
    from .text.splits import read_split, read_texts

    folder = job.inputs.get("student")
    origin, path = (folder or source.path) / "tokenizer.json", job.work / "tokenizer.json"
    read_config(origin.parent)  # a folder without one is no model's, whatever else it lacks
    write_tokenizer(origin.parent, path)
    tokenizer = load_tokenizer(path, options.max_tokens)
    if folder:
        theirs, separator = read_config(source.path), separator_of(read_texts(job, "train"), tokenizer, origin)
        student = load_encoder(folder, job.seed, label_names(theirs), answers_of(theirs), separator, problem_of(theirs))
        notes: tuple[str, ...] = ()
    else:
        teacher = load_encoder(source.path)
        layers = chosen_layers(len(teacher.shape.layers), options.layers)
        student = keep_layers(teacher, layers)
        notes = (f"the student starts from the teacher's layers {', '.join(map(str, layers))}",)
    check_tokenizer(origin, tokenizer, student.shape.vocabulary, student.shape.positions)
    if student.shape.positions > options.max_tokens:
        notes += (
            f"of {student.shape.positions} position vectors {options.max_tokens} stay: texts have no more tokens",
        )
        student = keep_positions(student, options.max_tokens)
    training, validation = (read_split(job, tokenizer, split) for split in ("train", "validation"))
    columns = Wanted(options.text_column, None, options.pair_column)
    lesson = prepare_lesson(training, tokenizer, options, columns, job)
    notes += lesson.notes
    objective = make_objective(student, lesson.teacher_ids, lesson.rows, options, job)
    result = train(student, lesson.rows, validation, options, job, student.shape.pad_id, objective=objective)
    save_encoder(student, job.work, path)
    notes += (f"the losses: {options.losses}",) if objective else ()
    return Outcome(trained_metrics(source, student, validation, result, job.work), notes)
