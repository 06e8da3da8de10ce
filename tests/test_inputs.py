from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edgekit.errors import ConfigError
from edgekit.inputs import resolve_data, resolve_model, resolve_unlabelled
from edgekit.modelfiles.safetensors import read_safetensors_header
from edgekit.tables import read_table
from edgekit.tasks.columns import Wanted, unlabelled_texts

CONFIG = {
    "model_type": "bert",
    "architectures": ["BertForSequenceClassification"],
    "id2label": {"1": "yes", "0": "no"},
    "hidden_size": 4, "num_hidden_layers": 2, "num_attention_heads": 1, "intermediate_size": 4, "vocab_size": 9,
    "max_position_embeddings": 8,
}  # fmt: skip


def safetensors(*sizes: int) -> bytes:
    """A file of one-dimensional U8 tensors of these sizes."""
    header, at = {}, 0
    for number, size in enumerate(sizes):
        header[f"t{number}"] = {"dtype": "U8", "shape": [size], "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(at)


def make_model(folder: Path, **changed: bytes | None) -> Path:
    """A model folder; `changed` replaces a file, or leaves it out (None), by its stem."""
    files = {
        "config": ("config.json", json.dumps(CONFIG).encode()),
        "tokenizer": ("tokenizer.json", b"{}"),
        "model": ("model.safetensors", safetensors(4, 8)),
    }
    folder.mkdir(exist_ok=True)
    for key, (name, content) in files.items():
        wanted = changed.get(key, content)
        if wanted is not None:
            (folder / name).write_bytes(wanted)
    return folder


def refusal(text: str | Path) -> str:
    with pytest.raises(ConfigError) as caught:
        resolve_model(str(text), "--teacher")
    assert str(caught.value).startswith("--teacher ")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_local_folder(tmp_path: Path) -> None:
    source = resolve_model(str(make_model(tmp_path / "mine")), "--teacher")
    assert (source.name, source.path, source.family) == ("mine", tmp_path / "mine", "bert")
    assert (source.labels, source.task, source.commit) == (("no", "yes"), "text_classification", None)


def test_a_folder_goes_before_a_hub_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "owner").mkdir()
    make_model(tmp_path / "owner" / "name")
    monkeypatch.chdir(tmp_path)
    assert resolve_model("owner/name", "--teacher").commit is None
    assert refusal("owner/other") == "--teacher owner/other: no such folder"


def test_the_digest_is_the_content_s(tmp_path: Path) -> None:
    def digest(**changed: bytes | None) -> str:
        return resolve_model(str(make_model(tmp_path / str(len(list(tmp_path.iterdir()))), **changed)), "r").digest

    first = digest()
    assert digest() == first
    others = {
        digest(model=safetensors(8, 4)),
        digest(tokenizer=b"{ }"),
        digest(config=json.dumps(CONFIG).encode() + b" "),
    }
    assert len(others | {first}) == 4
    folder = make_model(tmp_path / "noise")
    (folder / "optimizer.pt").write_text("not part of the model")
    assert resolve_model(str(folder), "r").digest == first
    (folder / "README.md").write_text("states the licence")
    assert resolve_model(str(folder), "r").digest != first
    (folder / "vocab.txt").write_text("but this is")
    assert resolve_model(str(folder), "r").digest != first


def test_weights_in_parts(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m", model=None)
    for part in ("model-1.safetensors", "model-2.safetensors"):
        (folder / part).write_bytes(safetensors(3))
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    digest = resolve_model(str(folder), "r").digest
    (folder / "model-2.safetensors").write_bytes(safetensors(1, 2))
    assert resolve_model(str(folder), "r").digest != digest
    (folder / "model-2.safetensors").unlink()
    assert "model.safetensors.index.json: names model-2.safetensors, which is missing" in refusal(folder)
    (folder / "model.safetensors.index.json").write_text("{}")
    assert "damaged: has no weight_map" in refusal(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{tmp}/nowhere", "no such folder"),
        ("./nowhere", "no such folder"),
        ("~/nowhere/at/all", "no such folder"),
        ("models/of/mine", "no such folder"),
        ("mine/", "no such folder"),
    ],
)
def test_a_path_that_is_not_there(tmp_path: Path, text: str, message: str) -> None:
    text = text.replace("{tmp}", str(tmp_path))
    assert refusal(text) == f"--teacher {text}: {message}"


def test_incomplete_folders(tmp_path: Path) -> None:
    assert "a: no config.json" in refusal(make_model(tmp_path / "a", config=None))
    for name in ("eye.xml", "eye.bin"):
        (tmp_path / "a" / name).write_text("")
    assert f"a: no config.json; a model's file is named itself, such as {tmp_path}/a/eye.xml" in refusal(tmp_path / "a")
    assert "no tokenizer.json or vocab.txt" in refusal(make_model(tmp_path / "b", tokenizer=None))
    assert "no model.safetensors; found config.json, tokenizer.json" in refusal(make_model(tmp_path / "c", model=None))
    assert "cannot be read as JSON" in refusal(make_model(tmp_path / "d", config=b"{"))
    assert "has no 'model_type'" in refusal(make_model(tmp_path / "e", config=b"{}"))
    (make_model(tmp_path / "f") / "adapter_config.json").write_text("{}")
    assert "an adapter, not a model" in refusal(tmp_path / "f")
    assert "is a file, not a model's folder; possible" in refusal(tmp_path / "f" / "config.json")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "best.ckpt", "weights.th", "model.pkl"])
def test_pickles_are_refused_with_the_line_that_converts_them(tmp_path: Path, name: str) -> None:
    folder = make_model(tmp_path / "m", model=None)
    (folder / name).write_bytes(b"\x80\x04not read")
    message = refusal(folder)
    assert f"{name} is a pickle, which can run code when it is read; only if you trust it" in message
    assert 'python -c "' in message
    assert (folder / name).read_bytes() == b"\x80\x04not read"


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m", model=None, tokenizer=None)
    (folder / "model.safetensors").symlink_to("model.safetensors")
    (folder / "vocab.txt").write_text("a")
    assert "no model.safetensors" in refusal(folder)  # a link that leads nowhere is no file
    if os.geteuid():  # root may read everything
        (make_model(tmp_path / "n") / "model.safetensors").chmod(0)
        assert "model.safetensors: Permission denied" in refusal(tmp_path / "n")


@pytest.mark.heavy
@pytest.mark.parametrize("name", ["pytorch_model.bin", "weights.pt"])
def test_the_line_that_converts_a_pickle_works(tmp_path: Path, name: str) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=9, hidden_size=4, num_hidden_layers=1, num_attention_heads=1, intermediate_size=4
    )
    model = transformers.BertForSequenceClassification(config)
    model.config.architectures = ["BertForSequenceClassification"]
    folder = make_model(tmp_path / "m", config=model.config.to_json_string(use_diff=False).encode(), model=None)
    torch.save(model.state_dict(), folder / name)
    line = refusal(folder).split("convert it: ")[1]
    words = [sys.executable if word == "python" else word for word in shlex.split(line)]
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    assert done.returncode == 0, done.stderr
    assert resolve_model(str(folder), "r").family == "bert"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "header does not fit into 0 bytes"),
        (b"\x10\0\0", "header does not fit into 3 bytes"),
        (safetensors(4, 8)[:40], "header does not fit"),
        (safetensors(4, 8)[:-1], "damaged or cut off"),
        (safetensors(4, 8) + b"x", "damaged or cut off"),
        ((1 << 60).to_bytes(8, "little") + b"{}", "header does not fit"),
        ((2).to_bytes(8, "little") + b"[]", "not that of a safetensors file"),
        ((2).to_bytes(8, "little") + b"{x", "not that of a safetensors file"),
        ((10).to_bytes(8, "little") + b'{"a": 100}', "not that of a safetensors file"),
        ((2).to_bytes(8, "little") + b"{}", "holds no tensors"),
        (safetensors(4, 8).replace(b"[4, 12]", b"[5, 12]"), "damaged"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
    ],
)
def test_damaged_safetensors(tmp_path: Path, content: bytes, message: str) -> None:
    assert message in refusal(make_model(tmp_path / "m", model=content))


def test_what_the_library_writes_is_whole(tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    writer = pytest.importorskip("safetensors.numpy")
    tensors = {"b": numpy.zeros((3, 5), "float32"), "a": numpy.ones(7, "int8"), "empty": numpy.zeros((0,), "float32")}
    writer.save_file(tensors, tmp_path / "m.safetensors", metadata={"format": "pt"})
    assert read_safetensors_header(tmp_path / "m.safetensors") == {"b": (3, 5), "a": (7,), "empty": (0,)}


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("bert.encoder.layer.5.output.dense.bias", (4,), "has 6 layers, but config.json says 2"),
        ("embeddings.word_embeddings.weight", (9, 3), "has the shape [9, 3], config.json asks for [9, 4]"),
        ("bert.embeddings.position_embeddings.weight", (7, 4), "has the shape [7, 4], config.json asks for [8, 4]"),
        ("classifier.weight", (3, 4), "tensor 'classifier.weight' has the shape [3, 4], config.json asks for [2, 4]"),
    ],
)
def test_weights_of_another_size_than_the_config_says(
    tmp_path: Path, name: str, size: tuple[int, ...], message: str
) -> None:
    numpy = pytest.importorskip("numpy")
    writer = pytest.importorskip("safetensors.numpy")
    content = {name: numpy.zeros(size, "float32"), "pre_classifier.weight": numpy.zeros((3, 4), "float32")}
    assert message in refusal(make_model(tmp_path / "m", model=writer.save(content)))
    del content[name]
    assert resolve_model(str(make_model(tmp_path / "m", model=writer.save(content))), "r").family == "bert"


def test_no_data_is_the_sample_task() -> None:
    source = resolve_data(None)
    assert (source.kind, source.path) == ("sample", None)


def test_a_data_folder_is_known_by_its_content(tmp_path: Path) -> None:
    digests = []
    for name, train in (("one", "a"), ("two", "a"), ("three", "b")):
        folder = tmp_path / name
        folder.mkdir()
        (folder / f"train_{name}.csv").write_text(train)
        (folder / "test.csv").write_text("t")
        (folder / "LICENSE").write_text(name)
        source = resolve_data(str(folder))
        assert (source.kind, source.name, source.path) == ("files", name, folder)
        digests.append(source.digest)
    assert digests[0] == digests[1] != digests[2]
    assert resolve_data(str(tmp_path / "one" / "test.csv")).name == "test.csv"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{tmp}/nowhere", "no such file or folder"),
        ("imdb", "no such file or folder; a dataset of the Hugging Face hub is written hf:imdb"),
        ("{tmp}", "no training file; found nothing"),
        ("{tmp}/x.pkl", "can run code"),
        ("{tmp}/x.xlsx", "cannot read '.xlsx' files"),
        ("hf:", "no hub dataset's name"),
        ("hf:a/b/c/d", "no hub dataset's name"),
        ("hf:a b", "no hub dataset's name"),
    ],
)
def test_data_that_is_not_there(tmp_path: Path, text: str, message: str) -> None:
    if text.startswith("{tmp}/x"):
        Path(text.replace("{tmp}", str(tmp_path))).touch()
    with pytest.raises(ConfigError) as caught:
        resolve_data(text.replace("{tmp}", str(tmp_path)))
    assert message in str(caught.value)


def test_a_real_checkpoint_that_is_a_pickle(shared_data: Callable[[str], Path]) -> None:
    assert "resnet20-12fca82f.th is a pickle" in refusal(shared_data("models/resnet20_cifar10"))
    said = refusal(shared_data("models/resnet20_cifar10/resnet20-12fca82f.th"))
    assert "resnet20-12fca82f.th: is a pickle, which can run code when it is read, so it is not read" in said
    for form in ("model.safetensors", ".onnx", ".xml", ".keras", ".h5", ".pt2"):
        assert form in said.partition("possible: ")[2]


def test_a_real_model_is_hashed_fast(shared_data: Callable[[str], Path]) -> None:
    folder = shared_data("models/minilm-sst2")
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        source = resolve_model(str(folder), "--teacher")
        seconds.append(time.perf_counter() - start)
    assert (source.labels, source.family) == (("negative", "positive"), "bert")
    assert source.task == "text_classification"
    assert min(seconds) < 1  # 0.06 s with SHA instructions on an idle core: 90 MB


def test_real_data(shared_data: Callable[[str], Path]) -> None:
    assert resolve_data(str(shared_data("text/sst2"))).kind == "files"


def test_texts_without_labels_are_read_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "more.csv").write_text("text\nno label here\n")
    found = resolve_unlabelled(str(tmp_path / "more.csv"))
    assert (found.name, found.path) == ("more.csv", tmp_path / "more.csv")
    (tmp_path / "moved.csv").write_text("text\nno label here\n")
    assert resolve_unlabelled(str(tmp_path / "moved.csv")).digest == found.digest
    (tmp_path / "empty.csv").write_text("text\n")
    (tmp_path / "blank.csv").write_text("text,id\n ,1\n,2\n")
    (tmp_path / "more.pkl").write_text("")
    for name, said in (
        ("none.csv", "none.csv: no such file"),
        (".", "is no file"),
        ("empty.csv", "has a header and no rows"),
        ("blank.csv", "column 'text' has no text"),
        ("more.pkl", "can run code when they are read"),
    ):
        with pytest.raises(ConfigError, match=f"^--unlabelled .*{said}"):
            resolve_unlabelled(str(tmp_path / name))


def test_the_text_column_of_texts_without_labels_is_the_one_that_was_named(tmp_path: Path) -> None:
    file = tmp_path / "more.csv"
    file.write_text("text,question\nan answer that is long,why\nanother one,who\n")
    table = read_table(file)
    assert unlabelled_texts(table, Wanted(None)) == ("column 'text'", ["an answer that is long", "another one"])
    assert unlabelled_texts(table, Wanted("question")) == ("column 'question'", ["why", "who"])
    assert resolve_unlabelled(str(file), Wanted("question"))
    with pytest.raises(ConfigError, match=r"^--unlabelled .*more.csv: no text column 'questions'; did you mean 'ques"):
        resolve_unlabelled(str(file), Wanted("questions"))
    (tmp_path / "lone.jsonl").write_text('{"text": "only one column"}\n')
    assert unlabelled_texts(read_table(tmp_path / "lone.jsonl"), Wanted("question")) == (
        "column 'text'",
        ["only one column"],
    )
