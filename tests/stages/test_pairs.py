"""Pairs of texts: their columns, their tokens, and the type of the second text's tokens in every form of the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_text

from edgekit.errors import ConfigError
from edgekit.shape import read_config, read_shape, task_of
from edgekit.stages.dataset_text import Options, run
from edgekit.stages.text.tokens import encode, load_tokenizer, pad, pair_separator
from edgekit.tables import read_table
from edgekit.tasks.columns import Columns, Wanted, find_columns, unlabelled_texts

PAIRS = [
    ("a great film", "the plot was very witty"),
    ("awful", "a story with lovely actors and"),
    ("dull film", "poor"),
]
SWAPPED = Columns("sentence2", "label", "sentence1")


def _table(path: Path, *lines: str) -> Any:
    path.write_text("\n".join(lines) + "\n")
    return read_table(path)


@pytest.mark.parametrize(
    "header, wanted, expected",
    [
        ("sentence1,sentence2,label", Wanted(), Columns("sentence1", "label", "sentence2")),
        ("index,question,sentence,label", Wanted(), Columns("question", "label", "sentence")),
        ("Premise,Hypothesis,gold_label", Wanted(), Columns("Premise", "gold_label", "Hypothesis")),
        ("text,text_pair,label", Wanted(), Columns("text", "label", "text_pair")),
        ("sentence1,sentence2,label", Wanted(text="sentence1"), Columns("sentence1", "label")),
        (
            "sentence1,sentence2,label",
            Wanted("sentence2", None, "sentence1"),
            Columns("sentence2", "label", "sentence1"),
        ),
        ("body,answer,label", Wanted(pair="answer"), Columns("body", "label", "answer")),
        ("sentence,label,question1", Wanted(), Columns("sentence", "label")),
    ],
)
def test_the_columns_of_pairs(tmp_path: Path, header: str, wanted: Wanted, expected: Columns) -> None:
    count = header.count(",") + 1
    rows = [",".join(f"words {row} of {column}" for column in range(count)) for row in range(4)]
    assert find_columns(_table(tmp_path / "data.csv", header, *rows), wanted) == expected


def test_the_columns_of_mrpc_as_glue_has_them(tmp_path: Path) -> None:
    rows = [f'{row % 2}\t7{row}\t8{row}\t"one {row}\tother {row}' for row in range(6)]
    table = _table(tmp_path / "train.tsv", "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String", *rows)
    assert find_columns(table, Wanted()) == Columns("#1 String", "Quality", "#2 String")


def test_a_named_column_that_is_not_there(tmp_path: Path) -> None:
    table = _table(tmp_path / "data.csv", "sentence1,other,label", "a,b,0", "c,d,1")
    with pytest.raises(ConfigError, match=r"data.csv: no pair column 'sentence2'; did you mean 'sentence1'"):
        find_columns(table, Wanted("sentence1", None, "sentence2"))
    with pytest.raises(ConfigError, match=r"data.csv: column 'other' is both texts of the pair; expected two columns"):
        find_columns(table, Wanted("other", None, "other"))
    with pytest.raises(ConfigError, match=r"no two columns of a pair; its columns: sentence1, other, label; poss"):
        unlabelled_texts(table, Wanted(), pairs=True)


def _rows(folder: Path, split: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / f"{split}.jsonl").read_text().splitlines()]


def test_a_dataset_of_pairs(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    lines = [f"first {row},second {row % 7},{row % 2}" for row in range(40)]
    (data / "train.csv").write_text("\n".join(["sentence1,sentence2,label", *lines, "lone,,1"]) + "\n")
    (data / "dev.csv").write_text("sentence1,sentence2,label\nfirst 3,second 3,1\nfirst 3,second 4,1\n")
    job = tiny_text.make_job(tmp_path / "job", {}, {"data": data})
    outcome = run(None, Options(), job)
    train, validation = _rows(job.work, "train"), _rows(job.work, "validation")
    assert sorted(row["text"] for row in validation) == [["first 3", "second 3"], ["first 3", "second 4"]]
    assert len(train) == 39  # the pair of the validation split is gone; half of it in another pair is not
    assert ["first 10", "second 3"] in [row["text"] for row in train]
    assert all(int(row["text"][0].split()[1]) % 2 == row["label"] for row in train)
    assert json.loads((job.work / "dataset.json").read_text())["pairs"] is True
    found = "pairs of texts from column 'sentence1' and column 'sentence2', labels from column 'label'"
    assert outcome.notes[0] == found
    assert "1 rows of the train split without a text or a label dropped" in outcome.notes


def test_a_split_without_the_second_text(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "train.csv").write_text("sentence1,sentence2,label\n" + "".join(f"a{n},b{n},{n % 2}\n" for n in range(9)))
    (data / "dev.csv").write_text("sentence1,label\na,1\n")
    with pytest.raises(ConfigError, match=r"dev.csv: no column 'sentence2'; its columns: sentence1, label"):
        run(None, Options(), tiny_text.make_job(tmp_path / "job", {}, {"data": data}))


def test_single_texts_have_no_mark_of_pairs(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("text,label\n" + "".join(f"text {n},{n % 2}\n" for n in range(30)))
    job = tiny_text.make_job(tmp_path / "job", {}, {"data": tmp_path / "data.csv"})
    run(None, Options(), job)
    assert "pairs" not in json.loads((job.work / "dataset.json").read_text())
    assert all(isinstance(row["text"], str) for row in _rows(job.work, "train"))


def test_the_longer_text_of_a_pair_is_cut_first(tmp_path: Path) -> None:
    tiny_text.write_tokenizer(tmp_path / "tokenizer.json")
    tokenizer = load_tokenizer(tmp_path / "tokenizer.json", 9)
    (ids,) = encode(tokenizer, [["film plot", "a a a a a a a a a"]])
    word = tokenizer.token_to_id
    cls, sep = word("[CLS]"), word("[SEP]")
    assert ids == [cls, word("film"), word("plot"), sep, *[word("a")] * 4, sep]
    assert pair_separator(tokenizer, tmp_path) == sep


def test_a_tokenizer_without_a_form_for_pairs(tmp_path: Path) -> None:
    tiny_text.write_tokenizer(tmp_path / "tokenizer.json")
    content = json.loads((tmp_path / "tokenizer.json").read_text())
    (tmp_path / "tokenizer.json").write_text(json.dumps({**content, "post_processor": None}))
    tokenizer = load_tokenizer(tmp_path / "tokenizer.json", 9)
    with pytest.raises(ConfigError, match=r"x.json: puts no token between the two texts of a pair"):
        pair_separator(tokenizer, Path("x.json"))


def _of_transformers(folder: Path, ids: list[list[int]], types: list[list[int]]) -> np.ndarray[Any, Any]:
    import torch
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        rows = [
            model(input_ids=torch.tensor([a]), token_type_ids=torch.tensor([b])).logits[0].numpy()
            for a, b in zip(ids, types, strict=True)
        ]
    return np.stack(rows)


@pytest.fixture(scope="module")
def pairs_model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, list[list[int]], np.ndarray[Any, Any]]:
    """A BERT folder, its tokenizer, the token ids of the pairs, and transformers' own logits of them."""
    folder = tiny_text.write_hf(tmp_path_factory.mktemp("pairs") / "bert")
    tokenizer = load_tokenizer(folder / "tokenizer.json", 24)
    encodings = tokenizer.encode_batch(PAIRS)
    ids = encode(tokenizer, PAIRS)
    assert ids == [x.ids for x in encodings]
    return folder, tokenizer, ids, _of_transformers(folder, ids, [x.type_ids for x in encodings])


@pytest.mark.heavy
def test_an_encoder_of_pairs_answers_as_transformers_does(pairs_model: Any, tmp_path: Path) -> None:
    from edgekit.stages.network.encoder import load_encoder, predict, save_encoder
    from edgekit.stages.network.shrink import keep_tokens

    folder, tokenizer, ids, expected = pairs_model
    single = predict(load_encoder(folder), ids)
    assert np.abs(single - expected).max() > 1e-3  # all of type 0, as before
    model = load_encoder(folder, separator=pair_separator(tokenizer, folder))
    assert np.allclose(predict(model, ids, batch_size=3), expected, atol=1e-5)
    save_encoder(model, tmp_path, folder / "tokenizer.json")
    assert read_shape(tmp_path) == model.shape and model.shape.pairs
    used = sorted({0, *(token for row in ids for token in row)})
    renumbered = [[used.index(token) for token in row] for row in ids]
    assert np.allclose(predict(keep_tokens(model, used), renumbered), expected, atol=1e-5)


@pytest.mark.heavy
def test_a_twin_of_pairs_answers_as_transformers_does(pairs_model: Any, tmp_path: Path) -> None:
    from edgekit.stages.keras import twin
    from edgekit.stages.keras.tflite import convert
    from edgekit.stages.network.encoder import load_encoder

    folder, tokenizer, ids, expected = pairs_model
    encoder = load_encoder(folder, separator=pair_separator(tokenizer, folder))
    model = twin.build_twin(encoder.shape, 24)
    twin.fill_twin(model, {name: tensor.numpy() for name, tensor in encoder.state_dict().items()})
    assert np.allclose(twin.predict(twin.compiled(model), ids, 0), expected, atol=1e-5)
    twin.save_twin(model, encoder.shape, tmp_path, folder / "tokenizer.json")
    again, _ = twin.load_twin(tmp_path)
    assert np.array_equal(twin.predict(twin.compiled(again), ids, 0), twin.predict(twin.compiled(model), ids, 0))
    from ai_edge_litert.interpreter import Interpreter

    for int8, near in ((False, 1e-5), (True, 0.1)):
        runner = Interpreter(model_content=convert(again, (24,), int8, tmp_path)).get_signature_runner("tokens_24")
        ids_, mask = (x.astype(np.int32) for x in pad(ids, 0, 24))
        rows = [runner(input_ids=ids_[n : n + 1], attention_mask=mask[n : n + 1])["logits"][0] for n in range(len(ids))]
        assert np.abs(np.stack(rows) - expected).max() < near


@pytest.mark.heavy
def test_an_ir_of_pairs_answers_as_transformers_does(pairs_model: Any, tmp_path: Path) -> None:
    from edgekit.ondevice.runtimes import openvino as runtime
    from edgekit.stages.convert_openvino import convert, save_ir
    from edgekit.stages.network.encoder import load_encoder

    folder, tokenizer, ids, expected = pairs_model
    encoder = load_encoder(folder, separator=pair_separator(tokenizer, folder))
    save_ir(convert(encoder), tmp_path)
    answer = runtime.load(tmp_path / "model.xml", (12, 24), "CPU", 1, reference=True)
    rows = [answer(np.array([row], np.int32), np.ones((1, len(row)), np.int32)) for row in ids]
    assert np.allclose(np.stack(rows), expected, atol=1e-5)


@pytest.mark.heavy
def test_onnx_of_pairs_answers_as_transformers_does(pairs_model: Any, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    from edgekit.stages.files.onnx_model import export, fold, write_model
    from edgekit.stages.network.encoder import load_encoder

    folder, tokenizer, ids, expected = pairs_model
    export(load_encoder(folder, separator=pair_separator(tokenizer, folder)), tmp_path / "model.onnx")
    write_model(fold(tmp_path / "model.onnx"), tmp_path / "folded.onnx")
    session = runtime.InferenceSession(tmp_path / "folded.onnx", providers=["CPUExecutionProvider"])
    tokens, mask = (x.astype(np.int32) for x in pad(ids, 0))
    (found,) = session.run(None, {"input_ids": tokens, "attention_mask": mask})
    assert np.allclose(found, expected, atol=1e-5)


@pytest.mark.heavy
@pytest.mark.parametrize("family, types", [("electra", True), ("roberta", False)])
def test_other_architectures_are_told_token_types_where_they_have_them(
    tmp_path: Path, family: str, types: bool
) -> None:
    import torch
    import transformers as hf

    from edgekit.stages.network.encoder import predict
    from edgekit.stages.network.hf_model import load_hf_classifier, save_hf_classifier

    tiny_text.write_tokenizer(tmp_path / "tokenizer.json")
    tokenizer = load_tokenizer(tmp_path / "tokenizer.json", 24)
    sizes = {"vocab_size": tokenizer.get_vocab_size(), "hidden_size": 32, "num_hidden_layers": 2, "pad_token_id": 0,
             "num_attention_heads": 4, "intermediate_size": 64, "initializer_range": 0.2}  # fmt: skip
    torch.manual_seed(0)
    if family == "electra":
        model = hf.ElectraForSequenceClassification(hf.ElectraConfig(embedding_size=16, **sizes))
    else:
        model = hf.RobertaForSequenceClassification(hf.RobertaConfig(type_vocab_size=1, **sizes))
    model.save_pretrained(tmp_path)
    encodings = tokenizer.encode_batch(PAIRS)
    ids = [x.ids for x in encodings]
    expected = _of_transformers(tmp_path, ids, [x.type_ids if types else [0] * len(x.ids) for x in encodings])
    separator = pair_separator(tokenizer, tmp_path)
    own = load_hf_classifier(tmp_path, ("bad", "good"), 0, 24, separator)
    assert np.allclose(predict(own, ids), expected, atol=1e-5)
    (tmp_path / "saved").mkdir()
    save_hf_classifier(own, tmp_path / "saved")
    again = load_hf_classifier(tmp_path / "saved", ("bad", "good"), 0, 24)
    assert again.separator == (separator if types else None)
    model.config.num_hidden_layers = 3
    model.config.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"its weights lack 16 of the tensors that its config.json asks for: \w+\."):
        load_hf_classifier(tmp_path, ("bad", "good"), 0, 24)
    assert np.allclose(predict(again, ids), expected, atol=1e-5)


@pytest.mark.heavy
@pytest.mark.parametrize(
    "labels, problem", [("v", "regression"), ("no yes", None), ("a b c d", "multi_label_classification")]
)
@pytest.mark.parametrize("family, head", [("Roberta", "classifier.out_proj"), ("XLNet", "logits_proj")])
def test_other_architectures_take_a_fresh_head_for_other_labels(
    tmp_path: Path, family: str, head: str, labels: str, problem: str | None
) -> None:
    import torch

    from edgekit.stages.network.hf_model import load_hf_classifier

    kept = _write_other(tmp_path, family).state_dict()
    own, again = (load_hf_classifier(tmp_path, tuple(labels.split()), 5, 12, problem=problem) for _ in range(2))
    for name, tensor in own.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name])
        if name.startswith(head):
            assert len(tensor) == len(labels.split())
        else:
            assert torch.equal(tensor, kept[name])


@pytest.mark.heavy
@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_a_model_for_values_becomes_one_for_labels(tmp_path: Path, family: str) -> None:
    from edgekit.stages.network.encoder import load_encoder, save_encoder
    from edgekit.stages.network.hf_model import load_hf_classifier, save_hf_classifier

    folder, saved = tiny_text.write_hf(tmp_path / "hf", family), tmp_path / "saved"
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "problem_type": "regression"}))
    assert task_of(read_config(folder)) == "text_regression"
    saved.mkdir()
    if family == "bert":
        save_encoder(load_encoder(folder, labels=("a", "b")), saved, folder / "tokenizer.json")
    else:
        save_hf_classifier(load_hf_classifier(folder, ("a", "b"), 0, 12), saved)
    assert task_of(read_config(saved)) == "text_classification"


@pytest.mark.heavy
@pytest.mark.parametrize(
    "change, labels, problem, said",
    [
        # a classifier that is taken as it is must not start anew
        ({"id2label": {"0": "a", "1": "b"}}, "a b", None, r"2 .*: classifier.out_proj.bias \[3\], not \[2\], classif"),
        (
            {"intermediate_size": 65},
            "a b",
            None,
            r"6 of .*: \S+layer.0.intermediate.dense.bias \[64\], not \[65\], .* …$",
        ),
    ],
)
def test_tensors_of_other_shapes_are_refused(
    tmp_path: Path, change: dict[str, Any], labels: str, problem: str | None, said: str
) -> None:
    from edgekit.stages.network.hf_model import load_hf_classifier

    _write_other(tmp_path, "Roberta")
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ConfigError, match=f"^{tmp_path}: {said}") as caught:
        load_hf_classifier(tmp_path, tuple(labels.split()), 0, 12, problem=problem)
    assert "\n" not in str(caught.value)


def _write_other(folder: Path, family: str) -> Any:
    """A tiny classifier of three labels of transformers' own."""
    import transformers as hf

    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    if family == "XLNet":
        sizes = {"d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 64}
    config = getattr(hf, f"{family}Config")(vocab_size=50, num_labels=3, pad_token_id=0, **sizes)
    model = getattr(hf, f"{family}ForSequenceClassification")(config)
    model.save_pretrained(folder)
    return model
