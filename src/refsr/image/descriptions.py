"""XMP and IPTC: what a file says of its photo beside the EXIF.

XMP is an XML packet. IPTC-IIM are records of bytes, in a JPEG inside a Photoshop resource (APP13).
Both are carried as they are, except that XMP must not contradict the pixels that are written.
"""

from __future__ import annotations

import re
import struct
from typing import Any, cast

from PIL import Image

XMP_TAG, IPTC_TAG = 700, 33723  # of TIFF
IPTC_RESOURCE = 0x0404
JPEG_XMP_LIMIT = 65504  # bytes that fit into one segment
LARGEST = 4 << 20  # bytes
SIZES = b"tiff:ImageWidth|tiff:ImageLength|exif:PixelXDimension|exif:PixelYDimension"
STALE = re.compile(  # sizes, and the rest of a packet that does not fit into one segment
    rb'\s(?:%b|xmpNote:HasExtendedXMP)="[^"]*"|<(%b)>[^<]*</\1>' % (SIZES, SIZES)
)
ORIENTATION = re.compile(rb"(tiff:Orientation(?:=\"|>))\d")
OTHER_PICTURES = (  # namespaces by which XMP describes pictures behind the photo
    b"http://ns.adobe.com/hdr-gain-map/",
    b"http://ns.apple.com/HDRGainMap/",
    b"http://ns.google.com/photos/1.0/container/",
    b"http://ns.google.com/photos/1.0/depthmap/",
    b"http://ns.google.com/photos/dd/1.0/",
    b'MotionPhoto="1"',
    b'MicroVideo="1"',
)
EXTRA_PICTURES_NOTE = "other pictures in the file left out (a gain map, preview, depth or video)"


def read_xmp(image: Image.Image) -> tuple[bytes | None, list[str]]:
    """The XMP of an opened image, for upright pixels of any size, and notes."""
    xmp: Any = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
    xmp = xmp.encode() if isinstance(xmp, str) else xmp
    if not isinstance(xmp, bytes) or not xmp.strip(b"\0 \n"):
        return None, []
    if any(mark in xmp for mark in OTHER_PICTURES):
        return None, [EXTRA_PICTURES_NOTE]
    if len(xmp) > LARGEST:
        return None, ["XMP left out: it is too long"]
    return STALE.sub(b"", ORIENTATION.sub(rb"\g<1>1", xmp)), []


def read_iptc(image: Image.Image) -> bytes | None:
    """The IPTC records of an opened JPEG or TIFF."""
    data: Any = None
    if image.format in ("JPEG", "MPO"):
        data = cast(dict[int, Any], image.info.get("photoshop", {})).get(IPTC_RESOURCE)
    elif image.format == "TIFF":
        data = cast(Any, image).tag_v2.get(IPTC_TAG)
        data = data[0] if isinstance(data, tuple) and len(cast(Any, data)) == 1 else data
    return data if isinstance(data, bytes) and 0 < len(data) <= LARGEST else None


def iptc_segment(iptc: bytes) -> bytes:
    """IPTC records as a JPEG's segment APP13; at most 65,500 bytes."""
    resource = struct.pack(">4sHHI", b"8BIM", IPTC_RESOURCE, 0, len(iptc)) + iptc
    body = b"Photoshop 3.0\0" + resource + bytes(len(iptc) % 2)
    return struct.pack(">HH", 0xFFED, 2 + len(body)) + body
