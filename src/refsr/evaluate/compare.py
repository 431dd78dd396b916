"""Whether the reference helps: one model, measured in every reference mode.

A network can reach good numbers while ignoring its reference; some published ones do. So one model
is measured with the given, a shuffled, a blank and no reference and with the photo itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from refsr.data.pairs import EvaluationJob
from refsr.errors import DataError
from refsr.evaluate.protocol import MODE_SENTENCES, ReferenceMode
from refsr.evaluate.run import AUTO_MACHINE, Machine, evaluate
from refsr.inference.ensemble import Mode

MODES: tuple[ReferenceMode, ...] = ("given", "shuffled", "blank", "none", "self")
AS_IS_MODES: tuple[ReferenceMode, ...] = ("as-is", "as-is-shuffled", "as-is-none")


def compare_references(
    jobs: Sequence[EvaluationJob],
    *,
    model: str = "auto",
    modes: Sequence[ReferenceMode] = MODES,
    max_side: int | None = None,
    photo: str | None = None,
    jpeg: int | None = None,
    look: Mode = "true",
    ensemble: bool = False,
    lpips: bool = False,
    sheets: Path | None = None,
    machine: Machine = AUTO_MACHINE,
    progress: Callable[[float], None] | None = None,
) -> dict[str, Any]:
    """``evaluate`` in each of the ``modes``; arguments and errors as there.

    ``sheets`` gets a folder for each mode.

    Returns {"model", "modes", "left_out", "results"}: ``results`` holds what ``evaluate`` returns,
    by mode; ``left_out`` says why a mode cannot be measured on these jobs (references of a single
    scene cannot be shuffled). The result can be written as JSON.

    Raises DataError where no mode can be run.
    """
    results: dict[str, dict[str, Any]] = {}
    left_out: dict[str, str] = {}
    for index, mode in enumerate(modes):
        if not any(job.references for job in jobs) and mode in ("given", "blank", "as-is"):
            left_out[mode] = "These jobs have no references."
            continue

        def report(share: float, before: int = index) -> None:
            if progress:
                progress((before + share) / len(modes))

        try:
            results[mode] = evaluate(
                jobs,
                model=model,
                reference=mode,
                max_side=max_side,
                photo=photo,
                jpeg=jpeg,
                look=look,
                ensemble=ensemble,
                lpips=lpips,
                sheets=None if sheets is None else sheets / mode,
                machine=machine,
                progress=report,
            )
        except DataError as error:
            if mode not in ("shuffled", "as-is-shuffled"):
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
