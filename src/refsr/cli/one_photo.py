"""Commands for one photo: enlarge it, look at its references, look into the network."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Literal

from refsr.cli.flags import Input, Output, References, check_distinct, parse_place
from refsr.cli.words import album_line, announcer, dump, progress_bar, say, write_text


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
    cache: Path | None = None,
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
        ensemble: Mode at every part in eight ways, turned and mirrored: a little better, eight
            times slower.
        cache: Keep in this folder what was found out about references, a large album's above all;
            the next time is quicker, and the result the same.
        report: Write the numbers (JSON): coverage and error of each reference, borrowed detail,
            time.
        map: Write a picture of where each detail came from: green borrowed, orange guessed, gray
            the photo's own.
        strip_metadata: Leave EXIF (place, camera, date) out of the result; the color profile
            stays.
        json: Print the report as one JSON object on stdout.
        quiet: No progress, no closing line.
    """
    import cv2

    from refsr.result import save_map
    from refsr.upscaler import Upscaler

    check_outputs([photo, *ref], out, map, report)
    if threads > 0:
        cv2.setNumThreads(threads)
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
    )
    upscaler.set_reference(list(ref))
    with progress_bar(photo.name, quiet or json) as progress:
        tell = announcer(out, quiet)
        result = upscaler.upscale(
            photo, scale=scale, strength=strength, progress=progress, announce=tell
        )
    del upscaler  # writing a large result takes memory of its own
    record = {"input": str(photo), "output": str(out), **result.report}
    result.save(out, strip_metadata=strip_metadata)
    if map is not None:
        save_map(result, map)
    if report is not None:
        write_text(report, dump(record, indent=1))
    if json:
        print(dump(record))
    for line in [] if quiet else closing_lines(record):
        say(line)


def check_outputs(read: list[Path], out: Path, map: Path | None, report: Path | None) -> None:
    """Refuse before the work what could not be written after it. Raises DataError, PhotoError."""
    from refsr.image.atomic import check_writable
    from refsr.image.photo import check_output_path

    for path in (out, map):
        if path is not None:
            check_output_path(path)
    if report is not None:
        check_writable(report)
    check_distinct(read, [path for path in (out, map, report) if path is not None])


def closing_lines(record: dict[str, Any]) -> list[str]:
    """What a reader is told of a finished photo: notes, each reference's verdict, size and time."""
    lines = [f"note: {note}" for note in record["notes"]]
    if record["album"]:
        lines.append(album_line(record["album"]))
    lines += [f"{one['reference']}: {one['verdict']}" for one in record["references"]]
    (width, height), seconds = record["output_size"], sum(record["seconds"].values())
    return [*lines, f"{record['output']}: {width} x {height}, {seconds:.1f} s"]


def check(
    photo: Input,
    ref: References,
    json: bool = False,
    max_pixels: int = 200_000_000,
    cache: Path | None = None,
) -> None:
    """Say whether references match a photo, how much of it, and whether they are worth it.

    Args:
        photo: The small photo.
        ref: A sharp photo of the same thing, or a folder of them; may be repeated.
        json: Print one JSON object on stdout instead of sentences.
        max_pixels: Photos larger than this are refused before they are decoded.
        cache: Keep in this folder what was found out about references; the next time is quicker.
    """
    from refsr.image.photo import load_photo
    from refsr.registration.references import notes_of
    from refsr.report.report import describe, expected_together
    from refsr.upscaler import Upscaler
    from refsr.weights.models import DETAIL_TRANSFER

    if not ref:
        say("refsr check: Give at least one reference with --ref.")
        sys.exit(2)
    # no network is needed
    upscaler = Upscaler.load(DETAIL_TRANSFER, max_pixels=max_pixels, cache=cache)
    upscaler.set_reference(list(ref))
    opened = load_photo(photo, max_pixels=max_pixels)
    references, album = upscaler.choose(opened)
    composite = upscaler.register(opened, references)
    assert composite is not None
    rows = [describe(one.name, composite, i) for i, one in enumerate(references)]
    gain = round(expected_together(composite), 2)
    notes = [*notes_of(opened, references), *upscaler.left_out]
    notes += upscaler.cache.notes if upscaler.cache else ()
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
    from refsr.image.photo import Photo, check_output_path, load_photo, save_photo
    from refsr.report.explain import InspectableModel, modulation_map, registered
    from refsr.report.explain import explain as look_into
    from refsr.report.figure import draw_figure, draw_heat

    place = parse_place(at)
    outputs = [out] if heat is None else [out, heat]
    for path in outputs:
        check_output_path(path)
    check_distinct([photo] if ref is None else [photo, ref], outputs)
    layers = InspectableModel(model, device)
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
