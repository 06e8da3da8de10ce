"""Fixtures of the tests that train."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tiny_models import SHAPE, random_encoder, write_inputs, write_twin

from edgekit.artifact import Artifact


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """torch on one thread: faster for models this small."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    """The inputs of a step after a twin: random texts, and a teacher's answers."""
    return write_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="module")
def source(earlier: dict[str, Artifact], tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The twin of a random encoder, with that teacher's tokenizer."""
    folder = tmp_path_factory.mktemp("source") / "keras"
    return write_twin(folder, random_encoder(SHAPE), earlier["teacher"].path / "tokenizer.json")
