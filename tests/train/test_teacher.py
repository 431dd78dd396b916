"""Distillation from a teacher: its targets, their cache, and the loss."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from refsr.arrays import Pixels
from refsr.errors import DataError, ModelError
from refsr.evaluate.metrics import psnr
from refsr.inference.network import Network
from refsr.resize import imresize
from refsr.train.collate import stack
from refsr.train.config import AdversarialConfig, load_config
from refsr.train.datasets import Sample, without_reference
from refsr.train.loop import train
from refsr.train.sampler import PatchSampler
from refsr.train.teacher import Teacher
from refsr.train.trainer import Trainer
from refsr.weights.models import find_model
from runs import distillation_run


@pytest.fixture
def photo(natural: Pixels) -> Sample:
    """128 x 160 pixels of a photo, without reference."""
    hr = np.ascontiguousarray(natural[:128, :160])
    return without_reference(imresize(hr, scale=0.25), hr)


def test_a_target_is_nearer_to_the_truth_than_one_view_and_true_to_the_photo(
    photo: Sample, tmp_path: Path
) -> None:
    target = Teacher("ssen-tiny", tmp_path).add_target(photo).target
    assert target is not None
    zero = np.zeros(photo.hr.shape, np.float32)
    network = Network(find_model("ssen-tiny"), threads=1)
    single, _ = network.run(photo.lr.astype(np.float32) / 255, zero, zero[..., 0])
    one_view = np.clip(np.rint(single * 255), 0, 255).astype(np.uint8)
    assert psnr(target, photo.hr, border=4) > psnr(one_view, photo.hr, border=4) + 0.03
    shrunk = imresize(target, scale=0.25).astype(float)
    assert np.abs(shrunk - photo.lr).mean() < 0.5


def test_a_target_is_made_once_for_each_model_and_reference(
    photo: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Teacher("ssen-tiny", tmp_path).add_target(photo).target
    full = np.full(photo.hr.shape[:2], 255, np.uint8)
    given = dataclasses.replace(photo, ref=photo.hr, validity=full)
    helped = Teacher("ssen-tiny", tmp_path).add_target(given).target
    assert first is not None
    assert helped is not None
    assert psnr(helped, photo.hr, border=4) > psnr(first, photo.hr, border=4) + 3

    def refuse(self: Teacher, sample: Sample) -> Pixels:
        raise AssertionError("computed again")

    monkeypatch.setattr(Teacher, "compute_target", refuse)
    for sample, before in ((photo, first), (given, helped)):
        again = Teacher("ssen-tiny", tmp_path).add_target(sample).target
        assert again is not None
        assert np.array_equal(again, before)
    with pytest.raises(AssertionError, match="computed again"):
        Teacher("ssen", tmp_path).add_target(photo)


def test_targets_are_cut_and_turned_with_their_patches(natural: Pixels, tmp_path: Path) -> None:
    sampler = PatchSampler(distillation_run(tmp_path, natural).data, 1)
    mismatched = 0
    for step in range(12):
        sample = sampler.sample(step, 0)
        assert sample.target is not None
        bicubic = psnr(imresize(sample.lr, scale=4), sample.hr, border=4)
        assert psnr(sample.target, sample.hr, border=4) > bicubic + 0.3
        mismatched += bool(sample.validity.any())
    assert 2 < mismatched < 10


def test_the_truth_replaces_missing_targets(photo: Sample) -> None:
    target = photo.hr // 2
    assert "target" not in stack([photo, photo])
    both = stack([photo, dataclasses.replace(photo, target=target)])["target"]
    assert np.array_equal(both[0], stack([photo])["hr"][0])
    assert np.allclose(both[1] * 255, target.transpose(2, 0, 1))


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_the_loss_is_shared_between_truth_and_teacher(
    natural: Pixels, tmp_path: Path, share: float
) -> None:
    config = distillation_run(tmp_path, natural, distillation=share)
    trainer = Trainer(config)
    batch = stack([PatchSampler(config.data, 1).sample(0, index) for index in range(2)])
    with torch.no_grad():
        sr, _ = trainer.model(*(torch.from_numpy(batch[key]) for key in ("lr", "ref", "validity")))

    def distance(image: NDArray[np.float32]) -> float:
        return float(np.sqrt((sr.numpy().astype(float) - image) ** 2 + 1e-6).mean())

    truth, target_loss = distance(batch["hr"]), distance(batch["target"])
    assert trainer.train_step(batch) == pytest.approx((1 - share) * truth + share * target_loss)
    assert trainer.terms["truth"] == pytest.approx(truth)
    assert trainer.terms["target"] == pytest.approx(target_loss) != truth


def test_the_teachers_terms_are_logged_with_the_adversarial_ones(
    natural: Pixels, tmp_path: Path
) -> None:
    config = distillation_run(tmp_path, natural)
    config = dataclasses.replace(config, adversarial=AdversarialConfig(weight=1e-3, channels=4))
    trainer = Trainer(config)
    trainer.train_step(stack([PatchSampler(config.data, 1).sample(0, index) for index in range(2)]))
    assert {"truth", "target", "reconstruction", "adversarial"} < set(trainer.terms)


def test_a_run_with_a_teacher_trains(natural: Pixels, tmp_path: Path) -> None:
    assert (train(distillation_run(tmp_path, natural)) / "last.safetensors").exists()


def test_what_is_wrong_with_a_teacher_is_said(natural: Pixels, tmp_path: Path) -> None:
    config = distillation_run(tmp_path, natural, distillation=1.5)
    with pytest.raises(DataError, match=r"distillation = 1\.5 must be 0 to 1"):
        train(config)
    with pytest.raises(ModelError, match="no model 'ssen-tny'; did you mean 'ssen-tiny'"):
        PatchSampler(dataclasses.replace(config.data, teacher="ssen-tny"), 1)


def test_a_teachers_file_is_found_from_the_configurations_folder(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('[data]\nteacher = "models/own.onnx"\n')
    assert load_config(path).data.teacher == str(tmp_path / "models" / "own.onnx")
    path.write_text('[data]\nteacher = "ssen"\n')
    assert load_config(path).data.teacher == "ssen"
