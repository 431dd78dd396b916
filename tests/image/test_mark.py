"""The mark of refsr's own files: in every format, beside the user's EXIF, and read from headers."""

import io
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from PIL.ExifTags import IFD, Base

from refsr.image.exif import parse_exif, read_mark, with_mark
from refsr.image.photo import Photo, load_photo, mark_of_file, save_photo

GRAY = Photo(np.full((24, 32, 3), 90, np.uint8))


def camera(software: str | None, note: int = 0) -> bytes:
    """The EXIF of a camera, with a maker's note and a description of ``note`` bytes each."""
    exif = PIL.Image.Exif()
    exif[Base.Make] = "Maker"
    exif[Base.GPSInfo] = {1: "N", 2: (50.0, 3.0, 0.0)}
    exif[IFD.Exif] = {Base.DateTimeOriginal: "2019:05:04 10:00:00"}
    if note:
        exif[IFD.Exif][Base.MakerNote] = bytes(note)
        exif[Base.ImageDescription] = "x" * note
    if software is not None:
        exif[Base.Software] = software
    return b"Exif\0\0" + exif.tobytes().removeprefix(b"Exif\0\0")


@pytest.mark.parametrize("mark", ["result", "map", "sheet"])
@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif", "avif"])
def test_every_format_carries_the_mark(tmp_path: Path, suffix: str, mark: str) -> None:
    path = tmp_path / f"out.{suffix}"
    save_photo(GRAY, path)
    assert (load_photo(path).mark, mark_of_file(path)) == (None, None)
    save_photo(GRAY.marked(mark), path)  # type: ignore[arg-type]
    assert (load_photo(path).mark, mark_of_file(path)) == (mark, mark)
    assert mark_of_file(path.read_bytes()) == mark
    assert mark_of_file(PIL.Image.open(path)) == mark
    save_photo(load_photo(path), path, strip_metadata=True)
    assert mark_of_file(path) == mark


def test_sixteen_bits_and_alpha(tmp_path: Path) -> None:
    pixels = np.full((9, 7, 3), 40_000, np.uint16)
    for name in ("deep.png", "deep.tif"):
        save_photo(Photo(pixels, pixels[..., 0]).marked("result"), tmp_path / name)
        assert load_photo(tmp_path / name).mark == "result"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, "refsr result"),
        ("Ver.1.02", "Ver.1.02; refsr result"),
        ("Ver.1.02; refsr map", "Ver.1.02; refsr result"),
        ("refsr result", "refsr result"),
    ],
)
def test_the_users_exif_stays(tmp_path: Path, before: str | None, after: str) -> None:
    for suffix in ("jpg", "png", "tif", "webp", "avif"):
        path = tmp_path / f"out.{suffix}"
        save_photo(Photo(GRAY.pixels, exif=camera(before)).marked("result"), path)
        exif = parse_exif(load_photo(path).exif or b"")
        assert exif[Base.Software] == after
        assert exif[Base.Make] == "Maker"
        assert exif[IFD.GPSInfo][1] == "N"
        assert exif[IFD.Exif][Base.DateTimeOriginal] == "2019:05:04 10:00:00"


def test_stripping_leaves_nothing_but_the_mark(tmp_path: Path) -> None:
    path = tmp_path / "out.jpg"
    marked = Photo(GRAY.pixels, exif=camera("Ver.1.02")).marked("result")
    save_photo(marked, path, strip_metadata=True)
    assert dict(parse_exif(load_photo(path).exif or b"")) == {Base.Software: "refsr result"}


def test_exif_too_large_for_a_jpeg_leaves_the_mark(tmp_path: Path) -> None:
    path = tmp_path / "out.jpg"
    save_photo(Photo(GRAY.pixels, exif=camera(None, note=70_000)).marked("result"), path)
    assert load_photo(path).mark == "result"


@pytest.mark.parametrize(
    "software", [None, "refsr result viewer", "Ver.1.02", "myrefsr result", "refsr", ""]
)
def test_other_programs_are_no_mark(software: str | None) -> None:
    assert read_mark(camera(software)) is None


def test_damaged_exif_is_no_mark_and_can_be_marked() -> None:
    damaged = b"Exif\0\0MM\0*\0\0\xff\xff"
    assert read_mark(damaged) is None
    assert read_mark(with_mark(damaged, "result")) == "result"


def test_the_header_tells_and_what_is_no_photo_has_none(tmp_path: Path) -> None:
    file = io.BytesIO()
    rng = np.random.default_rng(1)
    noise = PIL.Image.fromarray(rng.integers(0, 256, (300, 300, 3), np.uint8))
    noise.save(file, "PNG", exif=with_mark(None, "map"))
    assert mark_of_file(file.getvalue()[:2000]) == "map"  # of 270 kB
    (tmp_path / "words.png").write_text("no photo")
    for nothing in (tmp_path / "words.png", tmp_path / "absent.png", tmp_path, b"", GRAY.pixels):
        assert mark_of_file(nothing) is None
