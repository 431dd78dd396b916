"""research/ablate.py: its variants, its displaced references, one run, and the tables it writes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
from PIL import Image

from ablations import ablation_run
from networks import TINY
from refsr.arrays import Pixels
from refsr.evaluate.paper.ablation import CLAIMS
from refsr.model.config import SSENConfig
from refsr.resize import imresize
from refsr.train.config import DataConfig, RunConfig, TrainConfig


@pytest.fixture(scope="module")
def ablate(scripts: Callable[[str], ModuleType]) -> ModuleType:
    return scripts("ablate")


def test_references_are_displaced_by_the_distance(ablate: ModuleType) -> None:
    rng = np.random.default_rng(5)
    noise = cv2.GaussianBlur(rng.normal(0, 60, (200, 200, 3)).astype(np.float32), (0, 0), 1.5)
    image = np.clip(128 + 4 * noise, 0, 255).astype(np.uint8)
    size, margin = 96, 52
    inner = image[margin : margin + size, margin : margin + size].astype(np.float64)
    for distance in (0.0, 1.0, 3.0):
        ref = ablate.displaced_reference(np.random.default_rng(9), image, size, distance)
        assert (ref.shape, ref.dtype) == ((size, size, 3), np.uint8)
        (x, y), _ = cv2.phaseCorrelate(inner.mean(axis=2), ref.astype(np.float64).mean(axis=2))
        assert np.hypot(x, y) / 4 == pytest.approx(distance, abs=0.4)  # the warp: up to 0.4 LR px


def test_variants_differ_from_the_base_in_what_they_say(ablate: ModuleType) -> None:
    names = [variant.name for variant in (*ablate.VARIANTS, *ablate.EXTRAS)]
    assert len(set(names)) == len(names)
    assert {name for claim in CLAIMS for name in claim[1:]} <= set(names)
    for variant in (*ablate.VARIANTS, *ablate.EXTRAS):
        SSENConfig(**variant.model)
    plan = list(ablate.plan(2))
    assert len(plan) == len({(setting, v.name, seed) for setting, v, seed in plan})
    main_runs = 2 * len(ablate.VARIANTS)
    assert {seed for _, _, seed in plan[:main_runs]} == {1}


def test_one_run_of_the_ablation(ablate: ModuleType, natural: Pixels, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    Image.fromarray(natural).save(tmp_path / "photos" / "a.png")
    data = DataConfig(photos=(str(tmp_path / "photos"),), real=0.0, simulated=0.9, patch=32)
    model = dataclasses.replace(TINY, hr_transfer=False)
    train = TrainConfig(steps=2, batch=2, threads=1, warmup=1, optimizer="muon")
    config = RunConfig(str(tmp_path / "run"), model, data, train)
    sampler = ablate.DisplacedSampler(data, 1)
    sampler.ramp = 4.0
    sampler.sample(0, 0)
    assert sampler.limit == ablate.MAX_DISPLACEMENT / 4
    hr = np.ascontiguousarray(natural[:64, :96])
    sample = ablate.fully_valid(imresize(hr, scale=0.25), hr, hr[:60])
    assert sample.validity[59, 0] == 255
    assert sample.validity[60, 0] == 0  # padding is not valid
    sets = {"cufed5": {"L1": [sample]}, "displaced": {"0": [sample, sample]}}
    line = ablate.run(config, sampler, sets)
    assert set(line["psnr"]["cufed5"]) == {"L1", "blank"}
    assert set(line["psnr"]["displaced"]) == {"0", "blank", "mismatched"}
    again = ablate.run(dataclasses.replace(config), sampler, sets)
    assert again["psnr"] == line["psnr"]
    assert set(ablate.bicubic_scores(sets)) == {"cufed5", "displaced"}


def test_what_is_written_above_the_tables_stays(ablate: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "ABLATION.md"
    runs = [ablation_run("registered", "3 layers", 1, 1.0)]
    path.write_text(f"# Ours\n\n{ablate.MARK}\n\nold tables\n")
    ablate.write_tables(runs, path)
    text = path.read_text()
    assert text.startswith(f"# Ours\n\n{ablate.MARK}\n\n## The paper's order")
    assert "old tables" not in text
    ablate.write_tables(runs, path)
    assert path.read_text() == text
