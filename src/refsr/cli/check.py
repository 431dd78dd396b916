"""``refsr check``: do the references match a photo?"""

from __future__ import annotations

import sys

from refsr.cli.arguments import Input, OptionalPath, References, command
from refsr.cli.output import album_line, print_message, to_json


@command
def check(
    photo: Input,
    ref: References,
    json: bool = False,
    max_pixels: int = 200_000_000,
    cache: OptionalPath = None,
) -> None:
    """Report which references match a photo, where, and the expected gain.

    Args:
        photo: The photo to upscale.
        ref: A sharp photo of the same subject, or a folder of them; may be repeated.
        json: Print one JSON object on stdout instead of sentences.
        max_pixels: Reject larger photos before decoding them.
        cache: Cache the features of references in this folder, so that later runs are faster.
    """
    from refsr.image.photo import load_photo
    from refsr.registration.references import notes_of
    from refsr.report.report import describe, expected_together
    from refsr.upscaler import Upscaler
    from refsr.weights.models import DETAIL_TRANSFER

    if not ref:
        print_message("refsr check: give at least one reference with --ref.")
        sys.exit(2)
    # registration needs no network
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
        print(to_json(answer | {"expected_gain_db": gain}))
        return
    for note in notes:
        print_message(f"note: {note}")
    if album:
        print(album_line(album))
    for row in rows:
        print(f"{row['reference']}: {row['verdict']}")
    if sum(composite.useful) > 1:
        print(f"Expected gain of all references together: about {gain:.1f} dB.")
