"""``refsr evaluate`` and ``refsr reproduce``: metrics of a model, and the paper's tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from tyro.conf import Positional

from refsr.cli.arguments import (
    OptionalInt,
    OptionalKind,
    OptionalPath,
    Output,
    command,
    prepare_output,
)
from refsr.cli.output import print_message, progress_bar, progress_report, to_json, write_text

# fmt: off
Reference = Literal[
    "given", "none", "shuffled", "blank", "self", "upscaled", "all",
    "as-is", "as-is-shuffled", "as-is-none", "as-is-all",
]
# fmt: on


@command
def evaluate(
    target: Positional[str],
    root: Path,
    model: str = "auto",
    reference: Reference = "given",
    max_side: OptionalInt = None,
    photo: OptionalKind = None,
    jpeg: OptionalInt = None,
    look: Literal["true", "crisp"] = "true",
    ensemble: bool = False,
    lpips: bool = False,
    limit: OptionalInt = None,
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    runtime: Literal["auto", "onnx", "openvino", "torch"] = "auto",
    max_memory: str = "auto",
    json: OptionalPath = None,
    sheets: OptionalPath = None,
    quiet: bool = False,
) -> None:
    """Measure the PSNR and SSIM of a model on a benchmark or on your own pairs.

    Args:
        target: A CSV file with the columns input, reference, kind; or set5, set14, b100, urban100,
            cufed5 (one row per level; cufed5-l1 to cufed5-l5: that level; cufed5-all: all five
            references at once), wr-sr, sun80 (the first reference; sun80-all: all of them); or
            real: photos that nobody shrank, as cases.csv in the root lists them, without and with
            their reference.
        root: Folder of the benchmark, or of the paths in the CSV file.
        model: auto, a shipped model, bicubic, lanczos, detail-transfer, or an exported .onnx file.
        reference: Which reference the model gets; all compares given, shuffled, blank, none and
            self, to show whether the reference helps. as-is: the network alone gets it as it lies
            (no registration, no color match, no back-projection), as the paper evaluates;
            as-is-shuffled and as-is-none are measured alike, as-is-all compares the three.
        max_side: Downscale photos to this long side first, in pixels.
        photo: How the LR photo is made of the truth; the JSON file states it exactly. matlab (the
            default): MATLAB's bicubic; area, linear: OpenCV's INTER_AREA, INTER_LINEAR; nearest:
            every fourth pixel; sharpened: matlab, then an unsharp mask (sigma 1 LR px, amount 0.8);
            lanczos: a Gaussian of 0.7 HR px, then Pillow's Lanczos; blur:SIGMA (Gaussian, HR px),
            disk:RADIUS (HR px), motion:LENGTH,ANGLE (HR px, degrees from right towards down): blur,
            then matlab; noise:SIGMA (levels), jpeg:QUALITY (1 to 100, 4:2:0): after matlab; phone:
            Gaussian 1.2, matlab, noise 3, unsharp mask 0.6, JPEG 88; messenger: area, unsharp mask
            0.7, JPEG 70; old: Gaussian 2, matlab, noise 6, JPEG 60.
        jpeg: The same as --photo jpeg:QUALITY.
        look: As in `refsr upscale`.
        ensemble: As in `refsr upscale`.
        lpips: Also measure LPIPS, the perceptual distance of the result and of bicubic from the
            ground truth; lower is better. Takes 2 s per megapixel and needs pip install
            'refsr[lpips]'.
        limit: Use only the first N rows.
        device: As in `refsr upscale`.
        runtime: As in `refsr upscale`.
        max_memory: As in `refsr upscale`.
        json: Write all numbers to this JSON file.
        sheets: Folder for a contact sheet of every row: reference, bicubic, result, ground truth,
            errors. Sorted by name, those with the smallest gain come first.
        quiet: Print no progress.
    """
    from refsr.data.pairs import describe_jobs, load_jobs
    from refsr.evaluate.compare import AS_IS_MODES, MODES, compare_references
    from refsr.evaluate.run import Machine
    from refsr.evaluate.run import evaluate as measure
    from refsr.evaluate.table import render_comparison, render_evaluation

    if json is not None:
        prepare_output(json)
    if target.lower() == "real":
        from refsr.evaluate.real import measure_real, refuse_options, render_real

        refuse_options(
            reference=reference not in ("given", "all"),
            **{"max-side": max_side is not None, "photo": photo is not None},
            **{"jpeg": jpeg is not None, "lpips": lpips, "sheets": sheets is not None},
            **{"device": device != "auto", "runtime": runtime != "auto"},
            **{"max-memory": max_memory != "auto"},
        )
        with progress_bar(f"{model}, real photos", quiet) as progress:
            result = measure_real(
                root, model=model, look=look, ensemble=ensemble, limit=limit, progress=progress
            )
        if json is not None:
            write_text(json, to_json(result, indent=1))
        print(render_real(result))
        return
    jobs = load_jobs(target, root)
    found, jobs = describe_jobs(target, jobs), jobs[:limit]
    print_message(found, quiet)
    choices: dict[str, Any] = {"model": model, "look": look, "ensemble": ensemble}
    choices |= {"max_side": max_side, "photo": photo, "jpeg": jpeg, "lpips": lpips}
    choices |= {"sheets": sheets, "machine": Machine(device, runtime, max_memory)}
    with progress_bar(f"{model}, {reference}", quiet) as progress:
        if reference in ("all", "as-is-all"):
            modes = MODES if reference == "all" else AS_IS_MODES
            result = compare_references(jobs, modes=modes, progress=progress, **choices)
            table = render_comparison(result)
        else:
            result = measure(jobs, reference=reference, progress=progress, **choices)
            table = render_evaluation(result)
    result["data"] = found
    if json is not None:
        write_text(json, to_json(result, indent=1))
    print(table)


@command
def reproduce(
    table: Positional[Literal["table1", "table2", "table3", "table4", "fig6", "fig7", "time"]],
    out: Output,
    root: Path = Path(),
    model: str = "ssen",
    pairs: Path = Path("benchmarks/validation.csv"),
    baseline: str = "",
    limit: OptionalInt = None,
    quiet: bool = False,
) -> None:
    """Reproduce a table of the paper: its numbers and ours, with the protocols.

    Args:
        table: table1: CUFED5; table2: self-similarity; table3: similarity levels; table4: ablation;
            fig6: repeated structure; fig7: sampling positions; time: run time and memory by size.
        out: Folder for the results (Markdown and JSON); created if missing.
        root: Folder to search for the data, up to three levels deep. Missing data is listed, with
            its expected contents and location.
        model: A shipped model, detail-transfer, or an exported .onnx file.
        pairs: Your own pairs for table3: a CSV file with the columns input, reference, kind, and
            its photos in the folder pairs of the root, or in the root.
        baseline: For table2 and fig6, the same network without a reference path (RCAN alone): an
            exported .onnx file of configs/paper_rcan.toml.
        limit: Use only the first N photos of each data set, or of each kind of pair.
        quiet: Print no progress.
    """
    from refsr.evaluate.paper.reproduce import reproduce as make
    from refsr.evaluate.paper.sections import Request

    with progress_report(table, quiet) as progress:
        request = Request(root, out, model, pairs, baseline, limit=limit, progress=progress)
        written = make(table, request)
    print("\n".join(map(str, written)))
