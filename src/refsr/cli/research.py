"""Commands for who measures and trains: data, train, export, evaluate, reproduce."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import OmitArgPrefixes, OmitSubcommandPrefixes, Positional, subcommand

from refsr.cli.flags import Input, Output
from refsr.cli.words import dump, progress_bar, write_text
from refsr.errors import DataError


def evaluate(
    target: Positional[str],
    root: Path,
    model: str = "auto",
    reference: Literal["given", "none", "shuffled", "blank", "self", "upscaled", "all"] = "given",
    max_side: int | None = None,
    jpeg: int | None = None,
    look: Literal["true", "crisp"] = "true",
    ensemble: bool = False,
    lpips: bool = False,
    limit: int | None = None,
    json: Path | None = None,
    sheets: Path | None = None,
    quiet: bool = False,
) -> None:
    """Measure a model: PSNR and SSIM by kind of pair, with the protocol that belongs to them.

    Args:
        target: A CSV with the columns input, reference, kind, or set5, set14, b100, urban100,
            cufed5 (a row a level; cufed5-l1 to -l5 one level, cufed5-all five references at once),
            wr-sr, sun80 (the first reference; sun80-all every one).
        root: The folder that the CSV's paths, or the benchmark, are in.
        model: auto, a shipped model, bicubic, lanczos, detail-transfer, or an exported .onnx file.
        reference: Which reference the model gets; all puts given, shuffled, blank, none and self
            beside each other: does the reference help at all?
        max_side: Shrink photos to this long side first, in pixels.
        jpeg: Make the small photo a JPEG file of this quality, 1 to 100.
        look: As of upscale.
        ensemble: As of upscale.
        lpips: LPIPS, too: how far result and bicubic look from the truth, by a trained network;
            lower is better. 2 s a megapixel; needs pip install 'refsr[lpips]'.
        limit: Only the first so many rows.
        json: Write every number to this file.
        sheets: A folder for a picture of every row: reference, bicubic, result, truth, errors. By
            their names those that gain least come first.
        quiet: No progress.
    """
    from refsr.data.pairs import load_jobs
    from refsr.evaluate.compare import compare_references
    from refsr.evaluate.run import evaluate as measure
    from refsr.evaluate.table import render_comparison, render_evaluation
    from refsr.image.atomic import check_writable

    if json is not None:
        check_writable(json)
    jobs = load_jobs(target, root)[:limit]
    choices: dict[str, Any] = {"model": model, "look": look, "ensemble": ensemble}
    choices |= {"max_side": max_side, "jpeg": jpeg, "lpips": lpips, "sheets": sheets}
    with progress_bar(f"{model}, {reference}", quiet) as progress:
        if reference == "all":
            result = compare_references(jobs, progress=progress, **choices)
            table = render_comparison(result)
        else:
            result = measure(jobs, reference=reference, progress=progress, **choices)
            table = render_evaluation(result)
    if json is not None:
        write_text(json, dump(result, indent=1))
    print(table)


def reproduce(
    table: Positional[Literal["table1", "table2", "table3", "table4", "fig7", "time"]],
    out: Output,
    root: Path = Path(),
    model: str = "ssen",
    pairs: Path = Path("benchmarks/validation.csv"),
    limit: int | None = None,
    quiet: bool = False,
) -> None:
    """Make a table of the paper again: its numbers and ours, with their protocols.

    Writes Markdown and JSON. Data that is absent is named: what it must hold, and where.

    Args:
        table: table1 CUFED5; table2 self-similarity; table3 similarity levels; table4 ablation;
            fig7 where the samples fall; time seconds and memory by size.
        out: The folder for the results; made if missing.
        root: The folder that the data is in, as deep as three folders down.
        model: A shipped model, detail-transfer, or an exported .onnx file.
        pairs: Own pairs for table3: a CSV with the columns input, reference, kind, its photos in a
            folder pairs of the root, or in the root.
        limit: Only so many photos of each data set, or of each kind of own pairs.
        quiet: No progress.
    """
    from refsr.evaluate.paper.reproduce import reproduce as make
    from refsr.evaluate.paper.sections import Request

    with progress_bar(table, quiet) as progress:
        request = Request(root, out, model, pairs, limit, progress)
        written = make(table, request)
    print("\n".join(map(str, written)))


def data_check(folder: Input, json: bool = False, quiet: bool = False) -> None:
    """Say what a data set is, and what in it is missing, unpaired, unreadable, too small.

    Exits with 1 where anything is wrong. Known are CUFED, CUFED5, WR-SR, Sun80, Set5, Set14, B100,
    Urban100, DIV2K, own scenes (SCENE/*.jpg) and plain photos.

    Args:
        folder: The data set, or a folder of data sets.
        json: Print one JSON object on stdout instead of sentences.
        quiet: No progress.
    """
    from refsr.data.check import check, describe, render

    with progress_bar(folder.name, quiet or json) as progress:
        checked = check(folder, progress)
    if json:
        print(dump({"sets": [describe(data) for data in checked]}))
    else:
        for data in checked:
            print(render(data))
    wrong = sum(len(data.problems) for data in checked)
    if wrong:
        raise DataError(f"{wrong} problem{'s' * (wrong > 1)} in {folder}.")


def data_build(
    folder: Input, out: Output, link: bool = False, json: bool = False, quiet: bool = False
) -> None:
    """Make training pairs of your own photos: those that overlap become scenes.

    The photos below the folder are compared, likely partners registered, and every scene's photos
    written to OUT/SCENE/, with OUT/pairs.csv for `refsr evaluate`. The same command goes on where
    it was interrupted.

    Args:
        folder: Your photos, searched recursively; they are not changed.
        out: A new folder for the scenes.
        link: Make symbolic links to the photos instead of copies.
        json: Print one JSON object on stdout instead of sentences.
        quiet: No progress.
    """
    from refsr.data.build import build, describe, render

    with progress_bar(folder.name, quiet or json) as progress:
        built = build(folder, out, link=link, progress=progress)
    print(dump(describe(built)) if json else render(built))


Task = (
    Annotated[None, subcommand("check", constructor=data_check)]
    | Annotated[None, subcommand("build", constructor=data_build)]
)


def data(task: OmitSubcommandPrefixes[OmitArgPrefixes[Task]]) -> None:
    """Check data sets, or make training pairs of your own photos.

    Args:
        task: What to do.
    """


def train(config: Input, resume: Literal["auto", "never"] = "never") -> None:
    """Train a network as a TOML file says. Needs the extra `train`.

    Args:
        config: The run: its folder, network, data and schedule; see configs/.
        resume: auto continues the run in its folder where it stopped.
    """
    need_torch()
    from refsr.train.config import load_config
    from refsr.train.distributed import is_first
    from refsr.train.loop import train as run

    folder = run(load_config(config), resume == "auto")
    if is_first():
        weights = sorted(path.name for path in folder.glob("*.safetensors"))
        print(f"{folder}: {', '.join(weights)}, log.jsonl")


def export(checkpoint: Input, out: Output, note: str = "", half: bool = False) -> None:
    """Turn a checkpoint (.safetensors) into an ONNX model that refsr upscales with.

    Args:
        checkpoint: Weights written by `refsr train`, or an exported model.
        out: The .onnx file; its card (.json) is written beside it.
        note: A sentence for the card: data, hours, what it is good for.
        half: Keep the weights in 16 bits: half the file. Computation stays in 32 bits.
    """
    need_torch()
    from refsr.model.export import export_checkpoint

    error = export_checkpoint(checkpoint, out, note, half)
    print(f"{out}: equals torch within {error:.1e}")


def need_torch() -> None:
    """Raises DataError with what to install where torch is missing."""
    try:
        import safetensors  # noqa: F401  # pyright: ignore[reportUnusedImport]
        import torch  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except ImportError as error:
        raise DataError(
            f"{error.name} is missing; install it with: pip install 'refsr[train]'"
        ) from error
