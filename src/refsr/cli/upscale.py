"""``refsr upscale``: one photo."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from refsr.cli.arguments import (
    STANDARD,
    Input,
    OptionalOutput,
    OptionalPath,
    References,
    check_outputs,
    command,
    read_source,
)
from refsr.cli.output import (
    album_line,
    estimate_printer,
    print_message,
    progress_bar,
    to_json,
    write_text,
)
from refsr.errors import DataError

if TYPE_CHECKING:
    from refsr.image.photo import Photo
    from refsr.inference.plan import Estimate


@command
def upscale(
    photo: Input,
    out: OptionalOutput = None,
    ref: References = (),
    model: str = "auto",
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    runtime: Literal["auto", "onnx", "openvino", "torch"] = "auto",
    scale: Literal[1, 2, 3, 4] = 4,
    max_memory: str = "auto",
    max_pixels: int = 200_000_000,
    threads: int = 0,
    strength: float = 1.0,
    strict: bool = False,
    look: Literal["true", "crisp"] = "true",
    ensemble: bool = False,
    cache: OptionalPath = None,
    own_results: bool = False,
    report: OptionalPath = None,
    map: OptionalPath = None,
    quality: int = 95,
    strip_metadata: bool = False,
    json: bool = False,
    quiet: bool = False,
) -> None:
    """Upscale a photo with the detail of sharp photos of the same subject.

    Args:
        photo: The photo to upscale; - reads it from stdin.
        out: Output file; its extension selects the format (png, jpg, webp, tif, avif). Its folder
            is made if missing. - writes a PNG to stdout. Without it NAME_refsr.png beside the
            photo.
        ref: Sharp photos of the same subject, or folders of them; may be repeated. Without one,
            the network guesses the detail.
        model: auto picks the model for clean or for degraded photos; or a shipped model (see
            `refsr info`), detail-transfer, or an exported .onnx file.
        device: Device that runs the network.
        runtime: Inference runtime; `refsr info` shows what auto selects.
        scale: How many times wider and higher the result is; 2 and 3 are the result of 4, shrunk.
            1 keeps the size and makes the photo sharper: for one that is large enough, but blurred,
            noisy or compressed. `refsr check` says which to choose.
        max_memory: Memory limit, such as 2GB; large photos are processed in tiles. auto is half of
            the free memory, at most 1.5GB.
        max_pixels: Reject larger photos before decoding them.
        threads: CPU cores to use; 0, or more than there are, for all.
        strength: How much of the references' detail to use, from 0 (none) to 1 (all).
        strict: Take nothing from the references where the photo is too coarse to confirm them, such
            as digits of two of its pixels. The map and the report show these places without it,
            too.
        look: crisp is sharper where a reference supports it, and takes twice as long; elsewhere,
            and at scale 1, it equals true.
        ensemble: Average eight flips and rotations: slightly better, eight times slower.
        cache: Cache the features of references in this folder: later runs are faster, above all
            with many references, and the results are the same.
        own_results: Use results that refsr wrote as references, too; they are known by a mark in
            their metadata.
        report: Write a report in JSON: coverage and error of each reference, borrowed detail, time.
        map: Write a map of where the detail comes from: green is borrowed from a reference, blue is
            borrowed and cannot be confirmed, orange is guessed by the network, gray is the photo's
            own.
        quality: Quality of a JPEG, WebP or AVIF file, from 1 to 100.
        strip_metadata: Remove EXIF data (location, camera, date) from the result; the color profile
            stays.
        json: Print the report as one JSON object on stdout.
        quiet: Print no progress and no summary.
    """
    import cv2

    from refsr.image.photo import check_quality, check_side_limit, lost_in_format
    from refsr.inference.cores import usable_cores
    from refsr.result import save_map
    from refsr.upscaler import Upscaler

    out = default_output(photo) if out is None else out
    file = Path("stdout.png") if out == STANDARD else out  # its ending is the format
    check_quality(quality)
    check_stdout(out, json)
    check_photo(photo)
    pictures = [path for path in (out, map) if path is not None and path != STANDARD]
    check_outputs([photo, *ref], pictures, [] if report is None else [report])
    if threads > 0:
        cv2.setNumThreads(min(threads, usable_cores()))
    upscaler = Upscaler.load(
        model,
        device=device,
        runtime=runtime,
        threads=threads,
        max_memory=max_memory,
        max_pixels=max_pixels,
        look=look,
        ensemble=ensemble,
        cache=cache,
        own_results=own_results,
    )
    upscaler.networks.timed = not quiet
    upscaler.set_reference(list(ref))
    with progress_bar(photo.name, quiet or json) as progress:
        warn = estimate_printer(file, quiet)

        def announce(estimate: Estimate) -> None:
            for path in (file, *([map] if map else [])):
                check_side_limit(path, estimate.width, estimate.height)
            progress.expect(estimate.seconds)
            warn(estimate)

        result = upscaler.upscale(
            read_source(photo),
            scale=scale,
            strength=strength,
            strict=strict,
            progress=progress,
            announce=announce,
        )
    del upscaler  # writing a large result takes memory of its own
    record = {"input": str(photo), "output": str(out), **result.report}
    record["notes"] = [*result.report["notes"], *lost_in_format(result.photo, file)]
    if out == STANDARD:
        write_to_stdout(result.photo, strip_metadata)
    else:
        result.save(out, quality=quality, strip_metadata=strip_metadata)
    if map is not None:
        save_map(result, map)
    if report is not None:
        write_text(report, to_json(record, indent=1))
    if json:
        print(to_json(record))
    for line in summary(record):
        print_message(line, quiet)


def default_output(photo: Path) -> Path:
    """Where the result goes where nobody says it: beside the photo, or stdin's to stdout.

    Raises DataError where another file has that name.
    """
    from refsr.image.photo import mark_of_file

    if photo == STANDARD:
        return STANDARD
    out = photo.with_name(f"{photo.stem}_refsr.png")
    if out.exists() and mark_of_file(out) != "result":
        raise DataError(f"{out} exists and is no result of refsr; name the result with -o.")
    return out


def check_stdout(out: Path, json: bool) -> None:
    """Raises DataError where a picture cannot go to stdout."""
    if out == STANDARD and json:
        raise DataError("-o - and --json both write to stdout; leave one of them out.")
    if out == STANDARD and (sys.stdout is None or sys.stdout.isatty()):
        raise DataError("-o - writes a picture to stdout, which is a terminal; redirect it.")


def check_photo(photo: Path) -> None:
    """Raises DataError where the photo is a folder: there is another command for it."""
    from refsr.image.atomic import is_folder

    if is_folder(photo):
        raise DataError(
            f"{photo} is a folder; upscale all of its photos with `refsr batch {photo} -o OUT`."
        )


def write_to_stdout(photo: Photo, strip_metadata: bool) -> None:
    """Write a photo as a PNG to stdout. Raises OSError."""
    from refsr.image.photo import encode_photo

    data = io.BytesIO()
    encode_photo(photo, data, "PNG", 95, strip_metadata)
    sys.stdout.buffer.write(data.getbuffer())


def summary(record: dict[str, Any]) -> list[str]:
    """The lines printed after a photo: notes, verdicts on the references, size and time."""
    lines = [f"note: {note}" for note in record["notes"]]
    if record["album"]:
        lines.append(album_line(record["album"]))
    lines += [f"{one['reference']}: {one['verdict']}" for one in record["references"]]
    (width, height), seconds = record["output_size"], sum(record["seconds"].values())
    return [*lines, f"{record['output']}: {width} x {height}, {seconds:.1f} s"]
