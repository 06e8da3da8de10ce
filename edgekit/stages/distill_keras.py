"""Distillation of image classifiers: a MobileNet or a thinner teacher learns what the teacher answers."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ..artifact import Artifact, Job, Outcome
from ..steps import Distort, Student, WeightedDistillation

ACCEPTS = "keras"
PRODUCES = "keras"
USES = ("tensorflow", "tf_keras", "safetensors")
EXTRA = "images"


class Options(WeightedDistillation):
    """The recipe's step, of which texts have other keys."""

    step: str = "distill"
    student: Annotated[Student, Field(description="its shape")] = Student()
    distort: Annotated[Distort | None, Field(description="how training images are changed")] = Distort()


def run(source: Artifact, options: Options, job: Job) -> Outcome:
    """Write the trained student. Raises ConfigError for losses over maps where no two are of a size."""
    from dataclasses import replace

    from .images.losses import Features
    from .images.models import ImageModel, Pixels, facts, load_model, predict, save_model
    from .images.shrink import count_blocks, leave_out_blocks, shrink
    from .images.students import build_student
    from .images.training import ImageTrainer, read_lessons
    from .keras.loop import prepare

    prepare(job.seed)
    lessons = read_lessons(job, options.distort)
    teacher = lessons.teacher
    assert teacher is not None
    if options.student.architecture == "teacher":
        thin = load_model(source.path)
        student = thin.with_model(leave_out_blocks(shrink(thin.model, options.student.width), options.student.depth))
        blocks = f"{count_blocks(student.model)} of its {count_blocks(teacher.model)} residual blocks"
        note = f"the student starts from the teacher: {blocks}, {options.student.width:g} of the channels within them"
    else:
        prepare(job.seed)  # the random start is this stage's own, whatever was loaded before
        model = build_student(options.student, teacher.shape, len(teacher.labels))
        student = ImageModel(model, Pixels(), teacher.labels)
        wanted = options.student
        note = f"the student: {wanted.architecture}, width {wanted.width:g}, depth {wanted.depth:g}"
    if set(options.losses.chosen) - {"response"}:
        lessons = replace(lessons, features=Features(student, teacher, options))
    result = ImageTrainer(student, lessons, options, job).run()
    save_model(student, job.work)
    own = facts(student, job.work, predict(student, lessons.validation.images), lessons.validation.labels)
    return Outcome(
        {
            **own,
            **{f"{name}_before": source.metrics.get(name) for name in own},
            "validation_accuracy_untrained": result.start_score,
            "steps": result.step,
            "best_step": result.best_step,
        },
        (note,),
    )
