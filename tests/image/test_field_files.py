"""Files as they are found in the field: each is read right, or refused or noted in plain words."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image
from PIL.ExifTags import IFD, Base

from files import png_chunk, raw_png, saved, some_exif, tiff
from refsr.errors import PhotoError
from refsr.image.color import profile_from_cicp
from refsr.image.decode import MOST_SCANS
from refsr.image.descriptions import EXTRA_PICTURES_NOTE
from refsr.image.heif_boxes import read_boxes
from refsr.image.jpeg_structure import read_structure
from refsr.image.photo import Photo, load_photo, lost_in_format, save_photo
from refsr.image.png_chunks import NO_END_NOTE

CASES = Path(__file__).parents[3] / "shared" / "cases"
P3 = bytes([12, 13, 0, 1])
KINDS = ("jpg", "png", "webp", "tif", "avif")

pytestmark = pytest.mark.filterwarnings("ignore:.*:UserWarning")


def small(natural: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return natural[:91, :75]


# The cases of the issue


@pytest.mark.skipif(not CASES.is_dir(), reason="the project's shared cases are elsewhere")
@pytest.mark.parametrize(
    ("name", "note", "bits"),
    [
        ("avif10.avif", "", 16),
        ("avif_p3.avif", "", 8),
        ("badcrc_text.png", "damaged data beside the picture left out (tEXt)", 8),
        ("noiend.png", NO_END_NOTE, 8),
        ("tif_pal_8bitmap.tif", "", 8),
        ("tif_preview_first.tif", "the full picture used, not its preview", 8),
        ("mpo_gain.jpg", EXTRA_PICTURES_NOTE, 8),
        ("exif_utf8.jpg", "", 8),
    ],
)
def test_shared_cases_that_are_read(name: str, note: str, bits: int) -> None:
    photo = load_photo(CASES / name)
    assert note in " ".join(photo.notes)
    assert bool(note) == bool(photo.notes)
    assert photo.bits == bits
    assert (photo.width, photo.height) == (64, 48)
    assert photo.pixels.mean() / (257 if bits == 16 else 1) == pytest.approx(151, abs=0.5)


@pytest.mark.skipif(not CASES.is_dir(), reason="the project's shared cases are elsewhere")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("jpeg_restart_cut.jpg", "damaged or cut short"),
        ("jpeg12.jpg", "is a JPEG of 12 bits"),
        ("tif_le_zstd_0_16.tif", "is a TIFF packed with Zstandard and 16 bits"),
        ("libtiff_segfault.tif", "unusual kind or damaged"),
    ],
)
def test_shared_cases_that_are_refused(name: str, words: str) -> None:
    with pytest.raises(PhotoError) as error:
        load_photo(CASES / name)
    assert words in str(error.value)


# JPEG


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize(
    "restarts", [{"restart_marker_rows": 1}, {"restart_marker_blocks": 3}], ids=["rows", "blocks"]
)
@pytest.mark.parametrize("sampling", ["4:4:4", "4:2:0", "4:1:1"])
def test_a_jpeg_cut_at_or_within_a_restart_marker_is_refused(
    natural: NDArray[np.uint8], progressive: bool, restarts: dict[str, int], sampling: str
) -> None:
    """Filler behind a restart marker is skipped, so nothing but their number tells."""
    data = saved(small(natural), "JPEG", progressive=progressive, subsampling=sampling, **restarts)
    whole = load_photo(data).pixels
    np.testing.assert_array_equal(load_photo(data[:-2]).pixels, whole)
    markers = [
        at for at in range(len(data) - 1) if data[at] == 0xFF and data[at + 1] in range(0xD0, 0xD8)
    ]
    assert len(markers) > 4
    for at in [markers[0], markers[len(markers) // 2], *markers[-3:]]:
        for kept in (at, at + 1, at + 2):
            for end in (b"", b"\xff\xd9"):
                if progressive and kept == at + 2 and end:
                    continue  # every interval has begun: only finer detail is missing
                with pytest.raises(PhotoError, match="damaged or cut short"):
                    load_photo(data[:kept] + end)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_jpeg_cut_short_with_an_end_marker_put_behind_is_refused(
    natural: NDArray[np.uint8], mode: str
) -> None:
    data = saved(Image.fromarray(small(natural)).convert(mode), "JPEG", quality=90)
    start = data.index(b"\xff\xda") + 20
    for kept in range(start, len(data) - 40, 131):
        with pytest.raises(PhotoError, match="damaged or cut short"):
            load_photo(data[:kept] + b"\xff\xd9")
    flat = saved(np.full((60, 90, 3), 128, np.uint8), "JPEG")  # a whole one whose end is flat
    assert load_photo(flat).notes == ()


def test_a_jpeg_of_scans_without_number_is_refused(natural: NDArray[np.uint8]) -> None:
    """Each empty scan of a few bytes costs a pass over the whole picture."""
    data = saved(small(natural), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    scans = len(read_structure(data).scans)

    def with_scans(count: int) -> bytes:
        return data[:-2] + data[last:-2] * (count - scans) + data[-2:]

    load_photo(with_scans(MOST_SCANS))
    with pytest.raises(PhotoError, match="101 scans, more than the 100"):
        load_photo(with_scans(MOST_SCANS + 1))


@pytest.mark.parametrize(
    ("marker", "bits", "words"),
    [
        (0xC1, 12, "JPEG of 12 bits"),
        (0xC3, 8, "JPEG of a rare kind: lossless"),
        (0xCA, 8, "JPEG with arithmetic coding"),
        (0xC5, 8, "JPEG of a rare kind: hierarchical"),
    ],
)
def test_jpegs_of_rare_kinds_are_named(
    natural: NDArray[np.uint8], marker: int, bits: int, words: str
) -> None:
    data = bytearray(saved(small(natural), "JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 1], data[at + 4] = marker, bits
    with pytest.raises(PhotoError, match=words):
        load_photo(bytes(data))


def test_other_pictures_in_a_jpeg_are_noted(natural: NDArray[np.uint8]) -> None:
    gain_map = b'<x:xmpmeta xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/"/>'
    photo = load_photo(saved(small(natural), "JPEG", xmp=gain_map))
    assert (photo.notes, photo.xmp) == ((EXTRA_PICTURES_NOTE,), None)


# PNG


def test_a_png_without_its_end(natural: NDArray[np.uint8]) -> None:
    """Wherever within IEND it is cut, all pixels are there; before it, they are not."""
    for data in (
        saved(small(natural), "PNG"),
        raw_png(small(natural).astype(np.uint16) * 257, 2, 16),
    ):
        whole = load_photo(data)
        assert whole.notes == ()
        for cut in range(1, 13):
            photo = load_photo(data[:-cut])
            np.testing.assert_array_equal(photo.pixels, whole.pixels)
            assert photo.notes == (NO_END_NOTE,)
        for cut in (13, 16, 17, 200):
            with pytest.raises(PhotoError, match="damaged or cut short"):
                load_photo(data[:-cut])


def test_a_png_that_lacks_a_whole_piece_of_its_pixels_is_refused(
    natural: NDArray[np.uint8],
) -> None:
    data = raw_png(small(natural), 2, 8)
    at = data.index(b"IDAT") - 4
    length = int.from_bytes(data[at : at + 4], "big")
    packed = data[at + 8 : at + 8 + length]
    head, half = data[:at], png_chunk(b"IDAT", packed[: length // 2])
    assert load_photo(head + half + png_chunk(b"IDAT", packed[length // 2 :])).notes != ()
    for cut in (head, head + half, head + half + data[-12:]):
        with pytest.raises(PhotoError, match="damaged or cut short"):
            load_photo(cut)


def test_a_png_with_a_wrong_checksum(natural: NDArray[np.uint8]) -> None:
    """Beside the picture it costs that chunk; in the picture, the picture."""
    text, exif = png_chunk(b"tEXt", b"Comment\0hello"), png_chunk(b"eXIf", some_exif()[6:])
    sound = raw_png(small(natural), 2, 8, text, exif)
    for kind, note in ((b"tEXt", "(tEXt)"), (b"eXIf", "(eXIf)")):
        data = bytearray(sound)
        data[data.index(kind) + 5] ^= 1
        photo = load_photo(bytes(data))
        np.testing.assert_array_equal(photo.pixels, small(natural))
        assert [one.endswith(note) for one in photo.notes] == [True]
    for kind in (b"IHDR", b"IDAT"):
        data = bytearray(sound)
        data[data.index(kind) + 4 + 11] ^= 1
        with pytest.raises(PhotoError, match="damaged or cut short"):
            load_photo(bytes(data))


# TIFF


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_tiff_with_its_preview_first(natural: NDArray[np.uint8], dtype: Any) -> None:
    full = small(natural).astype(dtype) * (257 if dtype == np.uint16 else 1)
    data = io.BytesIO()
    with tifffile.TiffWriter(data) as writer:
        writer.write(full[::5, ::5], photometric="rgb", subfiletype=1)
        writer.write(full, photometric="rgb")
    photo = load_photo(data.getvalue())
    np.testing.assert_array_equal(photo.pixels, full)
    assert photo.notes == ("file of several pages: the full picture used, not its preview",)


def test_a_color_map_of_8_bit_values(natural: NDArray[np.uint8]) -> None:
    index = small(natural)[..., 0]
    colors = np.random.default_rng(0).integers(0, 256, (3, 256), np.uint16)
    for scale in (1, 257):  # 257: as it should be
        photo = load_photo(tiff(index, photometric="palette", colormap=colors * scale))
        np.testing.assert_array_equal(photo.pixels, colors.T[index])


@pytest.mark.parametrize(
    ("compression", "dtype", "words"),
    [
        (50001, np.uint8, "TIFF packed with WebP"),
        (50000, np.uint16, "TIFF packed with Zstandard and 16 bits"),
        (34925, np.uint16, "TIFF packed with LZMA and 16 bits"),
        (34712, np.uint8, "TIFF packed with JPEG 2000"),
        (52546, np.uint16, "TIFF packed with JPEG XL"),
    ],
)
def test_tiffs_of_rare_kinds_are_named(
    natural: NDArray[np.uint8], compression: int, dtype: Any, words: str
) -> None:
    data = bytearray(tiff(small(natural).astype(dtype), photometric="rgb"))
    at = data.index(struct.pack("<HHI", 259, 3, 1)) + 8
    data[at : at + 4] = struct.pack("<I", compression)
    with pytest.raises(PhotoError, match=words):
        load_photo(bytes(data))


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (b"\xff\x0a", "JPEG XL"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"8BPS\0\1", "Photoshop"),
        (b"FUJIFILMCCD-RAW ", "camera raw file; develop"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "camera raw file; develop"),
        (b"\0\0\0\x18ftypisom\0\0\0\1isomavc1", "a video"),
    ],
)
def test_other_pictures_are_named(start: bytes, words: str) -> None:
    with pytest.raises(PhotoError, match=words):
        load_photo(start + bytes(range(256)) * 4)


# AVIF and HEIC


def with_nclx(data: bytes, primaries: int, transfer: int) -> bytes:
    at = data.index(b"colrnclx") + 8
    return data[:at] + struct.pack(">HH", primaries, transfer) + data[at + 4 :]


def heif(image: Any, format: str, **options: Any) -> bytes:
    if format == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    return saved(image, format, **options)


@pytest.mark.parametrize("format", ["AVIF", "HEIF"])
def test_colors_by_codes_alone(natural: NDArray[np.uint8], format: str) -> None:
    data = heif(small(natural), format)
    assert load_photo(data).icc is None
    photo = load_photo(with_nclx(data, 12, 13))
    assert (photo.icc, photo.notes) == (profile_from_cicp(P3), ())
    for transfer in (16, 18):
        assert load_photo(with_nclx(data, 9, transfer)).notes == (
            "HDR colors (nclx) taken as sRGB",
        )
    other = load_photo(with_nclx(data, 5, 6))
    assert other.notes == ("colors described without a profile (nclx) taken as sRGB",)
    assert load_photo(with_nclx(data, 2, 2)).notes == ()


@pytest.mark.parametrize("format", ["AVIF", "HEIF"])
def test_a_profile_counts_before_codes(natural: NDArray[np.uint8], format: str) -> None:
    icc = profile_from_cicp(P3)
    photo = load_photo(heif(small(natural), format, icc_profile=icc))
    assert photo.icc == icc


@pytest.mark.parametrize("bits", [10, 12])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_avif_of_more_than_8_bits(natural: NDArray[np.uint8], bits: int, channels: int) -> None:
    """Held against the levels that were written: better than 8 bits could be."""
    top = 2**bits - 1
    ramp = np.linspace(0, top, 96).round().astype(np.uint16)
    levels = np.repeat(np.tile(ramp, (64, 1))[..., None], channels, axis=2)
    if channels == 4:
        levels[..., 3] = np.linspace(0, top, 64).round().astype(np.uint16)[:, None]
    options = [cv2.IMWRITE_AVIF_DEPTH, bits, cv2.IMWRITE_AVIF_QUALITY, 100]
    photo = load_photo(cv2.imencode(".avif", levels, options)[1].tobytes())
    assert (photo.bits, photo.gray, photo.notes) == (16, channels == 1, ())
    wanted = levels[..., :1].astype(np.float64) * 65535 / top
    error = np.abs(photo.pixels - wanted)
    assert error.mean() < 40  # of 65535; half a level of 8 bits is 128
    assert np.abs(np.array([photo.pixels.min(), photo.pixels.max()]) - [0, 65535]).max() < 200
    assert (photo.alpha is None) == (channels != 4)
    if photo.alpha is not None:
        assert np.abs(photo.alpha - levels[..., 3] * (65535 / top)).max() < 200


def test_heic_of_10_bits(natural: NDArray[np.uint8]) -> None:
    pillow_heif: Any = pytest.importorskip("pillow_heif")
    levels = np.repeat(np.tile(np.linspace(0, 65535, 96), (64, 1))[..., None], 3, axis=2)
    levels = levels.round().astype(np.uint16)
    data = io.BytesIO()
    pillow_heif.from_bytes("RGB;16", (96, 64), levels.tobytes()).save(data, quality=100)
    photo = load_photo(data.getvalue())
    assert (photo.bits, photo.notes) == (16, ())
    assert np.abs(photo.pixels - levels.astype(np.float64)).mean() < 100


@pytest.mark.parametrize("format", ["AVIF", "HEIF"])
def test_heif_cut_short_is_refused(natural: NDArray[np.uint8], format: str) -> None:
    """The boxes say where the last picture ends: libheif fills missing tiles with green."""
    data = heif(small(natural), format)
    assert read_boxes(io.BytesIO(data)).whole
    for kept in (len(data) - 1, len(data) - 40, len(data) // 2):
        assert not read_boxes(io.BytesIO(data[:kept])).whole
        with pytest.raises(PhotoError, match="damaged or cut short"):
            load_photo(data[:kept])


def test_boxes_that_are_damaged_cost_no_time(natural: NDArray[np.uint8]) -> None:
    data = saved(small(natural), "AVIF")
    rng = np.random.default_rng(0)
    end = data.index(b"mdat")
    for _ in range(300):
        mutated = bytearray(data)
        for at in rng.integers(0, end, 4):
            mutated[at] = rng.integers(0, 256)
        read_boxes(io.BytesIO(bytes(mutated)))
    many = struct.pack(">IBBH", 1 << 24, 0, 0, 65535) + struct.pack(">HHH", 1, 0, 65535) * 65535
    iloc = struct.pack(">I4s", 8 + len(many), b"iloc") + many
    meta = struct.pack(">I4sI", 12 + len(iloc), b"meta", 0) + iloc
    read_boxes(io.BytesIO(meta))  # 4 billion parts of no bytes


# What travels with a photo


TEXTS = {
    Base.Artist: "Søren Ångström",
    Base.LensModel: "Objektiv für Bäcker",
    Base.ImageDescription: "Café in Łódź 東京",
}


def exif_with(encoding: str) -> bytes:
    """EXIF whose text is in an encoding; Pillow would write question marks."""
    exif = Image.Exif()
    texts = [(tag, text.encode(encoding, "replace")) for tag, text in TEXTS.items()]
    stand_ins = dict(zip("xyz", texts, strict=True))
    for letter, (tag, text) in stand_ins.items():
        if tag == Base.LensModel:
            exif[IFD.Exif] = {tag: letter * len(text)}
        else:
            exif[tag] = letter * len(text)
    data = exif.tobytes()
    for letter, (_, text) in stand_ins.items():
        data = data.replace(letter.encode() * len(text), text)
    return data


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "shift-jis"])
@pytest.mark.parametrize("kind", KINDS)
def test_text_of_exif_keeps_its_bytes(
    natural: NDArray[np.uint8], tmp_path: Path, kind: str, encoding: str
) -> None:
    photo = load_photo(saved(small(natural), "JPEG", exif=exif_with(encoding)))
    save_photo(photo.marked("result"), tmp_path / f"a.{kind}")
    again = load_photo(tmp_path / f"a.{kind}")
    for text in TEXTS.values():
        raw = text.encode(encoding, "replace")
        assert raw + b"\0" in (tmp_path / f"a.{kind}").read_bytes()
        assert raw + b"\0" in (again.exif or b"")
    assert again.mark == "result"


XMP = b"""<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""
 xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:exif="http://ns.adobe.com/exif/1.0/"
 xmlns:dc="http://purl.org/dc/elements/1.1/" tiff:Orientation="6" tiff:ImageWidth="75"
 exif:PixelXDimension="75"><exif:PixelYDimension>91</exif:PixelYDimension>
<dc:rights>\xc2\xa9 B\xc3\xa4cker</dc:rights></rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>"""
IPTC = b"\x1c\x02\x78\x00\x05title\x1c\x02\x74\x00\x08\xc2\xa9 2020x"


@pytest.mark.parametrize("source", ["jpg", "png", "webp", "tif", "avif"])
@pytest.mark.parametrize("kind", KINDS)
def test_xmp_is_kept(natural: NDArray[np.uint8], tmp_path: Path, source: str, kind: str) -> None:
    """As it was, but for the orientation (the pixels are upright now) and the old size."""
    save_photo(Photo(small(natural), xmp=XMP), tmp_path / f"in.{source}")
    photo = load_photo(tmp_path / f"in.{source}")
    assert photo.xmp is not None
    assert "© Bäcker".encode() in photo.xmp
    assert b'tiff:Orientation="6"' not in photo.xmp
    assert b"ImageWidth" not in photo.xmp
    assert b"Dimension" not in photo.xmp
    assert lost_in_format(photo, f"out.{kind}") == []
    save_photo(photo, tmp_path / f"out.{kind}")
    assert load_photo(tmp_path / f"out.{kind}").xmp == photo.xmp
    assert Image.open(tmp_path / f"out.{kind}").info["xmp"] == photo.xmp
    save_photo(photo, tmp_path / f"bare.{kind}", strip_metadata=True)
    assert load_photo(tmp_path / f"bare.{kind}").xmp is None


@pytest.mark.parametrize("kind", KINDS)
def test_iptc_is_kept_or_noted(natural: NDArray[np.uint8], tmp_path: Path, kind: str) -> None:
    for source in ("jpg", "tif"):
        save_photo(Photo(small(natural), iptc=IPTC), tmp_path / f"in.{source}")
        photo = load_photo(tmp_path / f"in.{source}")
        assert photo.iptc == IPTC
        save_photo(photo, tmp_path / f"out.{kind}")
        notes = lost_in_format(photo, f"out.{kind}")
        if kind in ("jpg", "tif"):
            assert notes == []
            assert load_photo(tmp_path / f"out.{kind}").iptc == IPTC
        else:
            assert [note.startswith("IPTC left out") for note in notes] == [True]


def test_what_a_jpeg_cannot_hold_is_noted(natural: NDArray[np.uint8], tmp_path: Path) -> None:
    alpha = np.full(small(natural).shape[:2], 90, np.uint8)
    photo = Photo(small(natural), alpha, xmp=XMP + bytes(70000), iptc=IPTC * 4000)
    notes = lost_in_format(photo, tmp_path / "a.jpg")
    assert [note.split()[0] for note in notes] == ["JPEG", "XMP", "IPTC"]
    save_photo(photo, tmp_path / "a.jpg")
    assert load_photo(tmp_path / "a.jpg").notes == ()
    assert lost_in_format(photo, tmp_path / "a.tif") == []


def test_the_log_of_libraries_stays_off_the_screen(natural: NDArray[np.uint8]) -> None:
    """In a process of its own: pytest handles the logging of this one."""
    bad = bytearray(tiff(small(natural), photometric="rgb"))
    at = bad.index(struct.pack("<HHI", 277, 3, 1)) + 8  # samples a pixel
    bad[at : at + 2] = b"\xff\xff"
    program = """if True:
        import sys, io
        from PIL import Image
        from refsr.image.quiet import quiet_libraries
        data = sys.stdin.buffer.read()
        def read():
            try:
                Image.open(io.BytesIO(data))
            except OSError:
                print("refused", file=sys.stderr)
        with quiet_libraries():
            read()
        read()
    """
    done = subprocess.run([sys.executable, "-c", program], input=bytes(bad), capture_output=True)
    refused, said, again = done.stderr.decode().splitlines()  # once quiet, once not
    assert (refused, again) == ("refused", "refused")
    assert "samples per pixel" in said
