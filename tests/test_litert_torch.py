"""Torch models to TFLite by litert-torch and ai-edge-quantizer, where these optional packages are installed."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(importlib.util.find_spec("litert_torch") is None, reason="litert-torch is not installed"),
    pytest.mark.filterwarnings("ignore"),  # of torch, jax and torchao, over what each will rename
]


@pytest.fixture(scope="module")
def float_file(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    import torch

    from edgekit.stages.files.litert_torch import convert

    class Sum(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = torch.nn.Embedding(500, 64)
            self.dense = torch.nn.Linear(64, 64)

        def forward(self, input_ids: Any, attention_mask: Any) -> dict[str, Any]:
            read = self.dense(torch.relu(self.dense(self.words(input_ids))))
            return {"logits": (read * attention_mask[..., None]).sum(1)}

    torch.manual_seed(0)
    model = Sum().eval()
    path = tmp_path_factory.mktemp("litert") / "m.tflite"
    names = ("input_ids", "attention_mask")
    examples = {f"tokens_{n}": {name: torch.ones(1, n, dtype=torch.int32) for name in names} for n in (4, 8)}
    convert(model, examples, path, "m")
    return path, model


def test_signatures_share_their_weights_and_answer_as_torch_does(float_file: tuple[Path, Any]) -> None:
    import torch

    from edgekit.ondevice.runtimes import litert

    path, model = float_file
    weights = 4 * sum(parameter.numel() for parameter in model.parameters())
    assert weights < path.stat().st_size < 1.3 * weights
    answer = litert.load(path, (4, 8), "CPU", 1)
    for ids in ([[3, 5, 7]], [[3, 5, 7, 9, 11, 13]]):
        mask = np.ones((1, len(ids[0])), np.int32)
        expected = model(torch.tensor(ids), torch.tensor(mask))["logits"][0].detach().numpy()
        assert np.abs(answer(np.array(ids, np.int32), mask) - expected).max() < 1e-4


def test_int8_weights_are_a_quarter(float_file: tuple[Path, Any], tmp_path: Path) -> None:
    from edgekit.ondevice.runtimes import litert
    from edgekit.stages.files.litert_torch import quantise

    quantise(float_file[0], tmp_path / "int8.tflite")
    assert (tmp_path / "int8.tflite").stat().st_size < 0.45 * float_file[0].stat().st_size
    ids, mask = np.array([[3, 5, 7]], np.int32), np.ones((1, 3), np.int32)
    exact, found = (
        litert.load(path, (4, 8), "CPU", 1)(ids, mask) for path in (float_file[0], tmp_path / "int8.tflite")
    )
    assert 0 < np.abs(found - exact).max() < 0.1 * np.abs(exact).max()


def test_an_exported_program_becomes_a_bundle_for_arm(tmp_path: Path) -> None:
    import torch

    from edgekit.build import build
    from edgekit.cli.options import plan_from
    from edgekit.ondevice.verify import verify
    from edgekit.store import Store

    class Silent:
        def __getattr__(self, name: str) -> Any:
            return lambda *_: None

    net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(8 * 36, 4))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(net.eval(), (torch.ones(1, 3, 8, 8),)), tmp_path / "net.pt2")
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((60, 3, 8, 8), np.float32))
    plan = plan_from("int8-ptq", "raspberrypi", teachers=(str(tmp_path / "net.pt2"),), data=str(tmp_path / "x.npy"))
    assert [step.stage for step in plan.steps] == [
        "dataset_tensors", "teacher_litert_torch", "quantize_ai_edge_file", "validate",
    ]  # fmt: skip
    bundle, _ = build(plan, Store(tmp_path / "store"), tmp_path / "dist", Silent())
    manifest = bundle.manifest
    assert manifest["metrics"]["splits"]["validation"]["retention"] > 0.99
    assert manifest["lineage"][2]["metrics"]["bytes"] < manifest["lineage"][2]["metrics"]["bytes_before"]
    assert verify(bundle.path)["ok"]
