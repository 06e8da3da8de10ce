"""A recipe's words for INT8 on the TFLite lane: what converter and training toolkit have, and what they lack."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, field_validator

from ...steps import Quantize


class TfliteQuantize(Quantize):
    """The recipe's step, without what NNCF alone can do."""

    per_channel: Annotated[
        bool, Field(description="a scale for each output channel; false: one for each matrix, for tflite-runtime 2.14")
    ] = True

    @field_validator("smooth_quant", "bias_correction")
    @classmethod
    def _unknown(cls, value: Any) -> Any:
        if value not in (None, "off"):
            raise ValueError("the TFLite converter has neither; possible: method = 'qat', which trains what INT8 costs")
        return value

    @field_validator("max_drop")
    @classmethod
    def _no_search(cls, value: Any) -> Any:
        if value is not None:
            raise ValueError("the TFLite converter has no accuracy control; possible: keep_float = 'auto', or 'qat'")
        return value
