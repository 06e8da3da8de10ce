from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_server import Repositories, commit_of, serve
from test_inputs import CONFIG, safetensors

pytestmark = pytest.mark.heavy

CARD = """---
configs:
- config_name: sst2
  data_files:
  - split: train
    path: sst2/train-*
  - split: validation
    path: sst2/validation-*
  - split: test
    path: sst2/test-*
- config_name: other
  data_files: other/*.jsonl
dataset_info:
- config_name: sst2
  features:
  - name: sentence
    dtype: string
  - name: label
    dtype:
      class_label:
        names:
          '0': negative
          '1': positive
---
"""


def lines(start: str, labels: list[int]) -> bytes:
    rows = [json.dumps({"sentence": f"{start} {n}", "label": label}) for n, label in enumerate(labels)]
    return "\n".join(rows).encode()


REPOSITORIES: Repositories = {
    "models/tiny/model": {
        "config.json": json.dumps(CONFIG).encode(),
        "tokenizer.json": b"{}",
        "model.safetensors": safetensors(8),
        "pytorch_model.bin": b"never fetched",
        "onnx/model.safetensors": b"nor this",
    },
    "models/tiny/pickled": {"config.json": json.dumps(CONFIG).encode(), "pytorch_model.bin": b"never fetched"},
    "datasets/glue": {
        "README.md": CARD.encode(),
        "glue.py": b"raise SystemExit('never run')",
        "sst2/train-0.jsonl": lines("train", [0, 1] * 10),
        "sst2/validation-0.jsonl": lines("dev", [0, 1]),
        "sst2/test-0.jsonl": lines("test", [-1, -1]),
        "other/data.jsonl": lines("other", [0, 1]),
    },
    "datasets/tiny/plain": {"train.csv": b"text,label\n" + b"".join(b"t%d,%d\n" % (n, n % 2) for n in range(40))},
    "datasets/tiny/scripted": {"README.md": b"# no data", "scripted.py": b"raise SystemExit('never run')"},
    "datasets/tiny/broken": {"README.md": b"---\nconfigs: [\n---\n", "train.csv": b"text,label\nx,1\n"},
}
REFUSED = {"models/tiny/gated": (403, "GatedRepo"), "models/tiny/down": (500, "")}

RESOLVE = """
import json, sys
from edgekit.errors import EdgekitError
from edgekit.inputs import resolve_data, resolve_model
for text in sys.argv[1:]:
    try:
        found = resolve_data(text) if text.startswith("hf:") else resolve_model(text, "--teacher")
        answer = {"path": str(found.path), "digest": found.digest, "config": found.config}
    except EdgekitError as error:
        answer = {"error": str(error)}
    print(json.dumps(answer))
"""

READ = """
import sys
from pathlib import Path
from edgekit.artifact import Job
from edgekit.inputs import resolve_data
from edgekit.stages import dataset_text
data, work = resolve_data(sys.argv[1]), Path(sys.argv[2])
options = dataset_text.Options(hub_data=data.name, hub_config=data.config)
dataset_text.run(None, options, Job(work, work, {"data": data.path}, {}, lambda *_: None))
"""


@pytest.fixture(scope="module")
def endpoint() -> Iterator[tuple[str, list[str]]]:
    with serve(REPOSITORIES, REFUSED) as (address, requests):
        yield address, requests


def python(code: str, *words: str, home: Path, endpoint: str, **environment: str) -> str:
    """What a process with its own hub cache prints; the hub's variables are read when it is imported."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    env |= {"HF_HOME": str(home), "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_PROGRESS_BARS": "1", **environment}
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def resolve(*names: str, home: Path, endpoint: str, **environment: str) -> dict[str, dict[str, str]]:
    answers = python(RESOLVE, *names, home=home, endpoint=endpoint, **environment).splitlines()
    return dict(zip(names, map(json.loads, answers), strict=True))


def test_a_model_and_a_dataset_from_the_network_then_from_the_cache(
    endpoint: tuple[str, list[str]], tmp_path: Path
) -> None:
    address, requests = endpoint
    names = ("tiny/model", "hf:glue/sst2", "hf:tiny/plain")
    online = resolve(*names, home=tmp_path, endpoint=address)
    model = REPOSITORIES["models/tiny/model"]
    folder = Path(online["tiny/model"]["path"])
    assert folder.name == commit_of(model)
    assert {f.name for f in folder.iterdir()} == {"config.json", "tokenizer.json", "model.safetensors"}
    data = REPOSITORIES["datasets/glue"]
    assert online["hf:glue/sst2"]["digest"] == f"{commit_of(data)}/sst2"
    assert online["hf:glue/sst2"]["config"] == "sst2"
    assert {f.name for f in Path(online["hf:glue/sst2"]["path"]).iterdir()} == {"README.md", "sst2"}
    assert online["hf:tiny/plain"]["config"] is None

    asked = len(requests)
    assert resolve(*names, home=tmp_path, endpoint=address, HF_HUB_OFFLINE="1") == online
    assert len(requests) == asked
    assert resolve(*names, home=tmp_path, endpoint="http://127.0.0.1:9") == online


def test_a_hub_dataset_becomes_an_artifact_without_the_network(endpoint: tuple[str, list[str]], tmp_path: Path) -> None:
    address, requests = endpoint
    home, glue, plain = tmp_path / "home", tmp_path / "glue", tmp_path / "plain"
    glue.mkdir()
    plain.mkdir()
    resolve("hf:glue/sst2", "hf:tiny/plain", home=home, endpoint=address)
    asked = len(requests)
    python(READ, "hf:glue/sst2", str(glue), home=home, endpoint=address, HF_HUB_OFFLINE="1")
    python(READ, "hf:tiny/plain", str(plain), home=home, endpoint=address, HF_HUB_OFFLINE="1")
    assert len(requests) == asked
    record = json.loads((glue / "dataset.json").read_text())
    assert record["labels"] == ["negative", "positive"]
    assert record["counts"] == {"train": 20, "validation": 2}  # GLUE's test labels are -1: none
    assert record["source"] == "hf:glue/sst2"
    rows = {row["text"]: row["label"] for row in map(json.loads, (glue / "validation.jsonl").read_text().splitlines())}
    assert rows == {"dev 0": 0, "dev 1": 1}
    assert json.loads((plain / "dataset.json").read_text())["counts"] == {"train": 32, "validation": 4, "test": 4}


def test_what_the_hub_cannot_give_is_one_line(endpoint: tuple[str, list[str]], tmp_path: Path) -> None:
    address, _ = endpoint
    unreachable = f"no folder here, not complete in the local cache, and {address} cannot be reached"
    said = {
        "no/such": f"model 'no/such': neither a folder here nor a repository on {address}",
        "no--such": "model 'no--such': neither a folder here nor a name that a hub repository can have",
        "tiny/gated": f"its owner must grant access: ask at {address}/tiny/gated, then set HF_TOKEN",
        "tiny/down": f"model 'tiny/down': {unreachable}",
        "tiny/pickled": "no model.safetensors; found config.json; where you trust weights in another form: python -c",
        "hf:no/such": f"dataset 'no/such': neither a folder here nor a repository on {address}",
        "hf:glue": "dataset 'glue': has several configurations; possible: hf:glue/sst2, hf:glue/other",
        "hf:glue/cola": "dataset 'glue': no configuration 'cola'; possible: sst2, other",
        "hf:tiny/plain/x": "dataset 'tiny/plain': no configuration 'x'; possible: none",
        "hf:tiny/scripted": "dataset 'tiny/scripted': has no data files",
        "hf:tiny/broken": "dataset 'tiny/broken': its README.md cannot be read",
    }
    answers = resolve(*said, home=tmp_path, endpoint=address)
    for name, message in said.items():
        assert message in answers[name]["error"]
        assert "\n" not in answers[name]["error"]


def test_without_a_network_and_a_cache(tmp_path: Path) -> None:
    names = ("tiny/model", "hf:glue/sst2")
    dead = resolve(*names, home=tmp_path, endpoint="http://127.0.0.1:9")
    offline = resolve(*names, home=tmp_path, endpoint="http://127.0.0.1:9", HF_HUB_OFFLINE="1")
    for name, kind in zip(names, ("model 'tiny/model'", "dataset 'glue/sst2'"), strict=True):
        where = f"{kind}: no folder here, not complete in the local cache, and "
        assert dead[name]["error"] == f"{where}http://127.0.0.1:9 cannot be reached"
        assert offline[name]["error"] == f"{where}HF_HUB_OFFLINE is set"
