"""Writes photos for a first training: those that scikit-image includes.

    python research/sample_photos.py out/tiny

FOLDER/photos is for training, FOLDER/held_out for validation, and FOLDER/views holds two photos of
a motorcycle, not used in training, for `refsr data build` and `refsr evaluate`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from skimage import data

from refsr.cli.demo import second_photo, stereo_pair
from refsr.image.photo import Photo, save_photo

TRAINED = ("astronaut", "chelsea", "rocket", "hubble_deep_field")
HELD_OUT = ("coffee",)


def write(folder: Path) -> None:
    """Write the photos below ``folder``. Raises PhotoError, or DataError without scikit-image."""
    first, second = stereo_pair()
    photos = {"views/first": first, "views/second": second_photo(second)}
    for kind, names in (("photos", TRAINED), ("held_out", HELD_OUT)):
        photos |= {f"{kind}/{name}": getattr(data, name)() for name in names}
    for name, pixels in photos.items():
        path = folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_photo(Photo(pixels), path)
        print(path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    write(parser.parse_args().folder)
