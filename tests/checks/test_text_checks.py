"""What is refused of texts and teachers before any work."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.checks.texts import check_texts
from edgekit.errors import PlanError
from edgekit.inputs import DataSource, Inputs


@pytest.mark.parametrize("task", ["question_answering", "token_classification"])
def test_tasks_with_files_of_their_own_take_no_hub_dataset(task: str) -> None:
    inputs = Inputs(DataSource("hub", "squad", Path("snapshot"), "digest"))
    with pytest.raises(PlanError, match=rf"^--data hf:squad: {task} reads files; possible: FILE\.\w+ "):
        check_texts(inputs, task, [])
    check_texts(inputs, "text_classification", [])
