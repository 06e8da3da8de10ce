"""The service with a real runtime: it answers as the bundle does without it, and takes up a newer release."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from fake_release import digest, make_current
from running import Load, running, until

from edgekit.ondevice.infer import Predictor

pytestmark = pytest.mark.heavy


def test_it_answers_as_without_it_and_switches(tiny_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "releases").mkdir()
    older = shutil.copytree(tiny_bundle, tmp_path / "releases" / "older")
    newer = shutil.copytree(tiny_bundle, tmp_path / "releases" / "newer")
    manifest = json.loads((newer / "manifest.json").read_text())
    (newer / "manifest.json").write_text(json.dumps({**manifest, "name": "newer"}))
    make_current(tmp_path, older)
    predictor = Predictor(older)
    text = "the display stays black"
    expected = predictor.answer(text)["probabilities"]
    with running(older, ["--follow", str(tmp_path / "current"), "--port", "0"], tmp_path / "log") as service:
        service.serves(digest(older))
        assert service.predict({"text": text})[1]["probabilities"] == pytest.approx(expected, abs=1e-6)
        load = Load(service.port, 500, 4, new_connections=False)
        make_current(tmp_path, newer)
        until(lambda: bool(load.answers) and load.answers[-1][2] == digest(newer))
        load.join()
        assert load.failures == {}
        assert service.predict({"text": text})[1]["probabilities"] == pytest.approx(expected, abs=1e-6)
        assert service.health()["name"] == "newer"
        assert service.stop() == 0
