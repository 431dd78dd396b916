"""Bad files, bad places to write, and writers that die: one sentence, and nothing half-written."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from files import gray_profile, png_chunk, raw_png, saved, some_exif, tiff
from refsr.errors import PhotoError
from refsr.image.atomic import atomic_write
from refsr.image.photo import Photo, check_output_path, load_photo, save_photo
from refsr.image.png_chunks import NO_END_NOTE

pytestmark = pytest.mark.filterwarnings("ignore:.*:UserWarning")
IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


def sentence(error: pytest.ExceptionInfo[PhotoError]) -> str:
    text = str(error.value)
    assert text.endswith(".")
    assert "\n" not in text
    assert "Error" not in text
    return text


# Reading


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_what_is_no_photo(tmp_path: Path) -> None:
    cases: list[tuple[Path, str]] = [
        (tmp_path / "missing.jpg", "There is no file"),
        (tmp_path, "is a folder"),
        (write(tmp_path / "empty.jpg", b""), "empty (0 bytes)"),
        (write(tmp_path / "text.jpg", "Grüße, this is a letter\n".encode()), "holds text"),
        (write(tmp_path / "page.pdf", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"), "not a picture"),
        (write(tmp_path / "noise.png", bytes(range(256)) * 9), "not a picture"),
        (write(tmp_path / "start.jpg", b"\xff\xd8\xff\xe0"), "damaged or cut short"),
        (write(tmp_path / "raw.cr2", b"II*\0\x10\0\0\0CR\2\0" + bytes(99)), ""),
    ]
    cases += [(Path("/dev/null"), "no ordinary file")] if os.name == "posix" else []
    for path, words in cases:
        with pytest.raises(PhotoError) as error:
            load_photo(path)
        assert words in sentence(error)
        assert str(path) in sentence(error)
    for odd in (None, 5, ["a.jpg"], "nul\0byte.jpg", ""):
        with pytest.raises(PhotoError) as error:
            load_photo(odd)  # type: ignore[arg-type]
        sentence(error)
    with pytest.raises(PhotoError, match="bytes"):
        load_photo(b"")


@pytest.mark.posix
@pytest.mark.skipif(IS_ROOT, reason="root may read everything")
def test_no_permission_to_read(natural: NDArray[np.uint8], tmp_path: Path) -> None:
    path = write(tmp_path / "a.png", saved(natural, "PNG"))
    path.chmod(0)
    with pytest.raises(PhotoError, match="permission denied"):
        load_photo(path)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "GIF", "BMP", "PPM"])
def test_truncated_files_are_refused(
    natural: NDArray[np.uint8], tmp_path: Path, format: str
) -> None:
    data = saved(natural, format)
    for kept in (0.02, 0.3, 0.7, 0.98):
        path = write(tmp_path / "cut.jpg", data[: int(len(data) * kept)])
        with pytest.raises(PhotoError) as error:
            load_photo(path)
        assert "cut.jpg" in sentence(error)


JPEGS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "progressive": {"progressive": True},
    "smallest chroma": {"subsampling": "4:1:1", "quality": 30},
    "with restarts": {"restart_marker_rows": 1},
    "gray": {},
    "CMYK": {},
}


def jpeg(natural: NDArray[np.uint8], kind: str) -> bytes:
    mode = {"gray": "L", "CMYK": "CMYK"}.get(kind, "RGB")
    return saved(Image.fromarray(natural[:90, :75]).convert(mode), "JPEG", **JPEGS[kind])


@pytest.mark.parametrize("kind", JPEGS)
def test_a_jpeg_that_lacks_only_its_end(natural: NDArray[np.uint8], kind: str) -> None:
    """Every viewer opens it; whatever else is missing changes pixels, and is refused."""
    data = jpeg(natural, kind)
    whole = load_photo(data).pixels
    for short in (data[:-2], data[:-1]):
        photo = load_photo(short)
        np.testing.assert_array_equal(photo.pixels, whole)
        assert photo.notes[0] == NO_END_NOTE
        assert (photo.jpeg_quality, photo.gray) == (load_photo(data).jpeg_quality, kind == "gray")
    taken = 0
    for kept in [*range(len(data) - 60, len(data) - 2), *range(len(data) // 3, len(data), 97)]:
        with suppress(PhotoError):
            np.testing.assert_array_equal(load_photo(data[:kept]).pixels, whole)
            taken += 1
    assert taken <= 3, "the last byte or two may be filler"


def test_a_progressive_jpeg_that_lacks_scans_is_refused(natural: NDArray[np.uint8]) -> None:
    """Cut before a scan it decodes without a flaw, only coarser."""
    data = jpeg(natural, "progressive")
    scans = [at for at in range(len(data)) if data[at : at + 2] in (b"\xff\xda", b"\xff\xc4")]
    assert len(scans) > 10
    for at in scans[1:]:
        with pytest.raises(PhotoError, match="damaged or cut short"):
            load_photo(data[:at])


def test_a_jpeg_of_a_plain_wall_cut_in_the_middle_is_refused() -> None:
    """Its lower half is all alike, as what libjpeg puts in its place is."""
    data = saved(np.full((400, 300, 3), 128, np.uint8), "JPEG", quality=90)
    for kept in range(len(data) - 300, len(data) - 2, 7):
        with pytest.raises(PhotoError, match="damaged or cut short"):
            load_photo(data[:kept])


@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_truncated_16_bit_files_are_refused_silently(
    natural: NDArray[np.uint8], kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    deep = natural.astype(np.uint16) * 257
    data = raw_png(deep, 2, 16) if kind == "png" else tiff(deep, compression="zlib")
    for kept in (0.3, 0.7, 0.98):
        with pytest.raises(PhotoError, match=r"damaged|unusual"):
            load_photo(data[: int(len(data) * kept)])
    swapped = bytearray(data)
    swapped[len(data) // 2] ^= 255
    with pytest.raises(PhotoError, match="damaged"):
        load_photo(bytes(swapped))
    assert capfd.readouterr().err == ""


def test_raw_files_are_not_mistaken_for_their_preview(natural: NDArray[np.uint8]) -> None:
    for tag in ((50706, 1, 4, (1, 4, 0, 0), True), (254, 4, 1, 1, True)):
        extra = {"subfiletype": 1} if tag[0] == 254 else {"extratags": [tag]}
        with pytest.raises(PhotoError, match="camera raw"):
            load_photo(tiff(natural, photometric="rgb", **extra))


def test_decompression_bombs(
    natural: NDArray[np.uint8], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = bytearray(raw_png(natural, 2, 8))
    bomb[8:33] = png_chunk(b"IHDR", (60000).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0]))
    path = write(tmp_path / "bomb.png", bytes(bomb))
    with pytest.raises(PhotoError) as error:
        load_photo(path)
    assert "--max-pixels 3600000000" in sentence(error)
    assert "bomb.png has 60000 x 60000 pixels" in sentence(error)

    photo = saved(natural, "PNG")
    assert load_photo(photo, max_pixels=256 * 192).width == 256
    with pytest.raises(PhotoError, match="--max-pixels"):
        load_photo(photo, max_pixels=256 * 192 - 1)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)  # ours is the limit that counts
    assert load_photo(photo).width == 256
    assert Image.MAX_IMAGE_PIXELS == 10


def test_heic_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    head = b"\0\0\0\x1cftypheic\0\0\0\0mif1heic" + bytes(200)
    with pytest.raises(PhotoError, match="pip install pillow-heif"):
        load_photo(write(tmp_path / "IMG_1.HEIC", head))


def test_heic(natural: NDArray[np.uint8], tmp_path: Path) -> None:
    pillow_heif: Any = pytest.importorskip("pillow_heif")
    exif = some_exif(6)
    pillow_heif.from_pillow(Image.fromarray(natural)).save(
        tmp_path / "a.heic", quality=95, exif=exif
    )
    photo = load_photo(tmp_path / "a.heic")
    assert {photo.width, photo.height} == {192, 256}
    assert photo.format == "HEIF"


SEEDS = [
    "JPEG",
    "PNG",
    "WEBP",
    "TIFF",
    "AVIF",
    "GIF",
    "BMP",
    "PPM",
    "png16",
    "tiff16",
    "exif",
    "1",
    "lzw",
]


@pytest.mark.parametrize("seed", SEEDS)
def test_mutated_files(
    natural: NDArray[np.uint8], seed: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """A photo or a PhotoError, and no word on stderr, whatever the bytes."""
    small = natural[:40, :56]
    deep = small.astype(np.uint16) * 257
    if seed in ("png16", "tiff16"):
        data = raw_png(deep, 2, 16) if seed == "png16" else tiff(deep, photometric="rgb")
    elif seed == "exif":
        data = saved(small, "JPEG", exif=some_exif(5), icc_profile=gray_profile(2.2))
    elif seed == "1":
        data = saved(Image.fromarray(small).convert("1"), "TIFF", compression="group4")
    elif seed == "lzw":
        data = saved(small, "TIFF", compression="tiff_lzw")
    else:
        data = saved(small, seed)
    rng = np.random.default_rng(SEEDS.index(seed))
    for round in range(30):
        mutated = bytearray(data)
        reach = len(data) if round % 2 else min(len(data), 400)  # headers matter most
        for position in rng.integers(0, reach, rng.integers(1, 9)):
            mutated[position] = rng.integers(0, 256)
        if round % 5 == 0:
            del mutated[rng.integers(1, len(mutated)) :]
        with suppress(PhotoError):
            assert load_photo(bytes(mutated), max_pixels=1_000_000).pixels.ndim == 3
    if seed not in ("1", "lzw"):  # nothing silences the libtiff inside Pillow
        assert capfd.readouterr().err == ""


# Writing


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.endswith(".tmp"))


def test_output_paths(natural: NDArray[np.uint8], tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    cases = [
        (tmp_path / "a.xyz", ".xyz"),
        (tmp_path / "a", "no extension"),
        (tmp_path / "a.gif", ".gif"),
        (tmp_path / "no" / "a.png", "does not exist"),
        (tmp_path / "folder.png", "is a folder"),
        (tmp_path / "nul\0.png", "not possible"),
    ]
    if sys.platform == "linux":
        cases.append((Path("/proc/a.png"), "cannot be written"))
        cases.append((tmp_path / ("n" * 300 + ".png"), "name is too long"))
    for path, words in cases:
        with pytest.raises(PhotoError) as error:
            check_output_path(path)
        assert words in sentence(error)
        with pytest.raises(PhotoError) as error:
            save_photo(Photo.of(natural), path)
        sentence(error)
    check_output_path(tmp_path / "fine.JPG")
    assert [path.name for path in tmp_path.iterdir()] == ["folder.png"]


@pytest.mark.posix
def test_a_device_is_never_replaced(natural: NDArray[np.uint8], tmp_path: Path) -> None:
    """A pipe stands for all devices: never aim this at a real one, which root could replace."""
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "pipe.png")
    for name in ("pipe.png", "link.png"):
        with pytest.raises(PhotoError, match="no ordinary file"):
            check_output_path(tmp_path / name)
        with pytest.raises(PhotoError, match="no ordinary file"):
            save_photo(Photo.of(natural), tmp_path / name)
    assert (tmp_path / "pipe.png").is_fifo()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["link.png", "pipe.png"]


@pytest.mark.posix
@pytest.mark.skipif(IS_ROOT, reason="root may write everywhere")
def test_no_permission_to_write(natural: NDArray[np.uint8], tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(PhotoError, match="permission denied"):
        check_output_path(tmp_path / "a.png")
    with pytest.raises(PhotoError, match="permission denied"):
        save_photo(Photo.of(natural), tmp_path / "a.png")
    tmp_path.chmod(0o700)


def test_formats_that_cannot_hold_the_photo(tmp_path: Path) -> None:
    long = Photo.of(np.zeros((1, 70000), np.uint8))
    for suffix in (".jpg", ".webp", ".avif"):
        with pytest.raises(PhotoError, match="does not fit"):
            save_photo(long, tmp_path / f"a{suffix}")
    save_photo(long, tmp_path / "a.png")
    for quality in (0, 101):
        with pytest.raises(PhotoError, match="quality"):
            save_photo(long, tmp_path / "a.png", quality=quality)


@pytest.mark.posix
def test_full_disk(natural: NDArray[np.uint8], tmp_path: Path) -> None:
    """The system stops the write in the middle; the old file stands, and nothing else."""
    import resource

    target = tmp_path / "a.png"
    save_photo(Photo.of(natural[:2, :2]), target)
    before = target.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(PhotoError) as error:
            save_photo(Photo.of(natural), target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "larger than allowed" in sentence(error)
    assert target.read_bytes() == before
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("function", ["fsync", "replace"])
@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
def test_failure_at_the_last_moment(
    natural: NDArray[np.uint8],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    function: str,
    failure: BaseException,
) -> None:
    def fail(*_: object) -> None:
        raise failure

    if function == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    else:
        monkeypatch.setattr(Path, "replace", fail)
    is_full = isinstance(failure, OSError)
    with pytest.raises(PhotoError if is_full else KeyboardInterrupt) as error:
        save_photo(Photo.of(natural), tmp_path / "a.png")
    assert not is_full or "the disk is full" in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.posix
def test_replacing_a_file(tmp_path: Path) -> None:
    """Permissions of the old file are kept, new ones follow the umask, links are followed."""
    old = os.umask(0o027)
    try:
        atomic_write(tmp_path / "a", b"1")
    finally:
        os.umask(old)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640
    (tmp_path / "a").chmod(0o604)
    (tmp_path / "link").symlink_to(tmp_path / "a")
    atomic_write(tmp_path / "link", b"2")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "a").read_bytes() == b"2"
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o604


def test_a_file_that_is_open_elsewhere_is_replaced_on_windows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows refuses to replace a file that a virus scanner, say, reads at the moment."""
    replace, tries = Path.replace, [0]

    def busy(self: Path, target: Path) -> Path:
        tries[0] += 1
        if tries[0] < 4:
            raise PermissionError(errno.EACCES, "the file is used by another process")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", busy)
    monkeypatch.setattr(sys, "platform", "win32")
    atomic_write(tmp_path / "a", b"1")
    assert (tmp_path / "a").read_bytes() == b"1"
    tries[0] = -1000
    with pytest.raises(PhotoError, match="permission denied"):
        atomic_write(tmp_path / "a", b"2")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


WRITER = """
import sys, numpy as np
from refsr.image.photo import Photo, save_photo
noise = np.random.default_rng(0).integers(0, 256, (150, 150, 3), dtype=np.uint8)
photos = [Photo.of(noise), Photo.of(255 - noise)]
print("ready", flush=True)
while True:
    for photo in photos:
        save_photo(photo, sys.argv[1])
"""


def test_killed_while_writing(tmp_path: Path) -> None:
    """kill -9 at any moment leaves one whole photo or the other."""
    noise = np.random.default_rng(0).integers(0, 256, (150, 150, 3), dtype=np.uint8)
    target = tmp_path / "a.png"
    save_photo(Photo.of(noise), target)
    for round in range(6):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(target)], stdout=subprocess.PIPE
        )
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
        time.sleep(0.02 + 0.013 * round)
        writer.kill()
        writer.wait()
        writer.stdout.close()
        pixels = load_photo(target).pixels
        assert np.array_equal(pixels, noise) or np.array_equal(pixels, 255 - noise)
