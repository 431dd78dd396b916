"""Labels: distillation targets computed in advance, by any network, and stored as image files.

The label of photos/a/b.jpg (``photos`` a folder of photos, or of scenes) is LABELS/photos/a/b.jpg
or .png, of the photo's size cropped at the bottom and right to a multiple of the scale.
"""

from __future__ import annotations

from pathlib import Path

from refsr.arrays import Pixels
from refsr.errors import DataError, RefsrError
from refsr.image.photo import load_photo


def load_label(labels: Path, root: Path, photo: Path, hr: Pixels) -> Pixels | None:
    """The label (4h, 4w, 3) RGB of ``photo``, a file below ``root`` loaded as ``hr``, or None.

    Raises DataError where it cannot be read or has another size.
    """
    stem = labels / root.name / photo.relative_to(root)
    files = [file for suffix in (".jpg", ".png") if (file := stem.with_suffix(suffix)).exists()]
    if not files:
        return None
    try:
        label = load_photo(files[0]).as_uint8()
    except RefsrError as error:
        raise DataError(f"A label cannot be used: {error}") from error
    if label.shape != hr.shape:
        raise DataError(
            f"{files[0]} has {label.shape[1]} x {label.shape[0]} pixels and its photo "
            f"{hr.shape[1]} x {hr.shape[0]}; is max_side at least as large as the photos?"
        )
    return label
