"""Image classifiers from a teacher's file to full INT8: what is loaded, what is learnt, and what ships."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest
from tiny_images import small_model, write_dataset
from tiny_models import artifact, make_job

from edgekit.artifact import Artifact, Outcome
from edgekit.errors import ConfigError
from edgekit.modelfiles.keras import KerasFile, read_keras_file
from edgekit.stages import (
    convert_openvino_images,
    convert_tflite_images,
    dataset_images,
    distill_keras,
    quantize_nncf_images,
    quantize_tflite_images,
    quantize_tfmot_images,
    sparsify_tfmot_images,
    teacher_keras,
    validate,
)
from edgekit.steps import Distort, Student
from edgekit.tasks import image_classification

pytestmark = [
    pytest.mark.heavy,
    # of the toolkit's own import, once in a process
    pytest.mark.filterwarnings("ignore:distutils Version classes are deprecated:DeprecationWarning"),
    # tf_keras advises its own format against .h5, which is what is tested
    pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file:UserWarning"),
]

QUICK: dict[str, Any] = {"epochs": 2.0, "batch_size": 16, "learning_rate": 3e-3, "evaluations": 1}
MOVED = Distort(shift=0.05, rotate=5.0, mix=0.2)
Earlier = dict[str, Artifact]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return write_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def teacher_file(dataset: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that was trained on fractions from -1 to 1, saved as a stranger would."""
    from edgekit.stages.keras.framework import import_keras

    _, keras = import_keras()
    examples = image_classification.load(dataset.path, "train")
    model = small_model()
    model.compile(keras.optimizers.legacy.Adam(1e-2), "sparse_categorical_crossentropy")
    model.fit(examples.images / 127.5 - 1, examples.labels, epochs=25, batch_size=11, verbose=0)
    path = tmp_path_factory.mktemp("teacher") / "teacher.h5"
    model.save(path)
    return path


def teach(
    file: Path, dataset: Artifact, work: Path, told: Any = None, **options: Any
) -> tuple[Artifact, Outcome]:  # fmt: skip
    job = make_job(work, {"dataset": dataset}, told)
    job.inputs["teacher"] = file  # type: ignore[index]
    outcome = teacher_keras.run(dataset, teacher_keras.Options(**options), job)
    return artifact(work, "keras"), outcome


@pytest.fixture(scope="module")
def earlier(dataset: Artifact, teacher_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Earlier:
    made, _ = teach(teacher_file, dataset, tmp_path_factory.mktemp("earlier") / "teacher")
    return {"dataset": dataset, "teacher": made}


def test_the_teacher_is_fed_in_the_way_in_which_it_answers(
    teacher_file: Path, dataset: Artifact, tmp_path: Path
) -> None:
    made, outcome = teach(teacher_file, dataset, tmp_path / "a")
    assert outcome.metrics["validation_accuracy"] > 0.9
    assert outcome.notes[0].startswith("pixels are -1..1 to the teacher, which then answers ")
    assert json.loads((made.path / "config.json").read_text())["pixels"]["offset"] == [-1.0]
    logits = np.load(made.path / "logits_test.npy")
    labels = image_classification.load(dataset.path, "test").labels
    assert (logits.argmax(axis=1) == labels).mean() > 0.9
    assert np.abs(logits.sum(axis=1) - 1).max() > 0.1, "logits, not probabilities"


@pytest.mark.parametrize("wrong", ["order", "labels"])
def test_labels_that_the_teacher_does_not_mean_are_found_out(
    wrong: str, teacher_file: Path, dataset: Artifact, tmp_path: Path
) -> None:
    copytree(dataset.path, tmp_path / "data")
    for split in ("train", "validation", "test"):
        path = tmp_path / "data" / f"{split}_labels.npy"
        labels = np.load(path)
        np.save(path, (labels + 1) % 3 if wrong == "order" else np.random.default_rng(0).permutation(labels))
    with pytest.raises(ConfigError) as caught:
        teach(teacher_file, artifact(tmp_path / "data", "dataset"), tmp_path / "a")
    if wrong == "order":
        assert "its outputs mean the labels in another order: as they are it answers 0.000" in str(caught.value)
        assert '--set \'teacher.labels=["green", "red", "blue"]\'' in str(caught.value)
    else:
        assert "which is chance for 3 labels; possible: --set teacher.labels=" in str(caught.value)
        assert "or --set teacher.fine_tune=always" in str(caught.value)
        data = artifact(tmp_path / "data", "dataset")
        _, outcome = teach(teacher_file, data, tmp_path / "b", fine_tune="always", epochs=0.1, batch_size=16)
        assert outcome.metrics["steps"] == 4


def test_a_weak_teacher_of_two_labels_is_no_chance() -> None:
    file = KerasFile(Path("m.h5"), {}, "2", (4, 4, 1), 2)
    teacher_keras._check_order(file, np.array([[150, 75], [75, 150]]), ("a", "b"), 2 / 3)
    with pytest.raises(ConfigError, match=r"answers 0\.540 of 450 training images right, which is chance for 2"):
        teacher_keras._check_order(file, np.array([[120, 102], [105, 123]]), ("a", "b"), 243 / 450)


def test_three_channels_of_one_are_refused() -> None:
    from edgekit.stages.keras.framework import import_keras

    _, keras = import_keras()
    model = keras.Sequential([keras.layers.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(2)])
    examples = image_classification.Examples(np.zeros((2, 4, 4, 1), np.uint8), np.array([0, 1]), ("a", "b"))
    file = KerasFile(Path("m.h5"), {}, "2", (4, 4, 1), 2)
    with pytest.raises(ConfigError, match=r"found imagenet, which is for three channels.* possible: auto, 0\.\.255, "):
        teacher_keras._as_it_is(file, model, ("a", "b"), examples, teacher_keras.Options(pixels="imagenet"))


def test_a_file_becomes_its_flat_logits(teacher_file: Path, tmp_path: Path) -> None:
    from edgekit.stages.images import models as image_models
    from edgekit.stages.keras.framework import import_keras

    tf, keras = import_keras()
    inner = keras.models.load_model(teacher_file, compile=False)
    nested = keras.Sequential([keras.layers.InputLayer((8, 8, 3)), inner, keras.layers.Softmax()])
    images = np.random.default_rng(0).normal(size=(5, 8, 8, 3)).astype(np.float32)
    for model, name in ((inner, "inner.keras"), (nested, "nested.h5")):
        model.save(tmp_path / name)
        flat = image_models.load_file(read_keras_file(tmp_path / name))
        assert all(not hasattr(layer, "layers") for layer in flat.layers)
        found = flat(images).numpy()
        if model is inner:  # the softmax of a dense layer went, a layer of its own too
            found = tf.nn.softmax(found).numpy()
        np.testing.assert_allclose(found, inner(images).numpy(), atol=1e-5)
    import keras as keras3

    given = keras3.Input((8, 8, 3))
    x = keras3.layers.Conv2D(4, 3, activation="relu", name="c")(keras3.layers.Rescaling(0.5)(given))
    y = keras3.layers.LeakyReLU(negative_slope=0.3)(keras3.layers.DepthwiseConv2D(3, padding="same")(x))
    body = keras3.Model(given, keras3.layers.Concatenate()([x, y]))
    newer = keras3.Sequential([given, body, keras3.layers.GlobalAveragePooling2D(), keras3.layers.Dense(3)])
    newer.save(tmp_path / "newer.keras")
    file = read_keras_file(tmp_path / "newer.keras")
    assert (file.is_legacy, file.shape, file.outputs) == (False, (8, 8, 3), 3)
    np.testing.assert_allclose(image_models.load_file(file)(images), newer(images), atol=1e-5)
    wrong = keras.Sequential([keras.layers.InputLayer((8, 8, 3)), keras.layers.Flatten(),
                              keras.layers.Dense(3, activation="sigmoid", name="end")])  # fmt: skip
    wrong.save(tmp_path / "wrong.h5")
    with pytest.raises(ConfigError, match="last layer 'end' ends in sigmoid; possible: softmax, or logits"):
        image_models.load_file(read_keras_file(tmp_path / "wrong.h5"))


def test_any_graph_of_known_layers_answers_as_before_or_is_refused() -> None:
    from edgekit.stages.images import models as image_models
    from edgekit.stages.keras.framework import import_keras

    _, keras = import_keras()
    layers = keras.layers
    images = np.random.default_rng(0).normal(size=(5, 8, 8, 3)).astype(np.float32)
    given, within = keras.Input((8, 8, 3)), keras.Input((8, 8, 3))

    def branch(x: Any) -> Any:
        return layers.Conv2D(4, 3, padding="same")(layers.Conv2D(4, 1)(layers.Conv2D(3, 1)(x)))

    beside = layers.Add()([keras.Model(within, branch(within))(given), branch(given)])
    x = layers.Dense(3)(layers.GlobalAveragePooling2D()(beside))
    model = keras.Model(given, layers.Activation("linear")(x))  # weights of one shape in two branches of other depths
    flat = image_models.as_logits(model, Path("m"))
    np.testing.assert_allclose(flat(images).numpy(), model(images).numpy(), atol=1e-5)

    relu = layers.ReLU()
    twice = layers.Dense(3)(layers.Flatten()(relu(layers.Conv2D(4, 3)(relu(layers.Conv2D(4, 3)(given))))))
    with pytest.raises(ConfigError, match="m: a layer is used twice, or two have one name"):
        image_models.as_logits(keras.Model(given, twice), Path("m"))
    inside = layers.Reshape((3,))(layers.Conv2D(3, 8, activation="softmax", name="shares")(given))
    with pytest.raises(ConfigError, match="last layer 'shares' ends in softmax; possible: softmax, at the very end"):
        image_models.as_logits(keras.Model(given, inside), Path("m"))


def test_superfluous_filters_and_blocks_cost_nothing_when_they_go() -> None:
    from edgekit.stages.images import models as image_models
    from edgekit.stages.images.shrink import leave_out_blocks, shrink

    model = image_models.as_logits(small_model(), Path("m"))
    images = np.random.default_rng(0).uniform(0, 1, (5, 8, 8, 3)).astype(np.float32)
    norm = model.get_layer("inner.norm")
    norm.set_weights([np.array([1, 0, 1, 0, 0, 2, 0, 3.0]), np.zeros(8), *norm.get_weights()[2:]])
    small = shrink(model, 0.5)
    assert small.get_layer("inner").filters == 4
    assert small.get_layer("first").filters == small.get_layer("last").filters == 8, "what a block gives on stays"
    np.testing.assert_allclose(small(images).numpy(), model(images).numpy(), atol=1e-5)
    last = model.get_layer("last.norm")
    last.set_weights([np.zeros(8), np.zeros(8), *last.get_weights()[2:]])
    short = leave_out_blocks(model, 0.4)
    assert "inner" not in [layer.name for layer in short.layers]
    np.testing.assert_allclose(short(images).numpy(), model(images).numpy(), atol=1e-5)


@pytest.mark.parametrize("architecture", ["mobilenet_v2", "mobilenet_v3", "resnet"])
def test_students_of_every_size_of_image(architecture: str) -> None:
    from edgekit.stages.images.models import macs
    from edgekit.stages.images.students import build_student, map_sizes

    for size, smallest in ((8, 4), (28, 7), (32, 4)):
        model = build_student(Student(architecture=architecture, width=0.25, depth=0.4), (size, size, 1), 5)
        assert model.output_shape == (None, 5)
        if architecture != "resnet":
            assert map_sizes(model)[-1][0] == smallest
    wide = build_student(Student(architecture=architecture, width=0.5, depth=0.4), (size, size, 1), 5)
    assert macs(wide) > 1.5 * macs(model)
    with pytest.raises(ConfigError, match="images of 3 x 9 are too small"):
        build_student(Student(), (3, 9, 1), 2)


def test_the_loss_is_the_one_of_texts() -> None:
    from edgekit.stages.images import training as image_training
    from edgekit.stages.keras import training as keras_training

    random = np.random.default_rng(0)
    student, teacher = random.normal(size=(2, 5, 3)).astype(np.float32)
    labels = np.array([0, 2, 1, 1, 0])
    options = distill_keras.Options(temperature=2.5, alpha=0.7)
    ours = image_training.loss_of(options)(student, teacher, np.eye(3, dtype=np.float32)[labels])
    assert float(ours) == pytest.approx(
        float(keras_training.distillation_loss(student, teacher, labels, 2.5, 0.7)), rel=1e-5
    )


def test_losses_over_maps(earlier: Earlier) -> None:
    from edgekit.stages.images import losses as image_losses
    from edgekit.stages.images import models as image_models

    teacher = image_models.load_model(earlier["teacher"].path)
    options = distill_keras.Options(losses={"response": 1.0, "hidden": 0.5, "similarity": 2.0})
    features = image_losses.Features(teacher, teacher, options)
    images = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype(np.float32)
    (matrix,) = features.variables
    logits, taught, loss = features(images, images)
    *_, own = features._student(images, training=True)
    *_, its = features._teacher(images, training=False)
    own, its = np.asarray(own, np.float64), np.asarray(its, np.float64)
    hidden = np.mean((own @ matrix.numpy() - its) ** 2) / (np.mean(its**2) + 1e-6)
    likeness = []
    for maps in (own, its):
        products = maps.reshape(4, -1) @ maps.reshape(4, -1).T
        likeness.append(products / np.linalg.norm(products, axis=1, keepdims=True))
    similarity = np.sum((likeness[0] - likeness[1]) ** 2) / 16
    assert float(loss) == pytest.approx(0.5 * hidden + 2.0 * similarity, rel=1e-3)
    assert not np.allclose(logits, taught), "the student's normalisation follows the batch"


@pytest.mark.parametrize("response", [0.0, 0.25])
def test_a_step_learns_by_the_weighted_sum(response: float, earlier: Earlier, tmp_path: Path) -> None:
    from edgekit.stages.images import losses as image_losses
    from edgekit.stages.images import models as image_models
    from edgekit.stages.images import training as image_training

    student = image_models.load_model(earlier["teacher"].path)
    weights = {"response": response, "similarity": 2.0}
    options = distill_keras.Options(**QUICK, losses=weights, temperature=2.0, alpha=0.6)
    lessons = image_training.read_lessons(make_job(tmp_path / "b", earlier), None)
    teacher = lessons.teacher
    lessons = replace(lessons, features=image_losses.Features(student, teacher, options))
    trainer = image_training.ImageTrainer(student, lessons, options, make_job(tmp_path / "a", earlier))
    images, labels = (part[:6] for part in (lessons.training.images, lessons.training.labels))
    shares = np.eye(3, dtype=np.float32)[labels]
    given = teacher.pixels(images.astype(np.float32))
    logits, taught, more = lessons.features(given, given)
    own, its = (np.asarray(x, np.float64) for x in (logits, taught))

    def log_softmax(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return x - np.log(np.exp(x).sum(axis=1, keepdims=True))

    hard = -log_softmax(own)[np.arange(6), labels].mean()
    wanted, found = log_softmax(its / 2), log_softmax(own / 2)
    soft = (np.exp(wanted) * (wanted - found)).sum(axis=1).mean()
    expected = 0.6 * (response * 4 * soft + float(more)) + 0.4 * hard
    trainer.optimizer.learning_rate.assign(0.0)
    assert float(trainer.compiled_step(images.astype(np.float32), shares)) == pytest.approx(expected, rel=1e-4)


def distil(earlier: Earlier, work: Path, told: Any = None, **options: Any) -> tuple[Artifact, Outcome]:
    given = {**QUICK, "student": Student(architecture="teacher", width=0.5), "distort": MOVED, **options}
    job = make_job(work, earlier, told)
    outcome = distill_keras.run(earlier["teacher"], distill_keras.Options(**given), job)
    return artifact(work, "keras"), outcome


@pytest.fixture(scope="module")
def student(earlier: Earlier, tmp_path_factory: pytest.TempPathFactory) -> tuple[Artifact, Outcome]:
    return distil(earlier, tmp_path_factory.mktemp("student") / "work", epochs=6.0)


def test_a_student_learns(student: tuple[Artifact, Outcome], earlier: Earlier, tmp_path: Path) -> None:
    metrics = student[1].metrics
    assert metrics["validation_accuracy"] >= metrics["validation_accuracy_untrained"]
    assert metrics["validation_accuracy"] > 0.6
    said = "the student starts from the teacher: {} of its 1 residual blocks, 0.5 of the channels within them"
    assert student[1].notes == (said.format(1),)
    _, short = distil(earlier, tmp_path / "short", epochs=1.0,
                      student=Student(architecture="teacher", width=0.5, depth=0.4))  # fmt: skip
    assert short.notes == (said.format(0),)
    _, fresh = distil(earlier, tmp_path / "new", epochs=1.0, student=Student(architecture="resnet", width=0.25),
                      losses={"response": 1.0, "hidden": 0.1})  # fmt: skip
    assert fresh.notes == ("the student: resnet, width 0.25, depth 1",)


class KilledError(Exception):
    """Stands for a kill between two steps."""


def sparsify(source: Artifact, earlier: Earlier, work: Path, told: Any = None, **more: Any) -> Outcome:
    options = sparsify_tfmot_images.Options(**{**QUICK, "sparsity": 0.6, "distort": MOVED, **more})
    return sparsify_tfmot_images.run(source, options, make_job(work, earlier, told))


def qat(source: Artifact, earlier: Earlier, work: Path, told: Any = None) -> Outcome:
    options = quantize_tfmot_images.Options(**{**QUICK, "learning_rate": 1e-3, "calibration_samples": 30})
    return quantize_tfmot_images.run(source, options, make_job(work, earlier, told))


@pytest.fixture(scope="module")
def drawing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher with layers that draw: dropout, and noise within a model of its own."""
    from edgekit.stages.keras.framework import import_keras

    _, keras = import_keras()
    model = small_model(softmax=False)
    noise = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.GaussianNoise(0.5)], name="noise")
    given = keras.Input((8, 8, 3))
    path = tmp_path_factory.mktemp("drawing") / "teacher.h5"
    keras.Model(given, keras.layers.Dropout(0.4)(model(noise(given)))).save(path)
    return path


@pytest.mark.parametrize("stage", ["teacher", "distill", "sparsify", "quantize"])
def test_a_killed_training_goes_on_to_the_same_bytes(
    stage: str, student: tuple[Artifact, Outcome], earlier: Earlier, drawing: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from edgekit.stages.keras import loop as keras_loop

    monkeypatch.setattr(keras_loop, "CHECKPOINT_SECONDS", 0.0)

    def run(work: Path, told: Any = None) -> Outcome:
        if stage == "teacher":
            return teach(drawing, earlier["dataset"], work, told, fine_tune="always", **QUICK)[1]
        if stage == "distill":
            return distil(earlier, work, told)[1]
        return {"sparsify": sparsify, "quantize": qat}[stage](student[0], earlier, work, told)

    def kill_at_six(done: int, total: int, unit: str, note: str) -> None:
        if done == 6:
            raise KilledError

    whole = run(tmp_path / "whole")
    with pytest.raises(KilledError):
        run(tmp_path / "cut", kill_at_six)
    for file in (tmp_path / "cut").iterdir():
        file.unlink()
    (tmp_path / "cut").rmdir()
    resumed: list[int] = []
    assert run(tmp_path / "cut", lambda done, total, unit, note: resumed.append(done)).metrics == whole.metrics
    assert resumed[0] == 6, "it started from the beginning"
    for name in ("weights.safetensors", "config.json"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def kernels(folder: Path) -> dict[str, np.ndarray[Any, Any]]:
    from safetensors.numpy import load_file

    return {n: w for n, w in load_file(folder / "weights.safetensors").items() if n.endswith("/kernel")}


@pytest.fixture(scope="module")
def rounded(
    student: tuple[Artifact, Outcome], earlier: Earlier, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Artifact, Artifact]:
    """The sparse student, and the same after training with rounding."""
    place = tmp_path_factory.mktemp("rounded")
    sparsify(student[0], earlier, place / "sparse")
    sparse = artifact(place / "sparse", "keras")
    qat(sparse, earlier, place / "qat")
    return sparse, artifact(place / "qat", "keras")


def test_zeros_are_reached_and_survive_rounding(rounded: tuple[Artifact, Artifact]) -> None:
    before, after = (kernels(step.path) for step in rounded)
    assert set(before) == set(after) == {"first/kernel", "inner/kernel", "last/kernel", "end/kernel"}
    for name, kernel in before.items():
        assert (kernel == 0).mean() == pytest.approx(0.0 if name == "first/kernel" else 0.6, abs=0.03), name
        assert ((after[name] == 0) == (kernel == 0)).all(), name
        assert not np.array_equal(after[name], kernel), f"{name} was not trained"


def test_2_of_4_is_half(student: tuple[Artifact, Outcome], earlier: Earlier, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"pattern '2:4' is a sparsity of 0\.5; found 0\.6"):
        sparsify(student[0], earlier, tmp_path / "a", pattern="2:4")


def answers(folder: Path, dataset: Artifact, reader: str) -> np.ndarray[Any, Any]:
    """The logits of the shipped code for the validation images."""
    work = make_job(folder.with_name(f"{folder.name}-{reader}"), {}).work
    options = validate.Options(task="image_classification", runtime=reader, runtime_version="0", buckets=(8,))
    described = image_classification.describe(dataset.path, folder)
    form = "ir" if reader == "openvino" else "tflite"
    validate._lay_out(work / "bundle", artifact(folder, form), options, "CPU", described)
    predictor = validate.Predictor(work / "bundle")
    samples = image_classification.load(dataset.path, "validation").samples
    return np.stack([predictor.outputs(predictor.task.parse(sample))[0] for sample in samples])


def test_full_int8_answers_as_it_was_trained(
    rounded: tuple[Artifact, Artifact], earlier: Earlier, tmp_path: Path
) -> None:
    from edgekit.stages.images import models as image_models
    from edgekit.stages.images.rounding import Rounded

    trained = image_models.load_model(rounded[1].path)
    wrapped = Rounded(trained)
    images = image_classification.load(earlier["dataset"].path, "validation").images
    expected = image_models.predict(trained.with_model(wrapped.model), images)
    job = make_job(tmp_path / "int8", earlier)
    quantize_tflite_images.run(rounded[1], quantize_tflite_images.Options(method="qat", input_type="int8"), job)
    table = json.loads((job.work / "input.json").read_text())
    assert table["dtype"] == "int8"
    low, high = trained.pixels.range()
    assert table["quantisation"]["step"] == pytest.approx((high - low) / 255, rel=1e-4)
    found = answers(job.work, earlier["dataset"], "litert")
    step = max(abs(float(v)) for n, v in (trained.ranges or {}).items() if "end/post_activation" in n) / 127
    assert np.abs(found - expected).max() <= 3 * step


@pytest.mark.parametrize("stage", ["tflite", "float", "ir"])
def test_other_ways_keep_the_answers(
    stage: str, student: tuple[Artifact, Outcome], earlier: Earlier, tmp_path: Path
) -> None:
    from edgekit.stages.images import models as image_models

    images = image_classification.load(earlier["dataset"].path, "validation").images
    expected = image_models.predict(image_models.load_model(student[0].path), images)
    job = make_job(tmp_path / "made", earlier)
    if stage == "tflite":
        quantize_tflite_images.run(student[0], quantize_tflite_images.Options(calibration_samples=40), job)
    elif stage == "float":
        convert_tflite_images.run(student[0], convert_tflite_images.Options(), job)
    else:
        made = make_job(tmp_path / "ir", earlier)
        convert_openvino_images.run(student[0], convert_openvino_images.Options(), made)
        source = artifact(made.work, "ir")
        quantize_nncf_images.run(source, quantize_nncf_images.Options(calibration_samples=40), job)
    found = answers(job.work, earlier["dataset"], "openvino" if stage == "ir" else "litert")
    if stage == "float":
        np.testing.assert_allclose(found, expected, atol=1e-4)
    else:
        assert np.abs(found - expected).mean() < 0.03 * np.abs(expected).max()
    dtype = json.loads((job.work / "input.json").read_text())["dtype"]
    assert dtype == ("uint8" if stage == "tflite" else "float32")


def test_the_sample_task_has_its_own_teacher(tmp_path: Path) -> None:
    job = make_job(tmp_path / "data", {})
    dataset_images.run(None, dataset_images.Options(sample=True), job)
    digits = artifact(job.work, "dataset")
    work = make_job(tmp_path / "teacher", {"dataset": digits})
    outcome = teacher_keras.run(digits, teacher_keras.Options(sample=True, epochs=2.0), work)
    assert outcome.metrics["validation_accuracy"] > 0.5
    assert np.load(work.work / "logits_test.npy").shape == (179, 10)
