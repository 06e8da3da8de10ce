"""In what numbers a training multiplies: bfloat16 where this CPU computes in it, else float32."""

from __future__ import annotations

from pathlib import Path

#: Flags in /proc/cpuinfo of CPUs that multiply in bfloat16. Measured on a Zen 4 core with avx512_bf16, 3 layers of
#: 384, batches of 64 texts of 13 tokens: training 1.9 times as fast as in float32, inference twice; others emulate it.
BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}


def computes_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this CPU has instructions for bfloat16 products; false where the system does not say."""
    try:
        return not BFLOAT16_FLAGS.isdisjoint(cpuinfo.read_text().split())
    except OSError:
        return False


def uses_bfloat16(precision: str) -> bool:
    """Whether a training with this `precision` option runs its products in bfloat16."""
    return precision == "bfloat16" or (precision == "auto" and computes_bfloat16())
