"""From torch modules to .tflite by litert-torch, and from float to INT8 by ai-edge-quantizer: two optional packages.

Both are Google's (google-ai-edge/litert-torch, google-ai-edge/ai-edge-quantizer), versions 0.10.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ...errors import StageError


def convert(module: Any, signatures: Mapping[str, Mapping[str, Any]], path: Path, named: object) -> None:
    """Write a .tflite with these signatures, which share their weights. Raises StageError, with what is `named`.

    `module` takes its inputs by their names and answers a dictionary; a signature is an example of the inputs.
    """
    import litert_torch

    converter = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what torch and jax will rename
        for name, example in signatures.items():
            converter = (converter or litert_torch).signature(name, module, sample_kwargs=dict(example))
        if converter is None:
            raise StageError(f"{named}: no signature to convert")
        try:
            converter.convert().export(str(path))
        except (RuntimeError, ValueError, TypeError, NotImplementedError, KeyError, AttributeError) as error:
            line = " ".join(str(error).split())[:300]
            raise StageError(f"{named}: litert-torch cannot convert it: {line}") from error


def quantise(source: Path, path: Path, feeds: Mapping[str, Iterable[Mapping[str, Any]]] | None = None) -> None:
    """Write an INT8 .tflite: weights, and with calibration `feeds` by signature activations too."""
    from ai_edge_quantizer import algorithm_manager, qtyping, quantizer, recipe

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        maker = quantizer.Quantizer(str(source))
        maker.load_quantization_recipe(recipe.static_wi8_ai8() if feeds else recipe.dynamic_wi8_afp32())
        for end in (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT) if feeds else ():
            maker.update_quantization_recipe(".*", end, algorithm_key=algorithm_manager.AlgorithmName.NO_QUANTIZE)
        calibrated = maker.calibrate({name: list(rows) for name, rows in feeds.items()}) if feeds else None
        maker.quantize(calibrated).export_model(str(path), overwrite=True)
