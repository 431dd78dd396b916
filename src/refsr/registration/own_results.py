"""refsr's own results, maps and sheets, recognised by the mark in their files: no references.

What a result holds beyond the photo it was made from was drawn or borrowed; used as a reference it
would pass for what a camera saw.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from refsr.image.exif import Mark
from refsr.image.photo import mark_of_file
from refsr.registration.pool import ReferencePool
from refsr.registration.reference import prepare_reference
from refsr.registration.references import LoadedReference

NOT_A_REFERENCE = {
    "result": "a result of refsr, not a photo that a camera took",
    "map": "a map that refsr drew, not a photo",
    "sheet": "a figure that refsr drew, not a photo",
}


def why_withheld(mark: Mark) -> str:
    """Why a file with this mark is no reference, in a sentence."""
    return f"This reference is {NOT_A_REFERENCE[mark]}: it will not be used."


def withheld(reference: LoadedReference) -> LoadedReference:
    """A loaded reference without its pixels where it is refsr's own: it matches nothing.

    Its photo keeps the mark, for the report.
    """
    if reference.photo.mark is None:
        return reference
    nothing = np.zeros((1, 1, 3), np.uint8)
    photo = replace(reference.photo, pixels=nothing, alpha=None, icc=None, notes=())
    return LoadedReference(reference.name, photo, prepare_reference(nothing))


def without_own(pool: ReferencePool) -> ReferencePool:
    """A pool in which refsr's own files have a problem, and are not chosen."""
    marks: list[Mark | None] = [mark_of_file(one.source) for one in pool.thumbnails]
    return ReferencePool(
        tuple(
            replace(one, problem=why_withheld(mark)) if mark and not one.problem else one
            for one, mark in zip(pool.thumbnails, marks, strict=True)
        )
    )
