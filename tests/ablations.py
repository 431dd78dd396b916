"""Runs of the ablation with invented numbers."""

from __future__ import annotations

from typing import Any


def ablation_run(setting: str, variant: str, seed: int, gain: float) -> dict[str, Any]:
    """The line of a run whose reference gains ``gain`` dB, less at larger displacements."""
    none = 27.0 + 0.01 * seed
    displaced = {f"{d}": none + gain / (1 + d) for d in (0, 1, 4)}
    return {
        "setting": setting,
        "variant": variant,
        "seed": seed,
        "parameters": 296_365,
        "psnr": {
            "displaced": displaced | {"blank": none, "mismatched": none - 0.1},
            "pairs": {"given": none + gain, "blank": none, "mismatched": none - 0.2},
            "cufed": {"given": none + gain / 4, "blank": none},
            "cufed5": {f"L{i}": none + gain / i for i in range(1, 6)} | {"blank": none},
        },
        "bicubic": {"displaced": 26.0, "pairs": 26.5, "cufed": 22.0, "cufed5": 22.3},
    }
