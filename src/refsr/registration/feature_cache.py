"""A disk cache of the references' features; off unless a folder is named.

One file per photo and kind of features. Its key is made of the photo's path, size and modification
time, and of the versions that computed the features. A file that is damaged, missing or has another
key is computed again and replaced, so the folder may be deleted at any time. It holds neither the
photos nor their names.
"""

from __future__ import annotations

import hashlib
import os
import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import PIL

from refsr.errors import PhotoError
from refsr.image.atomic import atomic_write, check_writable, reason, without_links
from refsr.image.photo import Source
from refsr.registration.matching import Features

VERSION = 2  # increase it when decoding, thumbnails or features change
SUFFIX = ".features"
MAX_BYTES = 8_000_000  # of a file; 12,000 features take 3.3 MB
DIGEST_BYTES = 32  # at the start of a file: SHA-256 of the key and the rest
HEAD = struct.Struct("<dqI")  # then: shrink, pixels, the number of features
FEATURE = np.dtype(  # then the features; so a file's length says how many there are
    [("xy", "<f4", 2), ("size", "<f4"), ("angle", "<f4"), ("descriptor", "<f2", 128)]
)


@dataclass(frozen=True)
class CachedFeatures:
    """The cached features of a photo."""

    features: Features  # float16 holds their descriptors exactly, see DESCRIPTOR_STEPS
    shrink: float = 1.0  # pixels of the photo per pixel of the image the features are of
    pixels: int = 0  # of the photo


class FeatureCache:
    """A folder of features. Several processes and threads may use it at once."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        """Creates the folder if it is missing; ``notes`` says why it cannot be used, if so."""
        self.folder = Path(folder)
        self.notes: tuple[str, ...] = ()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            check_writable(self.folder / f"new{SUFFIX}")
        except (OSError, ValueError) as error:
            self.disable(reason(error) if isinstance(error, OSError) else "not a valid file name")
        except PhotoError as error:
            self.disable(str(error).rstrip("."))

    def disable(self, why: str) -> None:
        """Stop writing, and note why."""
        self.notes = (f"the feature cache {self.folder} cannot be written: {why}",)

    def entry(self, source: Source, kind: str) -> CacheEntry | None:
        """The entry of a photo's features of one ``kind``; None where ``source`` is not a file."""
        if not isinstance(source, str | os.PathLike):
            return None
        key = make_key(source, kind)
        if key is None:
            return None
        name = hashlib.sha256(os.fsencode(Path(source).absolute()) + b"\0" + kind.encode())
        return CacheEntry(self, source, kind, key, self.folder / (name.hexdigest()[:32] + SUFFIX))


@dataclass(frozen=True)
class CacheEntry:
    """One photo's features in the cache."""

    cache: FeatureCache
    source: str | os.PathLike[str]
    kind: str
    key: bytes  # of the photo as it was when the entry was requested
    path: Path

    def read(self) -> CachedFeatures | None:
        """The cached features of the photo as it is now, or None."""
        with suppress(OSError, ValueError, struct.error):
            if make_key(self.source, self.kind) != self.key:
                return None
            with open(self.path, "rb", opener=without_links) as file:
                data = file.read(MAX_BYTES)
            stored = data[DIGEST_BYTES:]
            if hashlib.sha256(self.key + stored).digest() == data[:DIGEST_BYTES]:
                return unpack(stored)
        return None

    def write(self, cached: CachedFeatures) -> None:
        """Store the features, unless the photo has changed since; note why where it fails."""
        if self.cache.notes or make_key(self.source, self.kind) != self.key:
            return
        stored = pack(cached)
        try:
            digest = hashlib.sha256(self.key + stored).digest()
            atomic_write(self.path, digest + stored, follow_links=False)
        except PhotoError as error:
            self.cache.disable(str(error).rstrip("."))


def pack(cached: CachedFeatures) -> bytes:
    """Cached features as the bytes of a file."""
    features = cached.features
    rows = np.zeros(len(features.xy), FEATURE)
    for name in FEATURE.names or ():
        rows[name] = getattr(features, name)
    return HEAD.pack(cached.shrink, cached.pixels, len(rows)) + rows.tobytes()


def unpack(stored: bytes) -> CachedFeatures:
    """The inverse of ``pack``; anybody may write into the folder.

    Raises ValueError for what no photo's features can be, struct.error for less than a head.
    """
    shrink, pixels, count = HEAD.unpack_from(stored)
    if len(stored) != HEAD.size + count * FEATURE.itemsize:
        raise ValueError("another number of features")
    rows = np.frombuffer(stored, FEATURE, offset=HEAD.size)
    xy, size, angle, descriptor = (
        np.ascontiguousarray(rows[name], np.float32) for name in FEATURE.names or ()
    )
    numbers = all(np.isfinite(one).all() for one in (xy, size, angle, descriptor))
    if not (numbers and 1e-3 < shrink < 1e6 and pixels >= 0 and np.abs(xy).max(initial=0) < 1e6):
        raise ValueError("features of no photo")
    return CachedFeatures(Features(xy, size, angle, descriptor), shrink, pixels)


def make_key(source: str | os.PathLike[str], kind: str) -> bytes | None:
    """A photo's path, size and modification time, and the versions that compute its features."""
    with suppress(OSError, ValueError):
        stat = Path(source).stat()
        path = os.fsencode(Path(source).absolute())
        versions = f"{VERSION} {cv2.__version__} {PIL.__version__} {kind}"
        return path + f"\0{stat.st_size} {stat.st_mtime_ns} {versions}\0".encode()
    return None
