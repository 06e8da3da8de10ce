from __future__ import annotations

import itertools
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from edgekit.catalog import names
from edgekit.errors import ConfigError, PlanError
from edgekit.inputs import DataSource, Inputs, ModelSource, resolve_data
from edgekit.lanes import LANES, RUNTIME_DEVICES, RUNTIME_FORMATS, RUNTIME_PACKAGES
from edgekit.ondevice.runtimes import RUNTIMES, load_runtime
from edgekit.plan import Plan, make_plan
from edgekit.recipe import load_recipe
from edgekit.refusals import REFUSALS, hardware, refusal_of
from edgekit.stages import load_stage
from edgekit.stages.learning.precision import computes_bfloat16
from edgekit.target import load_target

SAMPLE = Inputs(data=resolve_data(None))


def model(family: str = "bert", digest: str = "t") -> ModelSource:
    return ModelSource(
        name="mine", path=Path(family), digest=digest, config={"model_type": family}, family=family,
        labels=("a", "b"), task="text_classification",
    )  # fmt: skip


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folders of `model`, as far as a plan reads them."""
    monkeypatch.chdir(tmp_path)
    sizes = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 64,
             "vocab_size": 9, "max_position_embeddings": 512}  # fmt: skip
    for family in ("bert", "roberta"):
        (tmp_path / family).mkdir()
        config = {"model_type": family, **sizes, "id2label": {"0": "a", "1": "b"}}
        (tmp_path / family / "config.json").write_text(json.dumps(config))
    (tmp_path / "d.csv").write_text("question,text,label\nwhy,so,a\nwho,me,b\n")


def plan(
    recipe: str = "distilbert-int8", target: str = "raspberrypi", inputs: Inputs = SAMPLE, *overrides: str
) -> Plan:
    return make_plan(load_recipe(recipe, overrides), load_target(target), inputs)


def stages(made: Plan) -> list[str]:
    return [s.stage for s in made.steps]


def test_the_toolchain_comes_from_the_target() -> None:
    common = ["dataset_text", "teacher_hf", "distill_torch"]
    assert stages(plan("distilbert-int8", "raspberrypi")) == [
        *common, "convert_keras", "sparsify_tfmot", "quantize_tflite", "validate",
    ]  # fmt: skip
    assert stages(plan("distilbert-int8", "intel-cpu")) == [
        *common, "sparsify_nncf", "convert_openvino", "quantize_nncf", "validate",
    ]  # fmt: skip


def test_qat_goes_through_tfmot_and_then_the_converter() -> None:
    made = stages(plan("distilbert-int8", "raspberrypi", SAMPLE, "quantize.method=qat"))
    assert made[-3:] == ["quantize_tfmot", "quantize_tflite", "validate"]


PAIRS = list(itertools.product(names("recipes"), names("targets")))


@pytest.mark.parametrize(("recipe", "target"), PAIRS)
def test_every_recipe_plans_for_every_target_or_stands_in_the_list_of_refusals(recipe: str, target: str) -> None:
    refusal = refusal_of(target, recipe)
    if refusal:
        with pytest.raises(PlanError) as caught:
            plan(recipe, target)
        assert str(caught.value) == f"recipe {recipe}, target {target}: {refusal.line}"
        return
    made = plan(recipe, target)
    assert made.steps[-1].produces == "report"
    for before, after in itertools.pairwise(made.steps):
        assert after.accepts == before.produces


def test_the_list_of_refusals_holds_no_pair_that_would_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a refusal goes when what it waits for has come."""
    monkeypatch.setattr("edgekit.plan.refusal_of", lambda target, recipe: None)
    for recipe, target in PAIRS:
        if refusal_of(target, recipe):
            with pytest.raises((PlanError, ConfigError)):
                plan(recipe, target)


@pytest.mark.parametrize("name", [name for refusal in hardware(names("targets")) for name in refusal.targets])
def test_hardware_that_nothing_is_built_for_is_refused_with_what_works(name: str) -> None:
    assert name not in names("targets")
    refusal = refusal_of(name)
    assert refusal
    with pytest.raises(ConfigError) as caught:
        plan(target=name)
    assert str(caught.value) == f"target {name}: {refusal.line}"


def test_refusals_point_to_targets_that_plan() -> None:
    planned = {target for recipe, target in PAIRS if not refusal_of(target, recipe)}
    for refusal in REFUSALS:
        assert set(re.findall(r"[a-z0-9]+(?:-[a-z0-9]+)*", refusal.instead)) & planned, refusal.instead
        assert refusal.what
        assert refusal.reason


def test_myriad_says_why_and_what_works() -> None:
    for name in ("myriad", "ncs2"):
        with pytest.raises(
            ConfigError, match=rf"target {name}: .*2023\.0; 2022\.3 LTS.*; possible: intel-npu.*intel-cpu"
        ):
            load_target(name)


def test_a_users_own_file_is_judged_by_what_it_says_and_not_by_its_name(tmp_path: Path) -> None:
    own = tmp_path / "jetson-orin.toml"
    own.write_text('schema = 1\nextends = "intel-cpu"\n')
    assert plan(target=str(own)).name == "distilbert-int8-jetson-orin"


def test_gpu_hosts_get_onnx_by_tensorrt_in_batches() -> None:
    made = plan("minilm-int8", "g4dn-xlarge")
    assert stages(made)[-3:] == ["convert_onnx", "quantize_onnx", "validate"]
    quantize, check = (step.options for step in made.steps[-2:])
    assert quantize.device == "TENSORRT"  # type: ignore[attr-defined]
    assert (check.device, check.batch, check.runtime_version) == ("TENSORRT", 32, "1.31.1")  # type: ignore[attr-defined]
    sizes = [plan("minilm-int8", f"g4dn-{size}") for size in ("2xlarge", "metal")]
    assert {tuple(step.key for step in one.steps) for one in (made, *sizes)} == {tuple(s.key for s in made.steps)}


def test_half_precision_is_a_method_of_the_recipe_or_of_the_target(tmp_path: Path) -> None:
    assert stages(plan("int8-ptq", "gpu-host", SAMPLE, "quantize.method=fp16"))[-2:] == ["quantize_half", "validate"]
    own = tmp_path / "own.toml"
    own.write_text('schema = 1\nextends = "gpu-host"\n[options.quantize]\nmethod = "fp16"\n')
    assert stages(plan("int8-ptq", str(own)))[-2:] == ["quantize_half", "validate"]
    assert stages(plan("int8-ptq", str(own), SAMPLE, "quantize.method=ptq"))[-2:] == ["quantize_onnx", "validate"]
    with pytest.raises(PlanError, match=r"method 'fp16' is not offered for runtime litert.*runtime onnxruntime"):
        plan("int8-ptq", "raspberrypi", SAMPLE, "quantize.method=fp16")
    own.write_text('schema = 1\nextends = "gpu-host"\n[options.quantize]\nmethod = "int4"\n')
    with pytest.raises(PlanError, match=r"method 'int4' is not offered for runtime onnxruntime"):
        plan("int8-ptq", str(own))


def test_what_the_intel_targets_ask_of_nncf_and_of_the_device() -> None:
    def options(target: str) -> tuple[str, str, str, tuple[str, ...]]:
        steps = {s.stage: s.options for s in plan(target=target).steps}
        quantize, check = steps["quantize_nncf"], steps["validate"]
        return quantize.overflow_fix, quantize.target_device, check.device, check.cpu_flags  # type: ignore[attr-defined]

    assert {name: options(name) for name in names("targets") if name.startswith("intel")} == {
        "intel-cpu": ("enable", "CPU", "CPU", ()),
        "intel-cpu-avx2": ("enable", "CPU", "CPU", ("avx2",)),
        "intel-cpu-vnni": ("disable", "CPU", "CPU", ("avx512_vnni", "avx_vnni")),
        "intel-cpu-amx": ("disable", "CPU_SPR", "CPU", ("amx_int8",)),
        "intel-gpu": ("first_layer", "GPU", "GPU", ()),
        "intel-npu": ("first_layer", "NPU", "NPU", ()),
    }
    by_target = [plan(target=name).steps for name in ("intel-cpu", "intel-npu")]
    assert [s.key for s in by_target[0][:-2]] == [s.key for s in by_target[1][:-2]]
    assert plan(target="intel-vpu").name == "distilbert-int8-intel-npu"


def test_a_step_is_the_targets_own_only_where_its_latency_is_the_budget() -> None:
    free = ("prune.ffn=1.0", "prune.heads=1.0")
    for budget, shared in (("prune.target_macs_ratio=0.5", True), ("prune.target_latency_ratio=0.5", False)):
        one, two = (
            {s.step: s for s in plan("minilm-int8", target, SAMPLE, *free, budget).steps}
            for target in ("raspberrypi", "intel-cpu")
        )
        assert (one["prune"].key == two["prune"].key) == shared
        assert one["distill"].key == two["distill"].key
    assert {"runtime": "litert", "int8": True, "threads": 1}.items() <= one["prune"].options.model_dump().items()
    assert two["prune"].options.model_dump()["runtime"] == "openvino"


def test_trained_steps_are_shared_between_targets_and_recipes() -> None:
    one, two, three = plan(), plan(target="intel-cpu"), plan("minilm-int8", "intel-cpu")
    assert [s.key for s in one.steps[:3]] == [s.key for s in two.steps[:3]]
    assert [s.key for s in one.steps[:2]] == [s.key for s in three.steps[:2]]
    assert one.steps[-1].key != two.steps[-1].key


def test_a_key_depends_on_all_that_the_result_does(monkeypatch: pytest.MonkeyPatch) -> None:
    data = DataSource(kind="files", name="d", path=Path("d.csv"), digest="d")
    base = Inputs(data=data, teacher=model())
    keys = {s.stage: s.key for s in plan(inputs=base).steps}

    def changed(inputs: Inputs = base, *overrides: str) -> list[str]:
        made = plan("distilbert-int8", "raspberrypi", inputs, *overrides)
        return [s.stage for s in made.steps if keys[s.stage] != s.key]

    everything = list(keys)
    assert changed() == []
    assert changed(replace(base, data=replace(data, digest="e"))) == everything
    assert changed(replace(base, teacher=model(digest="u"))) == everything[1:]
    assert changed(replace(base, student=model())) == everything[2:]
    assert changed(replace(base, more_teachers=(model(digest="v"),))) == everything[1:]
    assert changed(replace(base, unlabelled=replace(data, name="more"))) == everything[2:]
    assert changed(base, "distill.losses={response=2}") == everything[2:]
    assert changed(base, "distill.losses={response=1}") == []
    assert changed(base, "distill.epochs=9") == everything[2:]
    assert changed(base, "seed=1") == everything
    assert changed(base, "min_retention=0.1") == []
    with monkeypatch.context() as another_cpu:
        another_cpu.setattr("edgekit.plan.computes_bfloat16", lambda: not computes_bfloat16())
        assert changed() == everything[1:]
    monkeypatch.setattr("edgekit.plan.installed_version", lambda package: f"other {package}")
    assert set(changed()) == set(everything[everything.index("teacher_hf") :])


def test_buckets_end_at_the_recipes_limit() -> None:
    made = plan("int8-ptq", "raspberrypi", SAMPLE, "max_tokens=50")
    assert made.steps[-1].options.buckets == (16, 32, 50)  # type: ignore[attr-defined]


def test_the_targets_options_reach_the_stage_and_the_recipe_overrides_them(tmp_path: Path) -> None:
    def overflow_fix(made: Plan) -> str:
        return str(next(s.options.overflow_fix for s in made.steps if s.stage == "quantize_nncf"))  # type: ignore[attr-defined]

    own = tmp_path / "own.toml"
    own.write_text('schema = 1\nextends = "intel-cpu"\n[options.quantize]\noverflow_fix = "first_layer"\n')
    assert overflow_fix(plan(target=str(own))) == "first_layer"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ('overflow_fixx = "enable"', "options.quantize: unknown key 'overflow_fixx'; did you mean 'overflow_fix'?"),
        ('overflow_fix = "maybe"', "options.quantize.overflow_fix: found 'maybe'"),
    ],
)
def test_a_wrong_option_of_a_target_is_named(tmp_path: Path, options: str, said: str) -> None:
    own = tmp_path / "own.toml"
    own.write_text(f'schema = 1\nextends = "intel-cpu"\n[options.quantize]\n{options}\n')
    with pytest.raises(ConfigError) as caught:
        plan(target=str(own))
    assert said in str(caught.value)


def test_teachers_that_are_averaged_have_the_same_labels() -> None:
    data = DataSource(kind="files", name="d", path=Path("d.csv"), digest="d")
    inputs = Inputs(data=data, teacher=model(), more_teachers=(replace(model(), name="other", labels=("b", "a")),))
    with pytest.raises(PlanError, match="--teacher other: its labels are b, a, those of mine a, b; teachers that are"):
        plan(inputs=inputs)
    base = replace(model("roberta"), labels=("LABEL_0", "LABEL_1"), task=None)
    assert plan(inputs=replace(inputs, more_teachers=(base,)))
    behind = Inputs(data=data, teacher=replace(model(), task=None), more_teachers=(model(),))
    assert plan(inputs=behind).steps[0].options.teacher_labels == ("a", "b")  # type: ignore[attr-defined]
    learns = [
        plan("distilbert-int8", "raspberrypi", behind, f"teacher.fine_tune={when}").steps[0].options.learns_labels  # type: ignore[attr-defined]
        for when in ("auto", "always")
    ]
    assert learns == [False, True]
    with pytest.raises(PlanError, match="--teacher other: its labels are b, a, those of mine a, b"):
        plan(inputs=replace(behind, more_teachers=(model(), *inputs.more_teachers)))


def test_several_teachers_need_a_step_that_learns_from_their_answers(tmp_path: Path) -> None:
    data = DataSource(kind="files", name="d", path=Path("d.csv"), digest="d")
    inputs = Inputs(data=data, teacher=model(), more_teachers=(replace(model(), name="other"),))
    with pytest.raises(PlanError, match="no distill or prune step, so a second --teacher other would never be used"):
        plan("int8-ptq", "raspberrypi", inputs)
    assert plan("int8-ptq", "raspberrypi", replace(inputs, more_teachers=()))
    own = tmp_path / "own.toml"
    own.write_text(
        'schema = 1\ndescription = "x"\nmin_retention = 0.5\n[[stage]]\nstep = "teacher"\n'
        '[[stage]]\nstep = "prune"\nheads = 0.5\n'
    )
    assert plan(str(own), "raspberrypi", inputs)


def test_losses_are_checked_as_the_stages_will_read_them() -> None:
    """Over the options that the target's have been merged into, not over the recipe's own words."""
    target = load_target("intel-cpu")
    changed = {"distill": {"losses": {"angle": 1.0}, "batch_size": 512}}
    target = target.model_copy(update={"options": {**target.options, **changed}})
    with pytest.raises(ConfigError, match=r"distill.batch_size: found 512.*three texts.*at most 256"):
        make_plan(load_recipe("distilbert-int8"), target, SAMPLE)
    assert make_plan(load_recipe("distilbert-int8", ["distill.batch_size=64"]), target, SAMPLE)


def test_the_text_column_reaches_every_step_that_reads_the_users_tables() -> None:
    data = DataSource(kind="files", name="d", path=Path("d.csv"), digest="d")
    inputs = Inputs(data=data, teacher=model(), unlabelled=data, text_column="question")
    steps = [s for s in plan("minilm-int8", inputs=inputs).steps if "text_column" in s.options.model_dump()]
    found = {s.stage: s.options.text_column for s in steps}  # type: ignore[attr-defined]
    assert found == dict.fromkeys(("dataset_text", "distill_torch", "prune_torch"), "question")


def test_a_recipe_longer_than_a_models_positions_is_refused() -> None:
    data = DataSource(kind="files", name="d", path=Path("d.csv"), digest="d")
    text = Path("bert/config.json").read_text()
    Path("bert/config.json").write_text(text.replace("512", "32"))
    with pytest.raises(
        ConfigError, match=r"config.json: .* may have 128 tokens, but .* for 32 only; .*max_tokens = 32"
    ):
        plan(inputs=Inputs(data=data, teacher=model()))
    assert plan("distilbert-int8", "raspberrypi", Inputs(data=data, teacher=model()), "max_tokens=32")


def test_windows_without_room_are_refused() -> None:
    assert plan("distilbert-qa-int8", "raspberrypi", SAMPLE, "max_tokens=16")
    with pytest.raises(ConfigError, match=r"^max_tokens: found 8, expected 16 or more: question_answering reads"):
        plan("distilbert-qa-int8", "raspberrypi", SAMPLE, "max_tokens=8")


def test_texts_that_no_step_would_read_are_refused() -> None:
    data = DataSource(kind="files", name="more.csv", path=Path("d.csv"), digest="d")
    inputs = Inputs(data=data, teacher=model(), unlabelled=data)
    with pytest.raises(PlanError, match=r"no distill or prune step, so --unlabelled more\.csv would never be used"):
        plan("int8-ptq", "raspberrypi", inputs)


def test_an_architecture_without_a_twin_goes_another_way_or_is_refused_by_name() -> None:
    inputs = Inputs(data=DataSource(kind="files", name="d", path=Path("d.csv"), digest="d"), teacher=model("roberta"))
    made = plan("int8-ptq", "raspberrypi", inputs)
    assert stages(made)[-3:] == ["convert_litert_torch", "quantize_ai_edge", "validate"]
    with pytest.raises(PlanError, match=r"'roberta' has no Keras twin.*intel-cpu"):
        plan("int8-ptq", "raspberrypi", replace(inputs, task="question_answering"))
    with pytest.raises(ConfigError, match=r"key 'smooth_quant': found 0\.5, but for target raspberrypi"):
        plan("int8-ptq", "raspberrypi", inputs, "quantize.smooth_quant=0.5")
    assert stages(plan("int8-ptq", "intel-cpu", inputs))[-2:] == ["quantize_nncf", "validate"]
    with pytest.raises(PlanError, match=r"step distill .* knows bert or distilbert.*--student"):
        plan("distilbert-int8", "intel-cpu", inputs)
    assert plan("distilbert-int8", "intel-cpu", replace(inputs, student=model("bert")))


def test_a_student_without_a_distill_step_is_refused() -> None:
    inputs = Inputs(
        data=DataSource(kind="files", name="d", path=Path("d.csv"), digest="d"), teacher=model(), student=model()
    )
    with pytest.raises(PlanError, match="no distill step"):
        plan("int8-ptq", "raspberrypi", inputs)


def test_a_format_that_the_target_cannot_run_is_refused(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text(
        'schema = 1\ndescription = "x"\nmin_retention = 0.5\n[[stage]]\nstep = "teacher"\n'
        '[[stage]]\nstep = "convert"\nformat = "ir"\n'
    )
    with pytest.raises(PlanError, match="ends in format 'ir', but target raspberrypi runs 'tflite'"):
        plan(str(own), "raspberrypi")
    assert stages(plan(str(own), "intel-cpu")) == ["dataset_text", "teacher_hf", "convert_openvino", "validate"]


@pytest.mark.parametrize(("option", "field"), [("a second --teacher", "more_teachers"), ("--student", "student")])
def test_a_model_file_teaches_nothing_beside_a_folder(option: str, field: str) -> None:
    file = replace(model(), name="net.h5", form="keras", family="keras")
    data = DataSource(kind="files", name="d", path=Path("d.csv"), digest="d")
    given = Inputs(data=data, teacher=model(), **{field: (file,) if field == "more_teachers" else file})  # type: ignore[arg-type]
    with pytest.raises(PlanError, match=f"{option} net.h5: is a model file; possible: a Hugging Face model folder"):
        plan("minilm-int8", "raspberrypi", given)


def test_keys_of_training_are_said_to_be_unused_where_nothing_trains() -> None:
    made = plan("int8-ptq", "raspberrypi", SAMPLE, "quantize.epochs=2")
    assert made.notes[-1] == "quantize: epochs are of method qat; ptq trains nothing, so not used"
    assert not plan("int8-ptq", "raspberrypi", SAMPLE, "quantize.epochs=2", "quantize.method=qat").notes


def test_a_method_that_the_toolchain_lacks_is_refused_with_what_would_work() -> None:
    with pytest.raises(PlanError, match=r"'fp16' is not offered for runtime openvino.*onnxruntime"):
        plan("int8-ptq", "intel-cpu", SAMPLE, "quantize.method=fp16")


def test_an_unknown_runtime_is_refused(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text('schema = 1\nextends = "intel-cpu"\n[runtime]\nname = "openvine"\n')
    with pytest.raises(ConfigError, match="did you mean 'openvino'"):
        plan(target=str(own))


@pytest.mark.parametrize(("base", "device"), [("gpu-host", "TENSORT"), ("intel-npu", "AUTO"), ("raspberrypi", "GPU")])
def test_a_device_that_the_runtime_does_not_know_is_refused(base: str, device: str, tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text(f'schema = 1\nextends = "{base}"\n[runtime]\ndevice = "{device}"\n')
    with pytest.raises(ConfigError, match=rf"target own: runtime\.device: \w+ computes on no '{device}'; "):
        plan(target=str(own))
    own.write_text('schema = 1\nextends = "intel-gpu"\n[runtime]\ndevice = "GPU.1"\n')
    plan(target=str(own))


def test_the_tables_of_the_plan_agree_with_the_modules() -> None:
    toolchains = [one for lane in LANES.values() for one in lane.toolchains.items()]
    built_for = [name for name in RUNTIMES if load_runtime(name).FORMAT in dict(toolchains)]
    assert {name: load_runtime(name).FORMAT for name in built_for} == RUNTIME_FORMATS
    assert {name: load_runtime(name).PACKAGE for name in built_for} == RUNTIME_PACKAGES
    assert RUNTIME_DEVICES.keys() == RUNTIME_FORMATS.keys()
    for _, toolchain in toolchains:
        assert {load_stage(s).PRODUCES for s in toolchain.converters.values()} <= set(toolchain.formats)
