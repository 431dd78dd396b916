"""The packs that carry a run's data to a machine with a GPU, and the script that trains there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from refsr.resize import imresize
from refsr.train.config import DataConfig
from refsr.train.datasets import image_files, load_hr, split_scenes
from refsr.train.pair_cache import cache_file, cached_pairs
from refsr.train.sampler import PatchSampler

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def packing(scripts: Callable[[str], ModuleType]) -> ModuleType:
    return scripts("pack_training_data")


@pytest.fixture
def source(tmp_path: Path, natural: NDArray[np.uint8]) -> DataConfig:
    """Two scenes of two views, one held out; in the cache a match and three that do not."""
    root = tmp_path / "source"
    views = [natural, np.ascontiguousarray(natural[::-1])]
    for folder in ("photos", "benchmark", "pairs/house", "pairs/tree"):
        (root / folder).mkdir(parents=True)
        for index, pixels in enumerate(views):
            ending = "jpg" if folder == "pairs/house" else "png"
            Image.fromarray(pixels).save(root / folder / f"{index}.{ending}", quality=90)
    (root / "held.txt").write_text("tree\n")
    config = DataConfig(
        photos=(str(root / "photos"),),
        pairs=str(root / "pairs"),
        held_out=str(root / "held.txt"),
        benchmark=str(root / "benchmark"),
        cache=str(root / "cache"),
        max_side=240,
        patch=128,
    )
    Path(config.cache).mkdir()
    for scene in ("house", "tree"):
        first, second = image_files(root / "pairs" / scene)
        for a, b in ((first, second), (second, first)):
            with cache_file(config, scene, a, b).open("wb") as file:
                if scene == "house" and a == first:
                    hr = load_hr(a, config.max_side)
                    validity = np.full(hr.shape[:2], 255, np.uint8)
                    validity[:50] = 0
                    lr = imresize(hr, scale=0.25)
                    np.savez(file, lr=lr, hr=hr, ref=hr, validity=validity)
    return config


def test_what_is_packed_arrives(packing: ModuleType, source: DataConfig, tmp_path: Path) -> None:
    limit = 150_000
    packs = packing.pack(source, tmp_path / "packs", limit)
    assert len(packs) > 2
    assert all(path.stat().st_size < limit for path in packs)
    for path in reversed(packs):  # one by one, in the wrong order
        (tmp_path / "arrived").mkdir(exist_ok=True)
        shutil.move(path, tmp_path / "arrived" / path.name)
        packing.unpack(tmp_path / "arrived", tmp_path / "data", source.max_side)
        (tmp_path / "arrived" / path.name).unlink()
    data = tmp_path / "data"
    there = DataConfig(
        photos=(str(data / "photos"),),
        pairs=str(data / "pairs"),
        held_out=str(data / "pairs" / "validation.txt"),
        benchmark=str(data / "benchmark"),
        cache=str(data / "cache"),
        max_side=source.max_side,
        patch=source.patch,
    )
    assert [[f.name for f in part] for part in split_scenes(there)] == [["house"], ["tree"]]
    before = {path.name: path.stat().st_size > 0 for path in Path(source.cache).iterdir()}
    after = {path.name: path.stat().st_size > 0 for path in Path(there.cache).iterdir()}
    assert after == before
    assert sum(after.values()) == 1
    old, new = (cached_pairs(split_scenes(config)[0], config)[0] for config in (source, there))
    assert np.abs(old.hr.astype(int) - new.hr).mean() < 3  # one more JPEG
    assert np.abs(old.ref.astype(int) - new.ref).mean() < 3
    np.testing.assert_array_equal(old.validity, new.validity)
    np.testing.assert_array_equal(new.lr, imresize(new.hr, scale=0.25))
    for config in (source, there):
        assert len(image_files(Path(config.benchmark))) == 2
        assert len(PatchSampler(config, 1).photos) == 4


def test_patch_pairs_travel_as_they_are(packing: ModuleType, tmp_path: Path) -> None:
    config = DataConfig(patch_pairs=str(tmp_path))
    for part in ("input", "ref"):
        (tmp_path / part).mkdir()
        (tmp_path / part / "H_0_7595161@N07.png").write_bytes(part.encode())
    assert dict(packing.members(config)) == {
        "patch_pairs/input/H_0_7595161@N07.png": b"input",
        "patch_pairs/ref/H_0_7595161@N07.png": b"ref",
    }


def test_a_small_jpeg_travels_as_it_is(packing: ModuleType, source: DataConfig) -> None:
    photo = image_files(Path(source.pairs) / "house")[0]
    assert packing.small_photo(photo, 256) == photo.read_bytes()
    assert packing.small_photo(photo, 255) != photo.read_bytes()


@pytest.mark.posix
@pytest.mark.slow
def test_the_script_trains_stops_and_continues(
    packing: ModuleType, source: DataConfig, tmp_path: Path
) -> None:
    """The whole script on the processor, in a copy of the repository, with a tiny network."""
    root = tmp_path / "repository"
    for folder in ("src", "research", "configs"):
        shutil.copytree(ROOT / folder, root / folder)
    keep = ("out", "photos", "pairs", "held_out", "benchmark", "cache", "minutes", "[")
    config = root / "configs" / "gpu.toml"
    lines = [line for line in config.read_text().splitlines() if line.startswith(keep)]
    tiny = {
        "[model]": "channels = 8\nfeature_blocks = 1\nreconstruction_blocks = 1\n"
        "offset_channels = 8\nattention_window = 8",
        "[data]": f"patch = 128\nmax_side = {source.max_side}",
        "[train]": "batch = 1\nthreads = 1\nsteps = 1000000",
    }
    config.write_text("\n".join(f"{line}\n{tiny.get(line, '')}" for line in lines))
    packing.pack(source, root / "gpu_packs", 1 << 20)
    script = root / "research" / "train_gpu.sh"
    out = tmp_path / "out"
    out.mkdir()
    environment = os.environ | {"OUT": str(out), "PYTHON": sys.executable}

    def call(*arguments: str) -> None:
        subprocess.run(["bash", str(script), *arguments], env=environment, check=True)

    call("60", "0.4")  # stopped by its own time, which on a busy machine is mostly spent on loading
    first = out / "state.pt.00"
    assert first.stat().st_size > 100_000
    shutil.rmtree(root / "runs")  # a fresh machine
    shutil.copy(first, root / "gpu_packs")
    call("0.001")  # the whole run's time is up at once
    logged = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert logged[-1]["step"] > 1
    assert (out / "best.safetensors").exists()
