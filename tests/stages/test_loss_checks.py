"""What a plan refuses of losses and layer maps, by the models' files alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgekit.errors import ConfigError
from edgekit.recipe import load_recipe
from edgekit.stages.learning.checks import check_losses, check_splitting
from edgekit.stages.learning.layers import LayerMap, map_layers
from edgekit.steps import Augment, Distill, Losses, Prune, StepOptions

SIZES = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64, "vocab_size": 9,
         "max_position_embeddings": 16}  # fmt: skip
TOKENS = 16


@pytest.mark.parametrize(
    ("layer_map", "student", "teacher", "pairs"),
    [
        ("uniform", 3, 6, [(0, 1), (1, 3), (2, 5)]),
        ("uniform", 4, 12, [(0, 2), (1, 5), (2, 8), (3, 11)]),
        ("uniform", 4, 6, [(0, 1), (1, 2), (2, 4), (3, 5)]),
        ("uniform", 1, 6, [(0, 5)]),
        ("uniform", 3, 2, [(0, 0), (1, 1), (2, 1)]),
        ("last", 2, 6, [(0, 4), (1, 5)]),
        ("last", 3, 2, [(1, 0), (2, 1)]),
        ([[2, 5], [0, 1]], 3, 6, [(0, 1), (2, 5)]),
    ],
)
def test_map_layers(layer_map: LayerMap, student: int, teacher: int, pairs: list[tuple[int, int]]) -> None:
    assert map_layers(layer_map, student, teacher, "distill") == pairs


def folder(
    place: Path, layers: int, family: str = "bert", words: str = "a b", mask: str = "[MASK]", config: Any = None,
    **tokenizer: Any,
) -> Path:  # fmt: skip
    """A model folder as far as a plan reads it."""
    place.mkdir()
    content = {"model_type": family, "num_hidden_layers": layers, **SIZES, **(config or {})}
    (place / "config.json").write_text(json.dumps(content))
    vocabulary = {word: at for at, word in enumerate(words.split())}
    content = {"model": {"type": "WordPiece", "vocab": vocabulary}, "added_tokens": [{"content": mask}], **tokenizer}
    (place / "tokenizer.json").write_text(json.dumps(content))
    return place


def distill(**options: Any) -> Distill:
    return Distill.model_validate({"losses": Losses(hidden=1.0), **options})


@pytest.mark.parametrize(
    ("steps", "line"),
    [
        ([distill(layer_map=[[0, 6]])], r"distill.layer_map: \[0, 6\]: layer 6 of a teacher with layers 0 … 5"),
        ([distill(layer_map=[[3, 5]])], r"distill.layer_map: \[3, 5\]: layer 3 of a student with layers 0 … 2"),
        ([distill(layer_map=[[1, 2], [1, 5]])], "distill.layer_map: layer 1 of the student stands twice"),
        ([distill(layers=[0, 7])], "distill.layers: layer 7 of a teacher with layers 0 … 5"),
        (
            [distill(), Prune(layers=0.67, losses=Losses(attention=1.0), layer_map=[[2, 5]])],
            r"prune.layer_map: \[2, 5\]: layer 2 of a student with layers 0 … 1",
        ),
        (
            [Prune(heads=0.5, losses=Losses(attention=1.0), layer_map=[[6, 5]])],
            r"prune.layer_map: \[6, 5\]: layer 6 of a student with layers 0 … 5",
        ),
    ],
)
def test_layers_that_are_not_there(tmp_path: Path, steps: list[StepOptions], line: str) -> None:
    teacher = folder(tmp_path / "teacher", 6)
    answers_alone = [step.model_copy(update={"losses": Losses(response=1.0)}) for step in steps]
    for asked in (steps, answers_alone):
        with pytest.raises(ConfigError, match=line):
            check_losses(asked, [teacher], None, TOKENS)
        with pytest.raises(ConfigError, match=line):
            check_losses(asked, [], None, TOKENS)  # the sample task's teacher has as many
    check_losses([Distill(), Prune(layers=0.5)], [teacher], None, TOKENS)


def test_the_users_student_has_its_own_depth(tmp_path: Path) -> None:
    teacher, student = folder(tmp_path / "teacher", 6), folder(tmp_path / "student", 4)
    check_losses([distill(layer_map=[[3, 5]])], [teacher], student, TOKENS)
    with pytest.raises(ConfigError, match="layer 4 of a student with layers 0 … 3"):
        check_losses([distill(layer_map=[[4, 5]])], [teacher], student, TOKENS)


def test_tokens_that_do_not_correspond(tmp_path: Path) -> None:
    teacher, student = folder(tmp_path / "teacher", 6), folder(tmp_path / "student", 4, words="a c")
    with pytest.raises(ConfigError) as caught:
        check_losses([distill(losses=Losses(hidden=1.0, value_relation=1.0))], [teacher], student, TOKENS)
    assert str(caught.value) == (
        "distill.losses: hidden, value_relation compare token by token, but the student's tokenizer "
        f"({student / 'tokenizer.json'}) is not the teacher's ({teacher / 'tokenizer.json'}); possible: response, "
        "distance, angle, similarity, or a student with the teacher's tokenizer; they differ in tokens"
    )
    check_losses([distill(losses=Losses(response=1.0, angle=1.0))], [teacher], student, TOKENS)


BERTS = {"type": "BertProcessing", "sep": ["[SEP]", 102], "cls": ["[CLS]", 101]}
TEMPLATE = {
    "type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": token}} if token != "$A" else {"Sequence": {"id": "A"}}
               for token in ("[CLS]", "$A", "[SEP]")],
    "special_tokens": {"[SEP]": {"ids": [4]}, "[CLS]": {"ids": [3]}},
}  # fmt: skip


@pytest.mark.parametrize(
    ("student", "differ"),
    [
        ({"words": "b a"}, None),  # the numbers alone
        ({"post_processor": TEMPLATE}, None),
        ({"post_processor": None}, "post_processor"),
        ({"normalizer": {"type": "BertNormalizer", "lowercase": False}}, "normalizer"),
        ({"pre_tokenizer": {"type": "Whitespace"}}, "pre_tokenizer"),
        ({"mask": "<mask>", "pre_tokenizer": None}, "tokens, pre_tokenizer"),
    ],
)
def test_tokenizers_are_compared_by_how_they_split_and_not_by_their_numbers(
    tmp_path: Path, student: dict[str, Any], differ: str | None
) -> None:
    same = {"normalizer": {"type": "BertNormalizer", "lowercase": True}, "pre_tokenizer": {"type": "BertPreTokenizer"},
            "post_processor": BERTS}  # fmt: skip
    teacher, own = folder(tmp_path / "teacher", 6, **same), folder(tmp_path / "student", 4, **{**same, **student})
    if differ is None:
        check_losses([distill()], [teacher], own, TOKENS)
        return
    with pytest.raises(ConfigError, match=f"hidden compares token by token.*; they differ in {differ}$"):
        check_losses([distill()], [teacher], own, TOKENS)


@pytest.mark.parametrize("whose", ["teacher", "student", "second"])
def test_texts_longer_than_a_model_reads_are_refused(tmp_path: Path, whose: str) -> None:
    folders = {name: folder(tmp_path / name, 6) for name in ("teacher", "student", "second")}
    path = folders[whose] / "config.json"
    path.write_text(path.read_text().replace('"max_position_embeddings": 16', '"max_position_embeddings": 15'))
    teachers = [folders["teacher"], folders["second"]]
    with pytest.raises(ConfigError, match=f"^{path}: .* may have 16 tokens, .* for 15 only; possible: max_tokens = 15"):
        check_losses([Distill()], teachers, folders["student"], TOKENS)
    check_losses([Distill()], teachers, folders["student"], 15)


@pytest.mark.parametrize("asked", [distill(), Distill(augment=Augment())])
@pytest.mark.parametrize(
    ("part", "found"),
    [
        ("added_tokens", 3),
        ("added_tokens", ["[MASK]"]),
        ("added_tokens", [{"id": 4}]),
        ("added_tokens", [{"content": ["[MASK]"]}]),
        ("added_tokens", {"content": "[MASK]"}),
        ("post_processor", "BertProcessing"),
        ("post_processor", [BERTS]),
        ("post_processor", {**BERTS, "cls": None}),
        ("post_processor", {**BERTS, "sep": []}),
        ("post_processor", {"type": "TemplateProcessing"}),
        ("post_processor", {**TEMPLATE, "single": [{"SpecialToken": "[CLS]"}]}),
        ("model.vocab", 3),
        ("model.vocab", ["a", "b c d"]),
    ],
)
def test_a_damaged_tokenizer_is_one_line(tmp_path: Path, asked: Distill, part: str, found: Any) -> None:
    content = {"model": {"type": "Unigram", "vocab": found}} if part == "model.vocab" else {part: found}
    teacher, student = folder(tmp_path / "teacher", 6), folder(tmp_path / "student", 4, **content)
    with pytest.raises(ConfigError) as caught:
        check_losses([asked], [teacher], student, TOKENS)
    assert str(caught.value) == (
        f"{student / 'tokenizer.json'}: {part}: found {found!r:.80}, which no tokenizer has; possible: the file as it "
        "was published, or as the tokenizers library saves it"
    )


def test_new_words_in_a_cut_vocabulary_cannot_be_compared_by_token(tmp_path: Path) -> None:
    teacher = folder(tmp_path / "teacher", 6)
    step = {"vocabulary": "corpus", "losses": Losses(hidden=1.0), "augment": Augment()}
    with pytest.raises(ConfigError, match=r"^prune\.augment\.replace: .* but hidden need the teacher's tokens"):
        check_losses([Prune.model_validate(step)], [teacher], None, TOKENS)
    for change in ({"vocabulary": "keep"}, {"losses": Losses(response=1.0)}, {"augment": Augment(replace=0.0)}):
        check_losses([Prune.model_validate({**step, **change})], [teacher], None, TOKENS)


@pytest.mark.parametrize("whose", ["teacher", "student"])
def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(tmp_path: Path, whose: str) -> None:
    folders = {name: folder(tmp_path / name, 6) for name in ("teacher", "student")}
    path = folders[whose] / "tokenizer.json"
    content = json.loads(path.read_text())
    for added, fits in ((8, True), (9, False)):
        path.write_text(json.dumps({**content, "added_tokens": [{"id": added, "content": "[MASK]"}]}))
        if fits:
            check_losses([Distill()], [folders["teacher"]], folders["student"], TOKENS)
            continue
        with pytest.raises(ConfigError, match=f"^{path}: its highest token id is 9, but .* has 9 token vectors$"):
            check_losses([Distill()], [folders["teacher"]], folders["student"], TOKENS)


def test_a_mask_that_a_tokenizer_cannot_read_is_refused(tmp_path: Path) -> None:
    bert, roberta = folder(tmp_path / "bert", 6), folder(tmp_path / "roberta", 6, "roberta", mask="<mask>")
    without, other = folder(tmp_path / "without", 4, mask="[X]"), folder(tmp_path / "other", 4, mask="<mask>")
    check_losses([Distill(augment=Augment())], [bert, roberta], bert, TOKENS)
    for teachers, student, line in (
        ([bert], without, rf"the student's tokenizer \({without / 'tokenizer.json'}\) has no \[MASK\]; possible: mask"),
        ([bert], other, r"the student's tokenizer .* has no \[MASK\]; possible: mask"),
        ([without], bert, r"teacher 1's tokenizer .* has no \[MASK\]; possible: mask"),
        ([bert, roberta, without], bert, r"teacher 3's tokenizer .* has no \[MASK\] or <mask>; possible: mask"),
    ):
        with pytest.raises(ConfigError, match=f"augment.mask: {line} = 0.0"):
            check_losses([Distill(augment=Augment())], teachers, student, TOKENS)
        check_losses([Distill(augment=Augment(mask=0.0)), Distill()], teachers, student, TOKENS)


@pytest.mark.parametrize(
    ("student", "labels", "trained"),
    [(False, ("a", "b"), False), (True, ("b", "a"), False), (True, ("a", "b", "c"), False), (True, ("a", "b"), True)],
)
def test_a_fresh_classifier_needs_a_loss_that_trains_it(
    tmp_path: Path, student: bool, labels: tuple[str, ...], trained: bool
) -> None:
    def config(classifier: bool, names: tuple[str, ...]) -> dict[str, Any]:
        kind = "BertForSequenceClassification" if classifier else "BertModel"
        return {"architectures": [kind], "id2label": {str(at): name for at, name in enumerate(names)}}

    base = folder(tmp_path / "base", 6, config=config(False, ("LABEL_0", "LABEL_1")))
    teacher = folder(tmp_path / "teacher", 6, config=config(True, ("a", "b")))
    own = folder(tmp_path / "student", 4, config=config(student, labels))
    for teachers in ([teacher], [base, teacher]):
        if trained:
            check_losses([distill(alpha=1.0)], teachers, own, TOKENS)
        else:
            with pytest.raises(
                ConfigError, match=r"distill.alpha: found 1, but .*/student is no classifier with the t"
            ):
                check_losses([distill(alpha=1.0)], teachers, own, TOKENS)
        check_losses([distill(alpha=0.9)], teachers, own, TOKENS)
        check_losses([distill(alpha=1.0, losses=Losses(response=1.0, hidden=1.0))], teachers, own, TOKENS)
        check_losses([distill(alpha=1.0)], teachers, None, TOKENS)  # it starts with the teacher's own classifier


def test_a_student_of_another_task_starts_with_a_fresh_classifier(tmp_path: Path) -> None:
    def model(name: str, ending: str, *names: str) -> Path:
        labels = {str(at): name for at, name in enumerate(names)}
        return folder(tmp_path / name, 6, config={"architectures": [f"BertFor{ending}"], "id2label": labels})

    spans = model("spans", "QuestionAnswering", "start", "end")
    check_losses([distill(alpha=1.0)], [spans], model("other", "QuestionAnswering", "LABEL_0", "LABEL_1"), TOKENS)
    for student in (model("texts", "SequenceClassification", "no", "yes"), folder(tmp_path / "base", 6)):
        with pytest.raises(ConfigError, match="is no classifier with the teacher's labels"):
            check_losses([distill(alpha=1.0)], [spans], student, TOKENS)


def test_a_teacher_into_which_nobody_can_look(tmp_path: Path) -> None:
    teacher, student = folder(tmp_path / "teacher", 6, "roberta"), folder(tmp_path / "student", 4)
    with pytest.raises(ConfigError, match=r"distill.losses: angle: .* bert and distilbert only; found 'roberta' in"):
        check_losses([distill(losses=Losses(response=1.0, angle=1.0))], [teacher], student, TOKENS)
    check_losses([Distill()], [teacher], student, TOKENS)


def test_words_that_nobody_can_tell_apart(tmp_path: Path) -> None:
    teacher = folder(tmp_path / "teacher", 6, "roberta")
    (teacher / "tokenizer.json").write_text(json.dumps({"model": {"type": "BPE", "vocab": {"a": 0}}}))
    with pytest.raises(ConfigError, match=r"augment: .*: its tokenizer is BPE; possible: WordPiece"):
        check_losses([Distill(augment=Augment())], [teacher], None, TOKENS)


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("distill.losses={hiden=1}", r"stage 2 \(distill\) losses: unknown key 'hiden'; did you mean 'hidden'\?"),
        ("distill.losses={response=0, angle=0}", "key 'losses': found .*, expected a weight above 0 for one at least"),
        ("distill.losses={angle=-1}", "losses: key 'angle': found -1, expected greater than or equal to 0"),
        ("distill.losses={angle=inf}", "losses: key 'angle': found inf, expected a finite number"),
        ("distill.layer_map='lats'", "key 'layer_map': found 'lats', expected 'uniform' or 'last'"),
        ("distill.layer_map=[[1]]", r"key 'layer_map': found \[\[1\]\].* pairs \[student's layer, teacher's layer\]"),
        ("distill.layer_map=[]", r"key 'layer_map': found \[\].* pairs \[student's layer, teacher's layer\]"),
    ],
)
def test_a_recipe_that_asks_for_what_is_not_there(override: str, line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        load_recipe("distilbert-int8", [override])


def test_labels_alone_and_losses_contradict_each_other() -> None:
    with pytest.raises(ConfigError, match="but alpha = 0 lets the labels alone count"):
        load_recipe("distilbert-int8", ["distill.losses={hidden=1}", "distill.alpha=0"])
    assert load_recipe("distilbert-int8", ["distill.alpha=0"])


def test_losses_read_as_a_line() -> None:
    assert str(Losses(response=1.0, value_relation=0.25)) == "response 1, value_relation 0.25"
    assert str(Distill().losses) == "response 1"


def test_tokenizers_of_other_tokens_are_refused_where_answers_are_by_token(tmp_path: Path) -> None:
    first, more, less = (folder(tmp_path / words.replace(" ", ""), 2, words=words) for words in ("a b", "a b c", "a"))
    other = folder(tmp_path / "other", 2, words="a x")
    check_splitting([first, more], less)
    check_splitting([], other)
    for teachers, student in (([first, other], None), ([first], other)):
        with pytest.raises(ConfigError, match=r"other/tokenizer\.json: its tokens are not those of .*ab/tok"):
            check_splitting(teachers, student)
