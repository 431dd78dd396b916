"""Training on unregistered patch pairs (CUFED) and on photos without reference (DIV2K)."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from networks import TINY
from refsr.arrays import Pixels
from refsr.data.layouts import Pair
from refsr.errors import DataError
from refsr.model.checkpoint import load_weights
from refsr.resize import imresize
from refsr.train.config import DataConfig, RunConfig, TrainConfig, load_config
from refsr.train.datasets import load_patch_pair, split_patch_pairs
from refsr.train.loop import train
from refsr.train.sampler import PatchSampler
from refsr.train.validation import Validation

# A patch of the paper's, 160, is one window.
PAPERS = dataclasses.replace(TINY, attention_window=40)


@pytest.fixture
def cufed(tmp_path: Path, natural: Pixels) -> Path:
    """Twelve pairs in CUFED's layout, one reference a row short; the reference lies 8 px off."""
    folder = tmp_path / "cufed"
    for part in ("input", "ref"):
        (folder / part).mkdir(parents=True)
    for index in range(12):
        left = 7 * index
        image = natural[10:170, left : left + 160]
        other = natural[18 : 178 - (index == 3), left + 8 : left + 168]
        Image.fromarray(image).save(folder / "input" / f"{index:02}.png")
        Image.fromarray(other).save(folder / "ref" / f"{index:02}.png")
    return folder


def unregistered(folder: Path, **changes: object) -> DataConfig:
    config = DataConfig(
        patch_pairs=str(folder),
        patch=160,
        real=0.0,
        simulated=0.0,
        mismatched=0.0,
        unregistered=1.0,
        flips=False,
    )
    return dataclasses.replace(config, **changes)


def test_a_pair_is_loaded_unregistered(cufed: Path, natural: Pixels) -> None:
    sample = load_patch_pair(Pair(cufed / "input/05.png", (cufed / "ref/05.png",), "cufed"), 160)
    np.testing.assert_array_equal(sample.hr, natural[10:170, 35:195])
    np.testing.assert_array_equal(sample.ref, natural[18:178, 43:203])
    np.testing.assert_array_equal(sample.lr, imresize(sample.hr, scale=0.25))
    assert (sample.validity == 255).all()


def test_a_smaller_reference_is_padded_and_not_valid_there(cufed: Path, natural: Pixels) -> None:
    sample = load_patch_pair(Pair(cufed / "input/03.png", (cufed / "ref/03.png",), "cufed"), 160)
    assert sample.ref.shape == (160, 160, 3)
    np.testing.assert_array_equal(sample.ref[:159], natural[18:177, 29:189])
    np.testing.assert_array_equal(sample.ref[159], sample.ref[158])
    assert (sample.validity[:159] == 255).all()
    assert (sample.validity[159] == 0).all()


def test_a_larger_reference_is_cropped(cufed: Path, natural: Pixels) -> None:
    Image.fromarray(natural).save(cufed / "ref/05.png")
    sample = load_patch_pair(Pair(cufed / "input/05.png", (cufed / "ref/05.png",), "cufed"), 160)
    np.testing.assert_array_equal(sample.ref, natural[:160, :160])


def test_what_cannot_be_a_pair_is_said(cufed: Path, natural: Pixels) -> None:
    Image.fromarray(natural[:70, :160]).save(cufed / "ref/00.png")
    with pytest.raises(DataError, match=r"00\.png has 160 x 70 pixels and its input 160 x 160"):
        PatchSampler(unregistered(cufed), 1)
    Image.fromarray(natural[:160, :156]).save(cufed / "input/00.png")
    with pytest.raises(DataError, match=r"input/00\.png has 156 x 160 pixels; .* needs 160 a side"):
        PatchSampler(unregistered(cufed), 1)
    (cufed / "input/00.png").write_bytes(b"no photo")
    with pytest.raises(DataError, match=r"A training pair cannot be used: .*00\.png"):
        PatchSampler(unregistered(cufed), 1)
    (cufed / "input/00.png").unlink()
    with pytest.raises(DataError, match=r"ref/00\.png is the reference of no photo"):
        PatchSampler(unregistered(cufed), 1)
    with pytest.raises(DataError, match="must hold the folders input and ref"):
        PatchSampler(unregistered(cufed / "input"), 1)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"simulated": 0.3}, "unregistered = 1 must not be negative or exceed 1 in total"),
        ({"mismatched": -0.1}, "must not be negative"),
        ({"patch_pairs": ""}, "unregistered = 1 needs the folder patch_pairs"),
        ({"patch_pairs": "", "unregistered": 0.0}, "nothing to train on"),
    ],
)
def test_shares_that_do_not_add_up_are_said(
    cufed: Path, changes: dict[str, object], sentence: str
) -> None:
    with pytest.raises(DataError, match=sentence):
        PatchSampler(unregistered(cufed, **changes), 1)


def test_some_pairs_are_held_out(cufed: Path) -> None:
    used, held_out = split_patch_pairs(cufed)
    assert [pair.input.stem for pair in held_out] == ["10", "11"]
    assert len(used) == 10
    for name in ("09", "10", "11"):
        (cufed / "input" / f"{name}.png").unlink()
        (cufed / "ref" / f"{name}.png").unlink()
    assert [len(part) for part in split_patch_pairs(cufed)] == [9, 0]  # too few to spare any


def test_patches_turn_input_and_reference_alike(cufed: Path, natural: Pixels) -> None:
    sampler = PatchSampler(unregistered(cufed), 1)
    assert len(sampler.patch_pairs) == 10
    turned: set[int] = set()
    for index in range(40):
        sample = sampler.sample(0, index)
        for turns in range(4):
            back = np.rot90(sample.hr, -turns)
            for pair in sampler.patch_pairs:
                if np.array_equal(back, pair.hr):
                    np.testing.assert_array_equal(np.rot90(sample.ref, -turns), pair.ref)
                    np.testing.assert_array_equal(np.rot90(sample.validity, -turns), pair.validity)
                    turned.add(turns)
    assert turned == {0, 1, 2, 3}  # every sample is one of the pairs, turned, never mirrored


def test_without_photos_the_inputs_serve_as_photos(cufed: Path) -> None:
    sampler = PatchSampler(unregistered(cufed, unregistered=0.5, mismatched=0.2, patch=64), 1)
    samples = [sampler.sample(step, 0) for step in range(40)]
    blank = sum(not sample.validity.any() for sample in samples)
    assert 5 <= blank <= 20  # three in ten
    assert all(sample.hr.shape == (64, 64, 3) for sample in samples)


def test_photos_on_disk_give_the_same_samples(tmp_path: Path, natural: Pixels) -> None:
    folder = tmp_path / "DIV2K_train_HR"
    folder.mkdir()
    for index in range(3):
        Image.fromarray(np.roll(natural, 31 * index, 1)).save(folder / f"{index + 1:04}.png")
    config = DataConfig(
        photos=(str(folder),),
        cache=str(tmp_path / "cache"),
        max_side=2048,
        patch=192,
        real=0.0,
        simulated=0.2,
        mismatched=0.0,
    )
    mapped = dataclasses.replace(config, map_photos=True)

    def samples(config: DataConfig) -> list[bytes]:
        drawn = [PatchSampler(config, 1).sample(step, 0) for step in range(6)]
        return [part.tobytes() for sample in drawn for part in sample.images().values()]

    assert samples(config) == samples(mapped)
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()}
    assert len(kept) == 6
    assert isinstance(PatchSampler(mapped, 1).photos[0].hr.base, np.memmap)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept  # decoded once
    Image.fromarray(natural[::-1]).save(folder / "0001.png")
    os.utime(folder / "0001.png", ns=(1, 1))
    assert samples(config) == samples(mapped)  # a changed photo is decoded anew


def test_the_configuration_finds_the_pairs(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('[data]\npatch_pairs = "cufed"\nunregistered = 1\n')
    config = load_config(tmp_path / "a.toml").data
    assert config.patch_pairs == str(tmp_path / "cufed")
    assert config.flips


@pytest.mark.parametrize(
    ("name", "patch", "kinds"), [("paper", 160, (1.0, 1)), ("paper_self", 192, (0.0, 0))]
)
def test_the_papers_configurations(name: str, patch: int, kinds: tuple[float, int]) -> None:
    config = load_config(Path(__file__).parents[2] / "configs" / f"{name}.toml")
    data, schedule = config.data, config.train
    assert data.patch == patch
    assert patch % (4 * config.model.multiple) == 0
    assert (data.unregistered, bool(data.patch_pairs)) == kinds
    assert data.real == data.simulated == data.mismatched == 0.0
    assert not data.flips
    assert (schedule.steps, schedule.batch, schedule.learning_rate) == (100_000, 32, 1e-4)
    assert schedule.optimizer == "adam"
    assert (config.model.trunk, config.model.deform_layers) == (
        ("rcan" if name == "paper_self" else "edsr"),
        3,
    )


def run_config(data: DataConfig, out: Path) -> RunConfig:
    schedule = TrainConfig(
        steps=3, batch=2, threads=1, bf16=False, warmup=2, validate_every=100, learning_rate=1e-3
    )
    return RunConfig(out=str(out), model=PAPERS, data=data, train=schedule)


def train_on(folder: Path, out: Path) -> set[str]:
    """Train three steps on the pairs of a folder; the names of what the validation measures."""
    config = run_config(unregistered(folder), out)
    train(config)
    scores, _ = Validation(config).run(load_weights(out / "last.safetensors")[0])
    return set(scores)


def test_patch_pairs_train_and_validate_a_network(cufed: Path, tmp_path: Path) -> None:
    kinds = ("given", "blank", "mismatched", "gap")
    assert train_on(cufed, tmp_path / "run") == {f"patch_pairs/{kind}" for kind in kinds}


def test_the_samples_of_cufed_train_a_network(shared_data: Path, tmp_path: Path) -> None:
    for part in ("input", "ref"):
        (tmp_path / part).symlink_to(shared_data / "cufed_samples" / f"train_{part}")
    samples = PatchSampler(unregistered(tmp_path), 1).patch_pairs
    assert len(samples) == 8  # ten, two of them held out
    assert sum(bool((sample.validity == 0).any()) for sample in samples) == 1  # 159 pixels wide
    assert "patch_pairs/given" in train_on(tmp_path, tmp_path / "run")
