"""Evaluations as plain text for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from refsr.evaluate.compare import comparison_rows
from refsr.evaluate.run import OPTIONAL_METRICS


def align_columns(head: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    """A plain-text table, one string a line: the first column left-aligned, the others right."""
    widths = [max(len(line[i]) for line in (head, *lines)) for i in range(len(head))]
    return [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in (head, *lines)
    ]


def render_evaluation(result: dict[str, Any]) -> str:
    """The means of an evaluation as an aligned plain-text table, followed by its protocol."""
    protocol = result["protocol"]
    with_lpips = "lpips" in protocol
    head = (
        *("kind", "pairs", "bicubic", "PSNR", "gain dB", "SSIM", "gain", "HaarPSI", "gain"),
        *(("LPIPS", "bicubic's") if with_lpips else ()),
        *("detail", "s/pair"),
    )
    lines = [
        (
            kind,
            f"{mean['pairs']}",
            f"{mean['bicubic_psnr']:.2f}",
            f"{mean['psnr']:.2f}",
            f"{mean['gain_psnr']:+.2f}",
            f"{mean['ssim']:.4f}",
            f"{mean['gain_ssim']:+.4f}",
            f"{mean['haarpsi']:.4f}",
            f"{mean['haarpsi'] - mean['bicubic_haarpsi']:+.4f}",
            *([f"{mean[name]:.4f}" for name in OPTIONAL_METRICS] if with_lpips else ()),
            f"{mean['detail']:.2f}",
            f"{mean['seconds']:.2f}",
        )
        for kind, mean in result["mean"].items()
    ]
    table = align_columns(head, lines)
    side = protocol["max_side"] or "any"
    return "\n".join(
        [
            f"model {result['model']}, reference {result['reference']}: {protocol['references']}",
            *table,
            f"x{protocol['scale']}, {protocol['channel']}; border {protocol['border']} px; "
            f"long side {side}",
            f"LR: {protocol['lr']}",
            "HaarPSI: perceptual similarity; detail: fine detail as a share of the truth's",
            *([f"LPIPS: {protocol['lpips']}"] if with_lpips else ()),
        ]
    )


def metric_table(comparison: dict[str, Any], metric: str, digits: int) -> list[str]:
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
    return align_columns(["kind", "pairs", "bicubic", *modes], lines)


def render_comparison(comparison: dict[str, Any]) -> str:
    """The comparison as plain text with its protocol: PSNR, and LPIPS where it was measured."""
    protocol = next(iter(comparison["results"].values()))["protocol"]
    lpips: list[str] = []
    if "lpips" in protocol:
        lpips = ["", f"LPIPS: {protocol['lpips']}", *metric_table(comparison, "lpips", 4), ""]
    return "\n".join(
        [
            f"model {comparison['model']}, PSNR in dB by reference mode",
            *metric_table(comparison, "psnr", 2),
            *lpips,
            *(f"{mode}: {sentence}" for mode, sentence in comparison["modes"].items()),
            *(f"{mode} is left out: {why}" for mode, why in comparison["left_out"].items()),
            f"x{protocol['scale']}, {protocol['channel']}; border {protocol['border']} px; "
            f"long side {protocol['max_side'] or 'any'}",
            f"LR: {protocol['lr']}",
        ]
    )
