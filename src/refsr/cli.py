"""The command line: parse, call, print. The work is the library's."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import warnings
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from tyro.conf import (
    OmitArgPrefixes,
    OmitSubcommandPrefixes,
    Positional,
    UseAppendAction,
    arg,
    subcommand,
)

from refsr import __version__
from refsr.batch_options import Options
from refsr.errors import DataError, RefsrError

if TYPE_CHECKING:
    from refsr.budget import Estimate
    from refsr.runtime import Device, Runtime
    from refsr.upscaler import Upscaler

Input = Positional[Path]
References = Annotated[UseAppendAction[tuple[Path, ...]], arg(name="ref", metavar="PHOTO|FOLDER")]
Output = Annotated[Path, arg(aliases=["-o"])]
OUT_OF_MEMORY = "Out of memory; a lower --max-memory works in smaller tiles."
READERS = (["upscale"], ["batch"], ["check"], ["explain"])  # their photos come from anywhere
LONG = 20.0  # seconds; what takes longer is announced


def parse_place(text: str) -> tuple[int, int]:
    """The pixel of "X,Y". Raises DataError."""
    match = re.fullmatch(r"\s*(\d+)\s*,\s*(\d+)\s*", text)
    if not match:
        raise DataError(f"{text!r} is no place in a photo; write for example --at 512,300.")
    return int(match.group(1)), int(match.group(2))


@contextlib.contextmanager
def progress_bar(name: str, quiet: bool) -> Generator[Callable[[float], None]]:
    """A bar on stderr with the time left; silent where stderr is no terminal."""
    from tqdm import tqdm

    style = "{desc} {percentage:3.0f}%|{bar}| {elapsed} elapsed, {remaining} left"
    disable = True if quiet else None
    least = 0  # updates are shares, not counts: none is too small to show
    with tqdm(
        total=1.0, desc=name, disable=disable, bar_format=style, miniters=least, leave=False
    ) as bar:

        def move(done: float) -> None:
            bar.update(done - bar.n)

        yield move


def announcer(out: Path, quiet: bool) -> Callable[[Estimate], None]:
    """Says what a long job, or one that needs more memory than it is allowed, will take."""

    def announce(estimate: Estimate) -> None:
        from tqdm import tqdm

        from refsr.encode import memory_to_write
        from refsr.memory import in_words

        pixels = estimate.width * estimate.height
        memory = max(estimate.memory, estimate.result + memory_to_write(out, pixels))
        over = memory > estimate.allowed
        if quiet or not (over or estimate.seconds > LONG):
            return
        text = f"this takes about {duration(estimate.seconds)} and {in_words(memory)} of memory"
        if over:
            text += f", more than the {in_words(estimate.allowed)} allowed: it cannot do with less"
        tqdm.write(f"{text}.", file=sys.stderr)  # above the bar

    return announce


def duration(seconds: float) -> str:
    """A time for a reader: "40 seconds", "3 minutes"."""
    if seconds < 90:
        return f"{max(1, round(seconds, -1 if seconds >= 10 else 0)):.0f} seconds"
    return f"{round(seconds / 60)} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def say(text: str, quiet: bool = False) -> None:
    """A line for the reader, on stderr: stdout belongs to the answer."""
    if not quiet:
        print(text, file=sys.stderr)


def upscale(
    photo: Input,
    out: Output,
    ref: References = (),
    model: str = "auto",
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    runtime: Literal["auto", "onnx", "openvino", "torch"] = "auto",
    scale: Literal[2, 3, 4] = 4,
    max_memory: str = "auto",
    max_pixels: int = 200_000_000,
    threads: int = 0,
    strength: float = 1.0,
    look: Literal["true", "crisp"] = "true",
    ensemble: bool = False,
    report: Path | None = None,
    map: Path | None = None,
    strip_metadata: bool = False,
    json: bool = False,
    quiet: bool = False,
) -> None:
    """Make a photo two to four times larger, with the detail of other photos of the same thing.

    Args:
        photo: The small photo.
        out: The result; its ending chooses the format (png, jpg, webp, tif, avif).
        ref: A sharp photo of the same thing, or a folder of them; may be repeated. Without one the
            photo serves itself.
        model: auto chooses the model for clean or for damaged photos; or a shipped model (see
            `refsr info`), detail-transfer, or an exported .onnx file.
        device: Where the network runs.
        runtime: What runs it; auto is what `refsr info` says.
        scale: How many times larger the result is; 2 and 3 are the result of 4, shrunk.
        max_memory: What the program may use, such as 2GB; large photos are worked on in tiles.
            auto is half of the free memory, at most 1.5GB.
        max_pixels: Photos larger than this are refused before they are decoded.
        threads: Processor cores to use; 0 for all.
        strength: How much of the references' detail is taken, from 0 (none) to 1 (all).
        look: crisp is sharper where a reference supports it, and takes twice as long; elsewhere it
            is the true result.
        ensemble: Look at every part in eight ways, turned and mirrored: a little better, eight
            times slower.
        report: Write the numbers (JSON): coverage and error of each reference, borrowed detail,
            time.
        map: Write a picture of where each detail came from: green borrowed, orange guessed, grey
            the photo's own.
        strip_metadata: Leave EXIF (place, camera, date) out of the result; the colour profile
            stays.
        json: Print the report as one JSON object on stdout.
        quiet: No progress, no closing line.
    """
    from refsr.atomic import check_writable
    from refsr.photo import Photo, check_output_path, save_photo

    for path in (out, map):
        if path is not None:
            check_output_path(path)
    if report is not None:
        check_writable(report)
    check_distinct([photo, *ref], [path for path in (out, map, report) if path is not None])
    upscaler = load_upscaler(
        model, device, runtime, threads, max_memory, max_pixels, look, ensemble
    )
    upscaler.set_reference(list(ref))
    with progress_bar(photo.name, quiet or json) as progress:
        result = upscaler.upscale(
            photo,
            scale=scale,
            strength=strength,
            progress=progress,
            announce=announcer(out, quiet),
        )
    del upscaler  # writing a large result takes memory of its own
    result.save(out, strip_metadata=strip_metadata)
    record = {"input": str(photo), "output": str(out), **result.report}
    if map is not None:
        save_photo(Photo(result.map()), map)
    if report is not None:
        write_text(report, dump(record, indent=1))
    if json:
        print(dump(record))
    for note in result.report["notes"]:
        say(f"note: {note}", quiet)
    if result.report["album"]:
        say(album_line(result.report["album"]), quiet)
    for reference in result.report["references"]:
        say(f"{reference['reference']}: {reference['verdict']}", quiet)
    width, height = result.report["output_size"]
    say(f"{out}: {width} x {height}, {sum(result.report['seconds'].values()):.1f} s", quiet)


def batch(
    source: Input,
    out: Output,
    refs: Path | None = None,
    resume: bool = False,
    format: Literal["png", "jpg", "webp", "tif", "avif"] = "png",
    engine: Literal["local", "ray"] = "local",
    address: str = "auto",
    workers: int = 0,
    max_memory: str = "auto",
    per_photo: OmitArgPrefixes[Options] = Options(),  # noqa: B008  # frozen
    json: bool = False,
    quiet: bool = False,
) -> None:
    """Upscale a folder of photos, or the jobs of a CSV file; --resume goes on after a crash.

    Exits with 1 where a job failed; the others are done all the same.

    Args:
        source: A folder, searched recursively, or a CSV with the columns input, reference (several
            parted by ;) and output, of which the last two may be left out.
        out: The folder for the results; it mirrors the tree, and the names keep their stem.
        refs: A folder of sharp photos. Each photo gets those of its own name; where there is none,
            it is looked for among all of them.
        resume: Leave what is finished, and has not changed since, as it is.
        format: What the results are written as.
        engine: local is this machine; ray is a cluster (needs the extra `bulk`).
        address: Where the cluster is, such as 10.0.0.1:6379; auto finds the one of this machine.
        workers: Photos worked on at once; 0 for as many as cores and memory allow.
        max_memory: What all workers may use together, such as 8GB; with ray, each one. auto is half
            of the free memory, at most 1.5GB.
        per_photo: What holds for every photo.
        json: Print one JSON object a job on stdout.
        quiet: No progress, no failures, no summary.
    """
    import threading

    from refsr.batch import Share, local, run_batch
    from refsr.jobs import plan

    jobs = plan(source, out, refs, format)
    if engine == "ray":
        from refsr.cluster import on_ray
        from refsr.memory import parse_memory

        chosen = on_ray(address, parse_memory(max_memory), workers)
    else:
        chosen = local(Share.of(max_memory, workers), threading.Event())
    told = 0
    with progress_bar(source.name, quiet or json) as progress:

        def tell(record: dict[str, Any]) -> None:
            nonlocal told
            from tqdm import tqdm

            told += 1
            progress(told / len(jobs))
            if json:
                print(dump(record), flush=True)
            if record["status"] == "failed" and not quiet:
                tqdm.write(f"failed: {record['error']}", file=sys.stderr)

        try:
            counts = run_batch(
                jobs, per_photo, chosen, out=out, refs=refs, resume=resume, tell=tell
            )
        except KeyboardInterrupt:
            say(f"{told} of {len(jobs)} jobs are finished; go on with --resume", quiet)
            raise
    text = f"{counts['done']} done, {counts['skipped']} finished before, {counts['failed']} failed"
    say(f"{out}: {text}", quiet)
    if counts["failed"]:
        raise DataError(f"{counts['failed']} of {len(jobs)} jobs failed.")


def check(photo: Input, ref: References, json: bool = False, max_pixels: int = 200_000_000) -> None:
    """Say whether references match a photo, how much of it, and whether they are worth it.

    Args:
        photo: The small photo.
        ref: A sharp photo of the same thing, or a folder of them; may be repeated.
        json: Print one JSON object on stdout instead of sentences.
        max_pixels: Photos larger than this are refused before they are decoded.
    """
    from refsr.photo import load_photo
    from refsr.report import describe, expected_together
    from refsr.upscaler import Upscaler, notes_of
    from refsr.weights import DETAIL_TRANSFER

    if not ref:
        say("refsr check: Give at least one reference with --ref.")
        sys.exit(2)
    upscaler = Upscaler.load(DETAIL_TRANSFER, max_pixels=max_pixels)  # no network is needed
    upscaler.set_reference(list(ref))
    opened = load_photo(photo, max_pixels=max_pixels)
    references, album = upscaler.choose(opened)
    composite = upscaler.register(opened, references)
    assert composite is not None
    rows = [describe(one.name, composite, i) for i, one in enumerate(references)]
    gain = round(expected_together(composite), 2)
    notes = notes_of(opened, references)
    if json:
        answer = {"input": str(photo), "references": rows, "album": album, "notes": notes}
        print(dump(answer | {"expected_gain_db": gain}))
    else:
        for note in notes:
            say(f"note: {note}")
        if album:
            print(album_line(album))
        for row in rows:
            print(f"{row['reference']}: {row['verdict']}")
        if sum(composite.useful) > 1:
            print(f"Together: expect about {gain:.1f} dB.")


def evaluate(
    target: Positional[str],
    root: Path,
    model: str = "auto",
    reference: Literal["given", "none", "shuffled", "blank", "self", "upscaled", "all"] = "given",
    max_side: int | None = None,
    jpeg: int | None = None,
    look: Literal["true", "crisp"] = "true",
    ensemble: bool = False,
    limit: int | None = None,
    json: Path | None = None,
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
        limit: Only the first so many rows.
        json: Write every number to this file.
        quiet: No progress.
    """
    from refsr.atomic import check_writable
    from refsr.evaluate.compare import compare_references, render_comparison
    from refsr.evaluate.pairs import load_jobs
    from refsr.evaluate.run import evaluate as measure
    from refsr.evaluate.run import render_table

    if json is not None:
        check_writable(json)
    jobs = load_jobs(target, root)[:limit]
    choices: dict[str, Any] = {"model": model, "look": look, "ensemble": ensemble}
    choices |= {"max_side": max_side, "jpeg": jpeg}
    with progress_bar(f"{model}, {reference}", quiet) as progress:
        if reference == "all":
            result = compare_references(jobs, progress=progress, **choices)
            table = render_comparison(result)
        else:
            result = measure(jobs, reference=reference, progress=progress, **choices)
            table = render_table(result)
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
        root: The folder that the data is in, as deep as two folders down.
        model: A shipped model, detail-transfer, or an exported .onnx file.
        pairs: Own pairs for table3: a CSV with the columns input, reference, kind, its photos in a
            folder pairs of the root, or in the root.
        limit: Only so many photos of each data set, or of each kind of own pairs.
        quiet: No progress.
    """
    from refsr.evaluate.reproduce import reproduce as make
    from refsr.evaluate.sections import Request

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


def export(checkpoint: Input, out: Output, note: str = "") -> None:
    """Turn a checkpoint (.safetensors) into an ONNX model that refsr upscales with.

    Args:
        checkpoint: Weights written by `refsr train`.
        out: The .onnx file; its card (.json) is written beside it.
        note: A sentence for the card: data, hours, what it is good for.
    """
    need_torch()
    from refsr.model.export import export_checkpoint

    error = export_checkpoint(checkpoint, out, note)
    print(f"{out}: equals torch within {error:.1e}")


def explain(
    photo: Input,
    out: Output,
    at: str,
    ref: Path | None = None,
    heat: Path | None = None,
    model: str = "ssen",
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    max_pixels: int = 200_000_000,
    quiet: bool = False,
) -> None:
    """Draw which places of the reference one pixel of the result was sampled from.

    Args:
        photo: The small photo.
        out: The figure: input, reference with the samples, samples enlarged, result.
        at: X,Y of the pixel in the result, which is 4 times larger than the photo.
        ref: A sharp photo of the same thing; without one the photo is its own reference.
        heat: Write a map of how far the network opened its samples, over the whole photo.
        model: A shipped model or an exported .onnx file.
        device: Where the network runs.
        max_pixels: Photos larger than this are refused before they are decoded.
        quiet: No progress, no closing line.
    """
    from refsr.explain import Layers, modulation_map, registered
    from refsr.explain import explain as look_into
    from refsr.figure import draw_figure, draw_heat
    from refsr.photo import Photo, check_output_path, load_photo, save_photo

    place = parse_place(at)
    outputs = [out] if heat is None else [out, heat]
    for path in outputs:
        check_output_path(path)
    check_distinct([photo] if ref is None else [photo, ref], outputs)
    layers = Layers(model, device)
    opened = load_photo(photo, max_pixels=max_pixels)
    reference = None if ref is None else load_photo(ref, max_pixels=max_pixels)
    composite = registered(opened, reference)
    found = look_into(opened, composite, layers, place)
    save_photo(Photo.of(draw_figure(found)), out)
    if heat is not None:
        with progress_bar(photo.name, quiet) as progress:
            shares, validity = modulation_map(opened, composite, layers, progress)
        masked = None if found.source is None else validity
        save_photo(Photo.of(draw_heat(opened.as_uint8(), shares, masked)), heat)
    if ref is not None and found.source is None:
        say(f"{ref.name} is not used for this photo; the figure shows the photo as its own", quiet)
    x, y = found.xy_identity
    whose = "the photo" if found.source is None else "the reference"
    say(f"{out}: {len(found.strength)} samples around pixel {x:.1f},{y:.1f} of {whose}", quiet)


def info(json: bool = False) -> None:
    """Show versions, runtimes and models.

    Args:
        json: Print one JSON object.
    """
    import platform

    import cv2
    import numpy
    import onnxruntime

    from refsr.runtime import describe_runtimes
    from refsr.weights import find_model, shipped

    facts: dict[str, Any] = {
        "refsr": __version__,
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "opencv": cv2.__version__,
        "onnxruntime": onnxruntime.__version__,
        "providers": onnxruntime.get_available_providers(),
        **describe_runtimes(),
        "models": {name: find_model(name).card for name in shipped()},
    }
    if json:
        print(dump(facts))
        return
    for key, value in facts.items():
        if key != "models":
            print(f"{key:12} {', '.join(value) if isinstance(value, list) else value}")
    for name, card in facts["models"].items():
        size = f"{card['parameters'] / 1e6:.2f} M parameters"
        print(f"model {name:12} x{card['scale']}, {size}. {card['note']}")
    print("model detail-transfer, no network: bicubic and the reference's fine detail")


def demo(out: Annotated[Path, arg(aliases=["-o"])] = Path("demo_out")) -> None:
    """Run the whole road once on a photo that comes with a dependency.

    Args:
        out: Folder for the pictures and numbers; made if missing.
    """
    from refsr.demo import run_demo

    print(run_demo(out))


def web(
    host: str = "127.0.0.1",
    port: int = 8160,
    max_memory: str = "auto",
    max_upload: str = "100MB",
    threads: int = 0,
) -> None:
    """Serve a page in the browser for all this, and an HTTP API; Ctrl-C stops it.

    Needs the extra `web`. Photos go nowhere else, and are removed after half an hour.

    Args:
        host: The address to serve at; 127.0.0.1 is reached from this computer only, 0.0.0.0 by
            everybody in its network.
        port: The port; 0 takes any free one.
        max_memory: What the work on photos may use in all, such as 2GB; auto is half of the free
            memory, at most 1.5GB.
        max_upload: The most that is taken at once, photo and references together.
        threads: Processor cores to use; 0 for all.
    """
    from refsr.memory import parse_memory
    from refsr.web.limits import Limits
    from refsr.web.serve import serve

    def opened(address: str) -> None:
        print(f"Open {address} in your browser; Ctrl-C stops the server.", flush=True)

    serve(host, port, max_memory, threads, Limits(upload=parse_memory(max_upload)), opened)


def album_line(album: dict[str, Any]) -> str:
    """How many references were looked at and registered, and those that could not be read."""
    line = f"{album['looked_at']} references looked at, {len(album['registered'])} registered."
    unread = [one["why"] for one in album["not_registered"] if one["why"].endswith(".")]
    return " ".join([line, *unread])


def check_distinct(inputs: list[Path], outputs: list[Path]) -> None:
    """Refuse to write over a photo that is read, or to write two things to one file.

    Of a folder every file counts. Raises DataError.
    """
    from refsr.atomic import is_folder

    read = [file for path in inputs for file in (path.iterdir() if is_folder(path) else [path])]
    taken = {path.resolve(): "is a photo that is read" for path in read}
    for path in outputs:
        if path.resolve() in taken:
            raise DataError(f"{path} {taken[path.resolve()]}; give the result another name.")
        taken[path.resolve()] = "would be written twice"


def need_torch() -> None:
    """Raises DataError with what to install where torch is missing."""
    try:
        import safetensors  # noqa: F401  # pyright: ignore[reportUnusedImport]
        import torch  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except ImportError as error:
        raise DataError(
            f"{error.name} is missing; install it with: pip install 'refsr[train]'"
        ) from error


def load_upscaler(
    model: str,
    device: Device,
    runtime: Runtime,
    threads: int,
    max_memory: str,
    max_pixels: int,
    look: Literal["true", "crisp"] = "true",
    ensemble: bool = False,
) -> Upscaler:
    """An Upscaler as the flags say. Raises ModelError, or DataError for a bad ``max_memory``."""
    import cv2

    from refsr.upscaler import Upscaler

    if threads > 0:
        cv2.setNumThreads(threads)
    return Upscaler.load(
        model,
        device=device,
        runtime=runtime,
        threads=threads,
        max_memory=max_memory,
        max_pixels=max_pixels,
        look=look,
        ensemble=ensemble,
    )


def dump(value: Any, indent: int | None = None) -> str:
    """JSON in plain ASCII: every terminal, pipe and file name survives it."""
    return json.dumps(value, indent=indent)


def write_text(path: Path, text: str) -> None:
    """Write a whole text file or none of it. Raises DataError."""
    from refsr.photo import atomic_write

    atomic_write(path, (text + "\n").encode())


COMMANDS = {
    "upscale": upscale,
    "batch": batch,
    "check": check,
    "evaluate": evaluate,
    "reproduce": reproduce,
    "data": data,
    "train": train,
    "export": export,
    "explain": explain,
    "info": info,
    "demo": demo,
    "web": web,
}


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code (0 done, 1 failed, 2 usage, 130 interrupted)."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments == ["--version"]:
        print(f"refsr {__version__}")
        return 0
    try:
        with quiet_libraries(), only_our_words(arguments[:1]):
            tyro.extras.subcommand_cli_from_dict(
                COMMANDS,
                prog="refsr",
                description="Makes a small photo four times larger with another photo's detail.",
                args=arguments,
                config=(tyro.conf.FlagCreatePairsOff,),
            )
        if sys.stdout is not None:  # closed: >&-
            sys.stdout.flush()
    except RefsrError as error:
        return failed(str(error))
    except KeyboardInterrupt:
        print("refsr: interrupted", file=sys.stderr)
        return 130
    except OSError as error:  # the library's own are sentences already: this is most likely stdout
        from refsr.atomic import reason

        if error.filename is not None:
            return failed(f"{os.fsdecode(error.filename)} cannot be used: {reason(error)}.")
        if sys.stdout is not None:  # what is left in the buffer has nowhere to go
            with contextlib.suppress(Exception):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return 1
        return failed(f"The answer cannot be written: {reason(error)}.")
    except Exception as error:
        from refsr.memory import is_out_of_memory

        if is_out_of_memory(error):
            return failed(OUT_OF_MEMORY)
        raise
    return 0


def failed(sentence: str) -> int:
    """Say in one line what is wrong; returns the exit code."""
    print("refsr:", " ".join(sentence.split()), file=sys.stderr)
    return 1


@contextlib.contextmanager
def quiet_libraries() -> Generator[None]:
    """What OpenCV, Pillow and NumPy think of a photo is no concern of the user's."""
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # read when OpenCV is loaded
    with contextlib.suppress(AttributeError, ValueError):  # a file name may hold any bytes
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    with warnings.catch_warnings():
        if not sys.warnoptions:  # python -W asks for them
            warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def only_our_words(command: list[str]) -> Generator[None]:
    """Keep stderr to this program where it reads photos: libtiff and libpng have their own say.

    They write to file descriptor 2 itself, which therefore leads nowhere until the command ends.
    """
    ours = sys.stderr
    try:
        ours_is_theirs = ours.fileno() == 2
    except (AttributeError, OSError, ValueError):  # there is none, or a test holds it
        ours_is_theirs = False
    if not ours_is_theirs or sys.warnoptions or command[:1] not in READERS:
        yield
        return
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    with open(  # a descriptor has no path
        kept, "w", buffering=1, encoding=ours.encoding, errors="backslashreplace", closefd=False
    ) as words:
        sys.stderr = words
        try:
            yield
        finally:
            sys.stderr = ours
            words.flush()
            os.dup2(kept, 2)
            os.close(kept)
