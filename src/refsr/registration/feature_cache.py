"""A disk cache of the references' features; off unless a folder is named.

One file per photo and kind of features. Its key is made of the photo's path, size and modification
time, and of the versions that computed the features. A file that is damaged, missing or has another
key is computed again and replaced, so the folder may be deleted at any time. It holds neither the
photos nor their names.
"""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import PIL

from refsr.errors import PhotoError
from refsr.image.atomic import atomic_write, check_writable, reason
from refsr.image.photo import Source
from refsr.registration.matching import Features

VERSION = 1  # increase it when decoding, thumbnails or features change
SUFFIX = ".features"
MAX_BYTES = 8_000_000  # of a file; 12,000 features take 3.3 MB
ARRAYS = "xy", "size", "angle", "descriptor"  # the arrays of Features
DIGEST_BYTES = 32  # at the start of a file: SHA-256 of the key and the arrays


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
        with suppress(OSError, ValueError, KeyError, zipfile.BadZipFile, MemoryError):
            if not self.path.is_file() or self.path.stat().st_size > MAX_BYTES:
                return None
            if make_key(self.source, self.kind) != self.key:
                return None
            data = self.path.read_bytes()
            arrays = data[DIGEST_BYTES:]
            if hashlib.sha256(self.key + arrays).digest() != data[:DIGEST_BYTES]:
                return None
            with np.load(io.BytesIO(arrays), allow_pickle=False) as found:
                xy, size, angle, halved = (found[name] for name in ARRAYS)
                features = Features(xy, size, angle, halved.astype(np.float32))
                return CachedFeatures(features, float(found["shrink"]), int(found["pixels"]))
        return None

    def write(self, cached: CachedFeatures) -> None:
        """Store the features, unless the photo has changed since; note why where it fails."""
        if self.cache.notes or make_key(self.source, self.kind) != self.key:
            return
        features = cached.features
        halved = replace(features, descriptor=features.descriptor.astype(np.float16))
        file = io.BytesIO()
        np.savez(file, shrink=np.float64(cached.shrink), pixels=cached.pixels, **vars(halved))
        arrays = file.getvalue()
        try:
            atomic_write(self.path, hashlib.sha256(self.key + arrays).digest() + arrays)
        except PhotoError as error:
            self.cache.disable(str(error).rstrip("."))


def make_key(source: str | os.PathLike[str], kind: str) -> bytes | None:
    """A photo's path, size and modification time, and the versions that compute its features."""
    with suppress(OSError, ValueError):
        stat = Path(source).stat()
        path = os.fsencode(Path(source).absolute())
        versions = f"{VERSION} {cv2.__version__} {PIL.__version__} {kind}"
        return path + f"\0{stat.st_size} {stat.st_mtime_ns} {versions}\0".encode()
    return None
