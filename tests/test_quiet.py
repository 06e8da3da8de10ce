from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(("said", "off"), [(None, "True"), ("0", "False"), ("1", "True")])
def test_the_hubs_telemetry_is_off_unless_the_user_turns_it_on(said: str | None, off: str) -> None:
    unset = ("HF_HUB_DISABLE_TELEMETRY", "DISABLE_TELEMETRY", "DO_NOT_TRACK")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    if said is not None:
        environment["HF_HUB_DISABLE_TELEMETRY"] = said
    code = (
        "from edgekit.quiet import set_environment; set_environment();"
        "from huggingface_hub import constants; print(constants.HF_HUB_DISABLE_TELEMETRY)"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == off


@pytest.mark.heavy
def test_openvinos_telemetry_is_not_loaded_unless_the_user_says_so() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "OPENVINO_TELEMETRY"}
    code = (
        "from edgekit.ondevice.runtimes.openvino import library; library();"
        "import sys; print(sys.modules['openvino_telemetry'])"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "None"
