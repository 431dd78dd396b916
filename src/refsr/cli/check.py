"""``refsr check``: do the references match a photo?"""

from __future__ import annotations

import sys

from refsr.cli.arguments import Input, OptionalPath, References, command, read_source
from refsr.cli.output import album_line, print_message, to_json


@command
def check(
    photo: Input,
    ref: References,
    json: bool = False,
    max_pixels: int = 200_000_000,
    cache: OptionalPath = None,
    own_results: bool = False,
) -> None:
    """Report which references match a photo, where, the expected gain, and which scale to choose.

    It also says how the photo was taken (blurred, noisy, compressed), as far as that shows.

    Args:
        photo: The photo to upscale; - reads it from stdin.
        ref: Sharp photos of the same subject, or folders of them; may be repeated.
        json: Print one JSON object on stdout instead of sentences.
        max_pixels: Reject larger photos before decoding them.
        cache: Cache the features of references in this folder, so that later runs are faster.
        own_results: Take results that refsr wrote for references, too.
    """
    from refsr.upscaler import Upscaler
    from refsr.weights.models import DETAIL_TRANSFER

    if not ref:
        print_message("refsr check: give at least one reference with --ref.")
        sys.exit(2)
    # registration needs no network
    upscaler = Upscaler.load(
        DETAIL_TRANSFER, max_pixels=max_pixels, cache=cache, own_results=own_results
    )
    found = upscaler.check(read_source(photo), references=upscaler.prepare(list(ref)))
    if json:
        answer = {"input": str(photo), "references": found.references, "album": found.album}
        gain = {"notes": found.notes, "expected_gain_db": found.expected_gain_db}
        photo_facts = {"degradation": found.degradation, "advice": found.advice}
        print(to_json(answer | gain | {"scale": found.scale} | photo_facts))
        return
    for note in found.notes:
        print_message(f"note: {note}")
    if found.album:
        print(album_line(found.album))
    for row in found.references:
        print(f"{row['reference']}: {row['verdict']}")
    if sum(row["used"] for row in found.references) > 1:
        gain_db = found.expected_gain_db
        print(f"Expected gain of all references together: about {gain_db:.1f} dB.")
    if found.degradation:
        print(f"The photo: {found.degradation}.")
    print(found.advice)
