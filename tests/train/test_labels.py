"""Labels: targets from image files, and pre-training without the reference path."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from refsr.arrays import Pixels
from refsr.errors import DataError
from refsr.model.ssen import SSEN
from refsr.train.collate import stack
from refsr.train.config import RunConfig
from refsr.train.loop import train
from refsr.train.sampler import PatchSampler
from runs import distillation_run


def labelled_run(folder: Path, natural: Pixels, **changes: Any) -> RunConfig:
    """A run without the reference path on one photo, whose label is the photo, inverted."""
    config = distillation_run(folder, natural, reference_path=False, **changes)
    (folder / "labels" / "photos").mkdir(parents=True)
    Image.fromarray(255 - natural[:128, :160]).save(folder / "labels" / "photos" / "0.png")
    data = dataclasses.replace(
        config.data, teacher="", labels=str(folder / "labels"), mismatched=0.0
    )
    return dataclasses.replace(config, data=data)


def test_labels_are_the_targets_of_their_photos(tmp_path: Path, natural: Pixels) -> None:
    """Cropped and turned as the photo is; a photo without label has the truth in its place."""
    config = labelled_run(tmp_path, natural)
    Image.fromarray(natural[128:256, :160]).save(tmp_path / "photos" / "without.png")
    sampler = PatchSampler(config.data, seed=1)
    labelled = 0
    for index in range(12):
        sample = sampler.sample(0, index)
        if sample.target is None:
            continue
        labelled += 1
        np.testing.assert_array_equal(sample.target, 255 - sample.hr)
    assert 0 < labelled < 12
    batch = stack([sampler.sample(0, index) for index in range(12)])
    same = [(h == s).all() for h, s in zip(batch["hr"], batch["target"], strict=True)]
    assert sum(same) == 12 - labelled


def test_a_label_of_another_size_is_refused(tmp_path: Path, natural: Pixels) -> None:
    config = labelled_run(tmp_path, natural)
    data = dataclasses.replace(config.data, max_side=96)
    with pytest.raises(DataError, match=r"0\.png has 160 x 128 pixels .* 96 x 76; is max_side"):
        PatchSampler(data, seed=1)


def test_without_the_reference_path_nothing_of_it_is_trained(
    tmp_path: Path, natural: Pixels
) -> None:
    """And the patch need not fit the attention's windows."""
    config = labelled_run(tmp_path, natural)
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, patch=72))
    torch.manual_seed(config.train.seed)
    before = SSEN(config.model).state_dict()
    train(config)
    after = load_file(tmp_path / "run" / "last.safetensors")
    changed = {name.split(".")[0] for name, value in after.items() if (value != before[name]).any()}
    assert changed == {"lr_in", "extract", "fuse", "reconstruct", "shuffle", "out"}
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").open()]
    assert log[-1]["target"] > 2 * log[-1]["truth"]  # the label is the inverted photo
