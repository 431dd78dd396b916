"""Does the reference help at all? One model with every kind of reference, beside each other.

A network can reach its numbers without looking at the reference; rivals' users found some that do.
So one model is measured with the given, a shuffled, a blank and no reference and with the photo
itself, and the five stand in one table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from refsr.errors import DataError
from refsr.evaluate.pairs import EvaluationJob
from refsr.evaluate.run import MODE_SENTENCES, ReferenceMode, aligned, evaluate
from refsr.inference.ensemble import Mode

MODES: tuple[ReferenceMode, ...] = ("given", "shuffled", "blank", "none", "self")


def compare_references(
    jobs: Sequence[EvaluationJob],
    *,
    model: str = "auto",
    modes: Sequence[ReferenceMode] = MODES,
    max_side: int | None = None,
    jpeg: int | None = None,
    look: Mode = "true",
    ensemble: bool = False,
    lpips: bool = False,
    sheets: Path | None = None,
    progress: Callable[[float], None] | None = None,
) -> dict[str, Any]:
    """``evaluate`` in each of the ``modes``; arguments and errors as there.

    ``sheets`` gets a folder for each mode.

    Returns {"model", "modes", "left_out", "results"}: ``results`` holds what ``evaluate`` returns,
    by mode; ``left_out`` says of each mode that these jobs do not allow why (references of a single
    scene cannot be shuffled). Ready for JSON.

    Raises DataError where no mode can be run.
    """
    results: dict[str, dict[str, Any]] = {}
    left_out: dict[str, str] = {}
    for index, mode in enumerate(modes):
        if not any(job.references for job in jobs) and mode in ("given", "blank"):
            left_out[mode] = "These jobs have no references."
            continue

        def report(done: float, before: int = index) -> None:
            if progress:
                progress((before + done) / len(modes))

        try:
            results[mode] = evaluate(
                jobs,
                model=model,
                reference=mode,
                max_side=max_side,
                jpeg=jpeg,
                look=look,
                ensemble=ensemble,
                lpips=lpips,
                sheets=None if sheets is None else sheets / mode,
                progress=report,
            )
        except DataError as error:
            if mode != "shuffled":
                raise
            left_out[mode] = str(error)
    if not results:
        raise DataError("None of these kinds of reference can be measured on these jobs.")
    if progress:
        progress(1.0)
    return {
        "model": model,
        "modes": {mode: MODE_SENTENCES[mode] for mode in results},
        "left_out": left_out,
        "results": results,
    }


def comparison_rows(comparison: dict[str, Any], metric: str = "psnr") -> list[dict[str, Any]]:
    """A row for each kind of pair: kind, pairs, bicubic, and the mean by mode (PSNR: in dB)."""
    results: dict[str, dict[str, Any]] = comparison["results"]
    means = {mode: result["mean"] for mode, result in results.items()}
    first = next(iter(means.values()))
    return [
        {
            "kind": kind,
            "pairs": mean["pairs"],
            "bicubic": mean[f"bicubic_{metric}"],
            **{mode: by_kind[kind][metric] for mode, by_kind in means.items()},
        }
        for kind, mean in first.items()
    ]


def table(comparison: dict[str, Any], metric: str, digits: int) -> list[str]:
    """The means of one metric by kind and mode as an aligned plain-text table."""
    modes = list(comparison["results"])
    lines = [
        [
            row["kind"],
            f"{row['pairs']}",
            *(f"{row[name]:.{digits}f}" for name in ("bicubic", *modes)),
        ]
        for row in comparison_rows(comparison, metric)
    ]
    return aligned(["kind", "pairs", "bicubic", *modes], lines)


def render_comparison(comparison: dict[str, Any]) -> str:
    """The comparison as plain text with its protocol: PSNR, and LPIPS where it was measured."""
    protocol = next(iter(comparison["results"].values()))["protocol"]
    learned: list[str] = []
    if "lpips" in protocol:
        learned = ["", f"LPIPS: {protocol['lpips']}", *table(comparison, "lpips", 4), ""]
    return "\n".join(
        [
            f"model {comparison['model']}, PSNR in dB by what it gets as reference",
            *table(comparison, "psnr", 2),
            *learned,
            *(f"{mode}: {sentence}" for mode, sentence in comparison["modes"].items()),
            *(f"{mode} is left out: {why}" for mode, why in comparison["left_out"].items()),
            f"x{protocol['scale']}, {protocol['channel']}; border {protocol['border']} px; "
            f"long side {protocol['max_side'] or 'any'}",
            f"LR: {protocol['lr']}",
        ]
    )
