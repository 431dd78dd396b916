"""What is known of references, kept on disk from run to run; off unless a folder is named.

One file a photo and kind of features. It serves the photo as it is now: the key is made of the
path, size and time of change, and of what computed the features. A file that is damaged, of another
key or no such file at all is computed anew and replaced, so the folder may be removed at any time.
The photos themselves, and their names, are not in it.
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

VERSION = 1  # raise it where decoding, thumbnails or features give anything else than before
SUFFIX = ".features"
MOST_BYTES = 8_000_000  # of a file; 12,000 features take 3.3 MB
NAMES = "xy", "size", "angle", "descriptor"  # the arrays of Features
DIGEST = 32  # bytes of SHA-256, over the key and the arrays; with them a file begins


@dataclass(frozen=True)
class Kept:
    """What is kept of a photo."""

    features: Features  # descriptors in steps of 1 / STEPS, which float16 holds exactly
    shrink: float = 1.0  # pixels of the photo per pixel in which the features are given
    pixels: int = 0  # of the photo


class FeatureCache:
    """A folder of features. Several programs and threads may use it at once."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        """Makes the folder where it is missing; ``notes`` says if nothing can be kept there."""
        self.folder = Path(folder)
        self.notes: tuple[str, ...] = ()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            check_writable(self.folder / f"new{SUFFIX}")
        except (OSError, ValueError) as error:
            self.refuse(reason(error) if isinstance(error, OSError) else "no possible name")
        except PhotoError as error:
            self.refuse(str(error).rstrip("."))

    def refuse(self, why: str) -> None:
        """Keep nothing more, and say why."""
        self.notes = (f"nothing is kept in the cache {self.folder}: {why}",)

    def entry(self, source: Source, kind: str) -> Entry | None:
        """The place of a photo's features of a ``kind``; None for what is no file."""
        if not isinstance(source, str | os.PathLike):
            return None
        key = key_of(source, kind)
        if key is None:
            return None
        name = hashlib.sha256(os.fsencode(Path(source).absolute()) + b"\0" + kind.encode())
        return Entry(self, source, kind, key, self.folder / (name.hexdigest()[:32] + SUFFIX))


@dataclass(frozen=True)
class Entry:
    """The place of one photo's features."""

    cache: FeatureCache
    source: str | os.PathLike[str]
    kind: str
    key: bytes  # of the photo as it was when this was made
    path: Path

    def read(self) -> Kept | None:
        """What is kept of the photo as it is; None where that is nothing."""
        with suppress(OSError, ValueError, KeyError, zipfile.BadZipFile, MemoryError):
            if not self.path.is_file() or self.path.stat().st_size > MOST_BYTES:
                return None
            if key_of(self.source, self.kind) != self.key:
                return None
            data = self.path.read_bytes()
            arrays = data[DIGEST:]
            if hashlib.sha256(self.key + arrays).digest() != data[:DIGEST]:
                return None
            with np.load(io.BytesIO(arrays), allow_pickle=False) as found:
                xy, size, angle, halved = (found[name] for name in NAMES)
                features = Features(xy, size, angle, halved.astype(np.float32))
                return Kept(features, float(found["shrink"]), int(found["pixels"]))
        return None

    def write(self, kept: Kept) -> None:
        """Keep this, unless the photo has changed meanwhile; where it cannot be, note why."""
        if self.cache.notes or key_of(self.source, self.kind) != self.key:
            return
        features = kept.features
        halved = replace(features, descriptor=features.descriptor.astype(np.float16))
        file = io.BytesIO()
        np.savez(file, shrink=np.float64(kept.shrink), pixels=kept.pixels, **vars(halved))
        arrays = file.getvalue()
        try:
            atomic_write(self.path, hashlib.sha256(self.key + arrays).digest() + arrays)
        except PhotoError as error:
            self.cache.refuse(str(error).rstrip("."))


def key_of(source: str | os.PathLike[str], kind: str) -> bytes | None:
    """What features hang on: the photo's path, size and time, and all that computes them."""
    with suppress(OSError, ValueError):
        facts = Path(source).stat()
        path = os.fsencode(Path(source).absolute())
        made = f"{VERSION} {cv2.__version__} {PIL.__version__} {kind}"
        return path + f"\0{facts.st_size} {facts.st_mtime_ns} {made}\0".encode()
    return None
