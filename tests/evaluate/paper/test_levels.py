"""Table 3: limits per kind, and the verdict on the levels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from refsr.data.pairs import EvaluationJob
from refsr.evaluate.paper.levels import level_check, limit_per_kind


def test_a_limit_holds_for_each_kind() -> None:
    jobs = [EvaluationJob(Path(f"{i}"), (), kind) for i, kind in enumerate("aabba")]
    assert [job.input.name for job in limit_per_kind(jobs, 1)] == ["0", "2"]
    assert limit_per_kind(jobs, None) == jobs


def comparison(given: list[float], none: float) -> dict[str, Any]:
    """What ``compare_references`` gives on CUFED5, made up: bicubic is 20 dB."""

    def mean(values: list[float]) -> dict[str, Any]:
        return {
            f"L{i}": {"pairs": 1, "bicubic_psnr": 20.0, "psnr": value}
            for i, value in enumerate(values, 1)
        }

    results = {"given": {"mean": mean(given)}, "none": {"mean": mean([none] * 5)}}
    return {"results": results}


def test_the_check_of_the_levels() -> None:
    falls, least = level_check(comparison([25, 24, 23, 22, 21], 21.04))
    assert falls.endswith("Yes.")
    assert "Never (least: -0.04 dB)" in least
    falls, least = level_check(comparison([25, 24, 23, 20.5, 21], 21.0))
    assert "No: L5 gains 0.50 dB more than L4." in falls
    assert "Yes (least: -0.50 dB)" in least
