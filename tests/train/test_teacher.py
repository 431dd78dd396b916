"""Training on a teacher's results, and growing a network: what both promise."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file

from networks import TINY
from refsr.arrays import Pixels
from refsr.errors import DataError, ModelError
from refsr.evaluate.metrics import psnr
from refsr.inference.network import Network
from refsr.model.grow import grown
from refsr.model.ssen import SSEN
from refsr.resize import imresize
from refsr.train.config import AdversarialConfig, DataConfig, RunConfig, TrainConfig, load_config
from refsr.train.data import Patches, stack
from refsr.train.datasets import Sample, blank
from refsr.train.loop import train
from refsr.train.teacher import Teacher
from refsr.train.trainer import Trainer
from refsr.weights.models import find_model


@pytest.fixture
def photo(natural: Pixels) -> Sample:
    """128 x 160 pixels of a photo, without reference."""
    hr = np.ascontiguousarray(natural[:128, :160])
    return blank(imresize(hr, scale=0.25), hr)


def taught_config(folder: Path, natural: Pixels, **changes: float) -> RunConfig:
    """A run on one photo, half of the patches with a foreign reference."""
    (folder / "photos").mkdir()
    Image.fromarray(natural[:128, :160]).save(folder / "photos" / "0.png")
    return RunConfig(
        out=str(folder / "run"),
        model=TINY,
        data=DataConfig(
            photos=(str(folder / "photos"),),
            cache=str(folder / "cache"),
            teacher="ssen-tiny",
            real=0.0,
            simulated=0.0,
            foreign=0.5,
            patch=64,
        ),
        train=TrainConfig(steps=2, batch=2, threads=1, bf16=False, warmup=1, **changes),
    )


def test_a_target_is_nearer_to_the_truth_than_one_view_and_true_to_the_photo(
    photo: Sample, tmp_path: Path
) -> None:
    soft = Teacher("ssen-tiny", tmp_path).taught(photo).soft
    assert soft is not None
    zero = np.zeros(photo.hr.shape, np.float32)
    network = Network(find_model("ssen-tiny"), threads=1)
    single, _ = network.run(photo.lr.astype(np.float32) / 255, zero, zero[..., 0])
    one_view = np.clip(np.rint(single * 255), 0, 255).astype(np.uint8)
    assert psnr(soft, photo.hr, border=4) > psnr(one_view, photo.hr, border=4) + 0.03
    shrunk = imresize(soft, scale=0.25).astype(float)
    assert np.abs(shrunk - photo.lr).mean() < 0.5


def test_a_target_is_made_once_for_each_model_and_reference(
    photo: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Teacher("ssen-tiny", tmp_path).taught(photo).soft
    full = np.full(photo.hr.shape[:2], 255, np.uint8)
    given = dataclasses.replace(photo, ref=photo.hr, validity=full)
    helped = Teacher("ssen-tiny", tmp_path).taught(given).soft
    assert first is not None
    assert helped is not None
    assert psnr(helped, photo.hr, border=4) > psnr(first, photo.hr, border=4) + 3

    def refuse(self: Teacher, sample: Sample) -> Pixels:
        raise AssertionError("made again")

    monkeypatch.setattr(Teacher, "target", refuse)
    for sample, before in ((photo, first), (given, helped)):
        again = Teacher("ssen-tiny", tmp_path).taught(sample).soft
        assert again is not None
        assert np.array_equal(again, before)
    with pytest.raises(AssertionError, match="made again"):
        Teacher("ssen", tmp_path).taught(photo)


def test_targets_are_cut_and_turned_with_their_patches(natural: Pixels, tmp_path: Path) -> None:
    patches = Patches(taught_config(tmp_path, natural).data, 1)
    foreign = 0
    for step in range(12):
        sample = patches.sample(step, 0)
        assert sample.soft is not None
        bicubic = psnr(imresize(sample.lr, scale=4), sample.hr, border=4)
        assert psnr(sample.soft, sample.hr, border=4) > bicubic + 0.3
        foreign += bool(sample.validity.any())
    assert 2 < foreign < 10


def test_the_truth_stands_in_where_no_teacher_has_looked(photo: Sample) -> None:
    soft = photo.hr // 2
    assert "soft" not in stack([photo, photo])
    both = stack([photo, dataclasses.replace(photo, soft=soft)])["soft"]
    assert np.array_equal(both[0], stack([photo])["hr"][0])
    assert np.allclose(both[1] * 255, soft.transpose(2, 0, 1))


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_the_loss_is_shared_between_truth_and_teacher(
    natural: Pixels, tmp_path: Path, share: float
) -> None:
    config = taught_config(tmp_path, natural, distillation=share)
    trainer = Trainer(config)
    batch = stack([Patches(config.data, 1).sample(0, index) for index in range(2)])
    with torch.no_grad():
        sr, _ = trainer.model(*(torch.from_numpy(batch[key]) for key in ("lr", "ref", "validity")))

    def distance(target: NDArray[np.float32]) -> float:
        return float(np.sqrt((sr.numpy().astype(float) - target) ** 2 + 1e-6).mean())

    truth, taught = distance(batch["hr"]), distance(batch["soft"])
    assert trainer.train_step(batch) == pytest.approx((1 - share) * truth + share * taught)
    assert trainer.terms["truth"] == pytest.approx(truth)
    assert trainer.terms["taught"] == pytest.approx(taught) != truth


def test_the_teachers_terms_stand_beside_the_adversarys(natural: Pixels, tmp_path: Path) -> None:
    config = taught_config(tmp_path, natural)
    config = dataclasses.replace(config, adversarial=AdversarialConfig(weight=1e-3, channels=4))
    trainer = Trainer(config)
    trainer.train_step(stack([Patches(config.data, 1).sample(0, index) for index in range(2)]))
    assert {"truth", "taught", "reconstruction", "adversarial"} < set(trainer.terms)


def test_a_run_with_a_teacher_trains(natural: Pixels, tmp_path: Path) -> None:
    assert (train(taught_config(tmp_path, natural)) / "last.safetensors").exists()


def test_what_is_wrong_with_a_teacher_is_said(natural: Pixels, tmp_path: Path) -> None:
    config = taught_config(tmp_path, natural, distillation=1.5)
    with pytest.raises(DataError, match=r"distillation = 1\.5 must be 0 to 1"):
        train(config)
    with pytest.raises(ModelError, match="no model 'ssen-tny'; did you mean 'ssen-tiny'"):
        Patches(dataclasses.replace(config.data, teacher="ssen-tny"), 1)


def test_a_teachers_file_is_found_from_the_configurations_folder(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('[data]\nteacher = "models/own.onnx"\n')
    assert load_config(path).data.teacher == str(tmp_path / "models" / "own.onnx")
    path.write_text('[data]\nteacher = "ssen"\n')
    assert load_config(path).data.teacher == "ssen"


# Growing


def test_a_grown_network_computes_the_same_and_learns(natural: Pixels) -> None:
    torch.manual_seed(3)
    small = SSEN(TINY).eval()
    large = grown(small, dataclasses.replace(TINY, reconstruction_blocks=3))
    assert not large.training
    lr, hr, validity = torch.rand(1, 3, 16, 16), torch.rand(1, 3, 64, 64), torch.ones(1, 1, 64, 64)
    with torch.no_grad():
        for one, other in zip(small(lr, hr, validity), large(lr, hr, validity), strict=True):
            assert torch.equal(one, other)
    large(lr, hr, validity)[0].square().mean().backward()
    last = list(large.reconstruct.children())[-1]
    assert all(value.grad is not None for value in last.parameters())
    assert last.conv2.weight.grad.abs().max() > 0


@pytest.mark.parametrize(
    "change",
    [{"reconstruction_blocks": 0}, {"channels": 16}, {"trunk": "rcan", "rcan_reduction": 4}],
)
def test_a_network_grows_in_one_way_only(change: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="another network"):
        grown(SSEN(TINY), dataclasses.replace(TINY, **change))


def labelled_config(folder: Path, natural: Pixels, **changes: Any) -> RunConfig:
    """A run without the reference path on one photo, whose label is the photo, inverted."""
    config = taught_config(folder, natural, reference_path=False, **changes)
    (folder / "labels" / "photos").mkdir(parents=True)
    Image.fromarray(255 - natural[:128, :160]).save(folder / "labels" / "photos" / "0.png")
    data = dataclasses.replace(config.data, teacher="", labels=str(folder / "labels"), foreign=0.0)
    return dataclasses.replace(config, data=data)


def test_labels_are_the_targets_of_their_photos(tmp_path: Path, natural: Pixels) -> None:
    """Cropped and turned as the photo is; a photo without label has the truth in its place."""
    config = labelled_config(tmp_path, natural)
    Image.fromarray(natural[128:256, :160]).save(tmp_path / "photos" / "without.png")
    patches = Patches(config.data, seed=1)
    labelled = 0
    for index in range(12):
        sample = patches.sample(0, index)
        if sample.soft is None:
            continue
        labelled += 1
        np.testing.assert_array_equal(sample.soft, 255 - sample.hr)
    assert 0 < labelled < 12
    batch = stack([patches.sample(0, index) for index in range(12)])
    same = [(h == s).all() for h, s in zip(batch["hr"], batch["soft"], strict=True)]
    assert sum(same) == 12 - labelled


def test_a_label_of_another_size_is_refused(tmp_path: Path, natural: Pixels) -> None:
    config = labelled_config(tmp_path, natural)
    data = dataclasses.replace(config.data, max_side=96)
    with pytest.raises(DataError, match=r"0\.png has 160 x 128 pixels .* 96 x 76; is max_side"):
        Patches(data, seed=1)


def test_without_the_reference_path_nothing_of_it_is_trained(
    tmp_path: Path, natural: Pixels
) -> None:
    """And the patch need not fit the attention's windows."""
    config = labelled_config(tmp_path, natural)
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, patch=72))
    torch.manual_seed(config.train.seed)
    before = SSEN(config.model).state_dict()
    train(config)
    after = load_file(tmp_path / "run" / "last.safetensors")
    changed = {name.split(".")[0] for name, value in after.items() if (value != before[name]).any()}
    assert changed == {"lr_in", "extract", "fuse", "reconstruct", "shuffle", "out"}
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").open()]
    assert log[-1]["taught"] > 2 * log[-1]["truth"]  # the label is the inverted photo
