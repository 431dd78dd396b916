"""``refsr explain``: where the network samples the reference."""

from __future__ import annotations

from typing import Literal

from refsr.cli.arguments import (
    Input,
    OptionalPath,
    Output,
    check_outputs,
    command,
    parse_pixel,
)
from refsr.cli.output import print_message, progress_bar


@command
def explain(
    photo: Input,
    out: Output,
    at: str,
    ref: OptionalPath = None,
    heat: OptionalPath = None,
    model: str = "auto",
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    max_pixels: int = 200_000_000,
    quiet: bool = False,
) -> None:
    """Draw the positions in the reference that one output pixel was sampled from.

    Args:
        photo: The photo to upscale.
        out: The figure: input, reference with the samples, samples enlarged, result.
        at: Pixel X,Y of the result, which is 4 times larger than the photo.
        ref: A sharp photo of the same subject; without one, the photo is its own reference.
        heat: Write a heat map of the mean modulation of the samples over the whole photo.
        model: "auto" (the one that refsr upscale chooses), a shipped model or an .onnx file.
        device: Device that runs the network.
        max_pixels: Reject larger photos before decoding them.
        quiet: Print no progress and no summary.
    """
    from refsr.image.photo import Photo, save_photo
    from refsr.report.explain import InspectableModel, modulation_map
    from refsr.report.explain import explain as explain_pixel
    from refsr.report.figure import draw_figure, draw_heat
    from refsr.upscaler import Upscaler, network_inputs

    pixel = parse_pixel(at)
    pictures = [out] if heat is None else [out, heat]
    check_outputs([photo] if ref is None else [photo, ref], pictures, [])
    upscaler = Upscaler.load(model, device=device, max_pixels=max_pixels)
    corrected, network = network_inputs(upscaler, photo, upscaler.prepare(ref))
    layers = InspectableModel(None if network is None else network.model, device)
    found = explain_pixel(corrected, layers, pixel)
    save_photo(Photo.of(draw_figure(found)).marked("sheet"), out)
    if heat is not None:
        with progress_bar(photo.name, quiet) as progress:
            shares, validity = modulation_map(corrected, layers, progress)
        masked = None if found.source is None else validity
        drawn = Photo.of(draw_heat(found.lr, shares, masked))
        save_photo(drawn.marked("map"), heat)
    if ref is not None and found.source is None:
        text = f"{ref.name} is not used for this photo; the figure shows the photo as its own"
        print_message(f"{text} reference", quiet)
    x, y = found.xy_identity
    whose = "the photo" if found.source is None else "the reference"
    text = f"{len(found.strength)} samples around pixel {x:.1f},{y:.1f} of {whose}"
    print_message(f"{out}: {text}", quiet)
