"""Packs the data of a training run into a few files for transfer, and unpacks them there.

    python research/pack_training_data.py pack configs/small.toml gpu_packs
    python research/pack_training_data.py unpack configs/gpu.toml gpu_packs gpu_data

A pack is a plain tar below ``--mib``: photos shrunk to the run's size (JPEG, quality 95; small
JPEGs are kept as they are), the files of the benchmark and of patch pairs, and of every registered
pair in the cache the aligned reference (JPEG, quality 95) and its validity (PNG). Unpacking
rebuilds the cache from those; packs may arrive one by one, in any order.
"""

from __future__ import annotations

import argparse
import io
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import permutations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from refsr.resize import SCALE, imresize
from refsr.train.config import DataConfig, load_config
from refsr.train.datasets import image_files, load_hr
from refsr.train.pair_cache import cache_file

QUALITY = 95
BLOCK = 512  # bytes of a tar block; a member is a header block and whole blocks of content


def jpeg(pixels: NDArray[np.uint8]) -> bytes:
    """RGB (H, W, 3) as JPEG without color subsampling."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "jpeg", quality=QUALITY, subsampling=0)
    return out.getvalue()


def png(pixels: NDArray[np.uint8]) -> bytes:
    """A plane (H, W) as PNG."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "png")
    return out.getvalue()


def small_photo(path: Path, max_side: int) -> bytes:
    """The file's bytes if it is a JPEG of at most ``max_side``; else shrunk to it as JPEG."""
    with Image.open(path) as image:
        if image.format == "JPEG" and max(image.size) <= max_side:
            return path.read_bytes()
    return jpeg(load_hr(path, max_side))


def members(config: DataConfig) -> Iterator[tuple[str, bytes]]:
    """The name and bytes of every file to pack."""
    for path in image_files(Path(config.benchmark)) if config.benchmark else []:
        yield f"benchmark/{path.name}", path.read_bytes()
    for number, folder in enumerate(config.photos):
        for index, path in enumerate(image_files(Path(folder))):
            name = f"photos/{number}/{index:05}-{path.stem}.jpg"
            yield name, small_photo(path, config.max_side)
    for part in ("input", "ref") if config.patch_pairs else ():
        for path in image_files(Path(config.patch_pairs) / part):
            yield f"patch_pairs/{part}/{path.name}", path.read_bytes()
    if not config.pairs:
        return
    held_out = Path(config.held_out).read_bytes() if config.held_out else b""
    yield "pairs/validation.txt", held_out
    for folder in sorted(path for path in Path(config.pairs).iterdir() if path.is_dir()):
        views = image_files(folder)
        for path in views:
            yield f"pairs/{folder.name}/{path.stem}.jpg", small_photo(path, config.max_side)
        for first, second in permutations(views, 2):
            cached = cache_file(config, folder.name, first, second)
            name = f"registered/{folder.name}/{first.stem}/{second.stem}"
            if not cached.exists():
                print(f"{cached.name} is not in the cache and will be registered there.")
            elif cached.stat().st_size:
                with np.load(cached) as arrays:
                    yield f"{name}.jpg", jpeg(arrays["ref"])
                    yield f"{name}.png", png(arrays["validity"])
            else:
                yield f"{name}.none", b""


def pack(config: DataConfig, out: Path, limit: int) -> list[Path]:
    """Write packs below ``limit`` bytes and return their paths; earlier packs are removed."""
    out.mkdir(parents=True, exist_ok=True)
    for path in out.glob("pack_*.tar"):
        path.unlink()
    packs: list[Path] = []
    pending: list[tuple[str, bytes]] = []
    used = 0

    def close() -> None:
        packs.append(out / f"pack_{len(packs)}.tar")
        with tarfile.open(packs[-1], "w", format=tarfile.USTAR_FORMAT) as tar:
            for name, content in pending:
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
        pending.clear()

    for name, content in tqdm(members(config), desc="packed", disable=None):
        size = BLOCK * (1 + -(-len(content) // BLOCK))
        if pending and used + size > limit - tarfile.RECORDSIZE:  # a record holds the tar's end
            close()
            used = 0
        pending.append((name, content))
        used += size
    close()
    return packs


def rebuild(folder: Path, config: DataConfig, file: Path) -> None:
    """Rebuild one pair of the cache from its files, if they and its photo have arrived."""
    first = file.parent
    cached = cache_file(config, first.parent.name, first, file)
    hr_path = folder / "pairs" / first.parent.name / f"{first.name}.jpg"
    if cached.exists() or not hr_path.exists() or file.suffix == ".png":
        return
    validity_path = file.with_suffix(".png")
    if file.suffix == ".jpg" and not validity_path.exists():
        return
    partial_file = cached.with_suffix(".tmp")
    with partial_file.open("wb") as out:
        if file.suffix == ".jpg":  # else .none: an empty file for a pair that does not register
            hr = load_hr(hr_path, config.max_side)
            ref, validity = (np.asarray(Image.open(path)) for path in (file, validity_path))
            np.savez(out, lr=imresize(hr, scale=1 / SCALE), hr=hr, ref=ref, validity=validity)
    partial_file.replace(cached)


def unpack(packs: Path, folder: Path, max_side: int) -> int:
    """Unpack every pack and rebuild the cache; returns the number of pairs in it."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(packs.glob("pack_*.tar")):
        with tarfile.open(path) as tar:
            tar.extractall(folder, filter="data")
    config = DataConfig(cache=str(folder / "cache"), max_side=max_side)
    Path(config.cache).mkdir(exist_ok=True)
    files = sorted((folder / "registered").glob("*/*/*"))
    with ThreadPoolExecutor() as pool:
        jobs = pool.map(partial(rebuild, folder, config), files)
        for _ in tqdm(jobs, desc="cache", total=len(files), disable=None):
            pass
    return len(list(Path(config.cache).glob("*.npz")))


def main() -> None:
    """The two commands of the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    packing = commands.add_parser("pack", help="write the packs of a run")
    packing.add_argument("config", type=Path, help="the run's TOML file")
    packing.add_argument("out", type=Path, help="folder for the packs")
    packing.add_argument("--mib", type=int, default=48, help="largest size of a pack")
    unpacking = commands.add_parser("unpack", help="unpack, and rebuild the cache")
    unpacking.add_argument("config", type=Path, help="the TOML file of the run there")
    unpacking.add_argument("packs", type=Path, help="folder of packs")
    unpacking.add_argument("out", type=Path, help="folder for the data")
    given = parser.parse_args()
    data = load_config(given.config).data
    if given.command == "pack":
        for path in pack(data, given.out, given.mib << 20):
            print(f"{path}: {path.stat().st_size / 2**20:.1f} MiB")
    else:
        print(f"{given.out}: {unpack(given.packs, given.out, data.max_side)} pairs in the cache")


if __name__ == "__main__":
    main()
