"""A recipe's words for INT8 as NNCF's parameters, alike for its OpenVINO and its PyTorch lane."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from ...ondevice.runtimes import openvino as runtime
from ...steps import Quantize, StepOptions


class OfProcessor(StepOptions):
    """What the target knows of its processor."""

    target_device: Annotated[
        Literal["ANY", "CPU", "CPU_SPR", "GPU", "NPU"], Field(description="whose quantisation rules NNCF follows")
    ] = "ANY"
    overflow_fix: Annotated[
        Literal["enable", "disable", "first_layer"],
        Field(description="enable: half the range of the weights, for CPUs without VNNI, whose 16-bit sums overflow"),
    ] = "first_layer"


class NncfQuantize(OfProcessor, Quantize):
    """The recipe's step, and what the target knows of its processor."""

    #: Whether "layers.0.attention", the products of queries, keys and values, is a layer of `keep_float` too.
    HAS_ATTENTION: ClassVar[bool] = True

    max_tokens: int
    activations: Annotated[Literal["auto", "static"], Field(description="NNCF fixes ranges over calibration texts")] = (
        "auto"
    )


def library() -> Any:
    """NNCF, without its telemetry and without the lines that it writes about itself."""
    runtime.leave_telemetry_out()
    import nncf

    return nncf


def arguments(options: NncfQuantize, count: int, float_names: Sequence[str], **more: Any) -> dict[str, Any]:
    """The keywords of `nncf.quantize` for `count` calibration texts; operators of these names stay in float."""
    nncf = library()
    alpha = options.smooth_quant
    smoothing = nncf.AdvancedSmoothQuantParameters()
    if alpha is not None:
        smoothing = nncf.AdvancedSmoothQuantParameters(matmul=-1 if alpha == "off" else alpha)
    return {
        "subset_size": count,
        "model_type": nncf.ModelType.TRANSFORMER,
        "target_device": nncf.TargetDevice(options.target_device),
        "fast_bias_correction": options.bias_correction != "accurate",
        "ignored_scope": nncf.IgnoredScope(names=list(float_names), **more),
        "advanced_parameters": nncf.AdvancedQuantizationParameters(
            overflow_fix=nncf.OverflowFix[options.overflow_fix.upper()],
            disable_bias_correction=options.bias_correction == "off",
            smooth_quant_alphas=smoothing,
        ),
    }
