from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_models import SHAPE, random_encoder, random_texts
from tiny_text import write_hf

from edgekit.errors import ConfigError

pytestmark = pytest.mark.heavy


def compare_with_transformers(folder: Path, vocabulary: int, tokens: int = 17) -> float:
    """The largest difference of the logits over a padded batch."""
    import torch
    from transformers import AutoModelForSequenceClassification

    from edgekit.stages.network.encoder import load_encoder

    theirs = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    ours = load_encoder(folder)
    ids = torch.randint(1, vocabulary, (5, tokens), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[1, 9:] = 0
    mask[3, 2:] = 0
    with torch.inference_mode():
        expected, found = theirs(input_ids=ids, attention_mask=mask).logits, ours(ids, mask)
    assert float(expected.std()) > 0.01, "answers that do not depend on the input compare nothing"
    return float((expected - found).abs().max())


@pytest.mark.parametrize("family", ["bert", "distilbert"])
def test_equals_transformers_and_writes_what_transformers_reads(tmp_path: Path, family: str) -> None:
    from edgekit.stages.network.encoder import load_encoder, save_encoder

    folder = write_hf(tmp_path / "hf", family)
    assert compare_with_transformers(folder, 60) < 1e-5
    model = load_encoder(folder)
    assert sum(p.numel() for p in model.parameters()) == model.shape.parameters
    again = tmp_path / "again"
    again.mkdir()
    save_encoder(model, again, folder / "tokenizer.json")
    assert compare_with_transformers(again, 60) < 1e-5
    assert {f.name for f in again.iterdir()} == {"config.json", "model.safetensors", "tokenizer.json"}


def test_equals_transformers_on_a_real_model(shared_data: Callable[[str], Path]) -> None:
    assert compare_with_transformers(shared_data("models/minilm-sst2"), 30000, tokens=48) < 1e-5


def test_layers_of_unequal_width_come_back_as_they_were(tmp_path: Path) -> None:
    import torch

    from edgekit.stages.network.encoder import load_encoder, save_encoder

    model = random_encoder(SHAPE)
    (tmp_path / "tokenizer.json").write_text("{}")
    save_encoder(model, tmp_path, tmp_path / "tokenizer.json")
    again = load_encoder(tmp_path)
    assert again.shape == SHAPE
    ids = torch.tensor(random_texts([11, 11]))
    assert torch.equal(model(ids, torch.ones_like(ids)), again(ids, torch.ones_like(ids)))


def test_training_computes_what_evaluation_computes() -> None:
    import torch

    model = random_encoder(replace(SHAPE, dropout=0.0))
    ids = torch.tensor(random_texts([11, 11]))
    mask = torch.ones_like(ids)
    mask[0, 6:] = 0
    evaluated = model(ids, mask)
    trained = model.train()(ids, mask)
    assert float((trained - evaluated).detach().abs().max()) < 1e-5


def test_a_trace_holds_what_a_layer_computes() -> None:
    """Attention as the mean over the heads, by the weights of the layer itself."""
    import torch

    from edgekit.stages.network.trace import Trace

    model = random_encoder(replace(SHAPE, dropout=0.0))
    ids = torch.tensor(random_texts([11, 11]))
    mask = torch.ones_like(ids)
    mask[0, 6:] = 0
    trace = Trace([("hidden", 0), ("attention", 1), ("values", 1), ("hidden", 1)])
    with torch.no_grad():
        model(ids, mask, trace)
    x, layer = trace["hidden", 0], model.layers[1]
    maps = []
    for head in range(3):
        query, key = ((x @ m.weight.T + m.bias)[..., head * 16 : head * 16 + 16] for m in (layer.query, layer.key))
        scores = query @ key.transpose(1, 2) / 4
        scores[0, :, 6:] = -torch.inf
        maps.append(scores.softmax(-1))
    assert trace["attention", 1].shape == (2, 11, 11)
    assert trace["attention", 1].dtype == torch.float32
    assert torch.allclose(trace["attention", 1], sum(maps) / 3, atol=1e-5)
    assert torch.allclose(trace["values", 1], x @ layer.value.weight.T + layer.value.bias, atol=1e-5)
    assert model.train()(ids, mask, trace).shape == (2, 3)
    assert trace["attention", 1].shape == (2, 11, 11)


def test_dropout_acts_in_training_only() -> None:
    import torch

    model = random_encoder(SHAPE)
    ids = torch.tensor(random_texts([11]))
    mask = torch.ones_like(ids)
    assert torch.equal(model(ids, mask), model(ids, mask))
    model.train()
    assert not torch.equal(model(ids, mask), model(ids, mask))


def test_predict_keeps_the_order_and_padding_changes_nothing() -> None:
    import torch

    from edgekit.stages.network.encoder import predict

    model, texts = random_encoder(SHAPE), random_texts([12, 1, 7, 30, 3])
    alone = [
        model(torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.int64)).detach().numpy()[0] for ids in texts
    ]
    told: list[int] = []
    together = predict(model, texts, batch_size=2, progress=told.append)
    assert np.abs(np.stack(alone) - together).max() < 1e-5
    assert together.dtype == np.float32
    assert told == [2, 4, 5]


@pytest.mark.parametrize("family", ["bert", "distilbert"])
def test_a_base_checkpoint_gets_a_fresh_classifier_from_the_seed(tmp_path: Path, family: str) -> None:
    import torch

    from edgekit.stages.network.encoder import load_encoder

    folder = write_hf(tmp_path / "hf", family, base=True)
    first, same, other = (load_encoder(folder, seed, ("a", "b", "c")) for seed in (1, 1, 2))
    assert first.shape.labels == ("a", "b", "c")
    assert first.classifier.weight.shape == (3, 32)
    assert 0.01 < first.classifier.weight.std().item() < 0.03
    assert torch.equal(first.head.weight, same.head.weight)
    assert not torch.equal(first.head.weight, other.head.weight)
    assert torch.equal(first.layers[0].up.weight, other.layers[0].up.weight)


def test_the_names_of_old_checkpoints_are_understood(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    from edgekit.stages.network.encoder import load_encoder

    folder = write_hf(tmp_path / "hf")
    new = load_encoder(folder).state_dict()
    tensors = load_file(folder / "model.safetensors")
    renamed = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in tensors.items()
    }
    renamed["bert.embeddings.position_ids"] = torch.arange(32)[None]
    assert "bert.embeddings.LayerNorm.gamma" in renamed
    save_file(renamed, folder / "model.safetensors")
    old = load_encoder(folder).state_dict()
    assert all(torch.equal(new[name], old[name]) for name in new)


def test_weights_in_several_files_are_put_together(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    from edgekit.stages.network.encoder import load_encoder

    folder = write_hf(tmp_path / "hf")
    whole = load_encoder(folder).state_dict()
    names = sorted(tensors := load_file(folder / "model.safetensors"))
    weight_map = {name: f"model-{at % 2}.safetensors" for at, name in enumerate(names)}
    for part in set(weight_map.values()):
        save_file({name: tensors[name] for name in names if weight_map[name] == part}, folder / part)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    parts = load_encoder(folder).state_dict()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_a_folder_that_cannot_be_used_is_refused_by_name(tmp_path: Path) -> None:
    import safetensors.torch

    from edgekit.stages.network.encoder import load_encoder

    folder = write_hf(tmp_path / "hf")
    config, weights = folder / "config.json", folder / "model.safetensors"
    sound, content = config.read_text(), weights.read_bytes()

    def refusal() -> str:
        with pytest.raises(ConfigError) as caught:
            load_encoder(folder)
        return str(caught.value)

    config.write_text(sound.replace('"intermediate_size": 64', '"intermediate_size": 80'))
    lines = refusal().splitlines()
    assert "bert.encoder.layer.0.intermediate.dense.weight" in lines[0]
    assert "[64, 32]" in lines[0] and "[80, 32]" in lines[0] and str(weights) in lines[0]
    assert "and 9 more tensors" in lines[-1]
    config.write_text(sound.replace('"num_hidden_layers": 4', '"num_hidden_layers": 5'))
    assert "no tensor 'bert.encoder.layer.4.attention.self.query.weight'" in refusal()
    config.write_text(sound.replace('"hidden_act": "gelu"', '"hidden_act": "gelu_nwe"'))
    assert "did you mean 'gelu_new'" in refusal()
    config.write_text(sound)
    headless = {name: x for name, x in safetensors.torch.load(content).items() if not name.startswith("classifier.")}
    safetensors.torch.save_file(headless, weights)
    assert "no tensor 'classifier.weight'" in refusal(), "a classifier that answers at random would pass for a teacher"
    weights.write_bytes(content[:-100])
    assert f"{weights}: not a whole safetensors file" in refusal()
    weights.rename(folder / "pytorch_model.bin")
    assert "pytorch_model.bin is a pickle" in refusal()
