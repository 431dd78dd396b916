"""The ablation: trains and measures every variant of a small network under the same conditions.

    python research/ablate.py            # the runs missing in docs/training/ablation.jsonl
    python research/ablate.py --render   # only the tables of docs/ABLATION.md, no training

Each run is one JSON line: setting (registered or unregistered references in training), variant,
seed, and mean luma PSNR on four fixed held-out sets. Runs that have a line are not repeated. Both
settings and all variants share steps, batches, photos and schedule.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from refsr.arrays import Pixels
from refsr.evaluate.metrics import psnr
from refsr.evaluate.paper.ablation import ablation_sections, read_runs
from refsr.evaluate.paper.sections import markdown
from refsr.image.photo import load_photo
from refsr.resize import SCALE, imresize
from refsr.train.collate import batches
from refsr.train.config import RunConfig, load_config
from refsr.train.datasets import Sample, image_files, load_hr, split_scenes
from refsr.train.pair_cache import cached_pairs
from refsr.train.sampler import PatchSampler
from refsr.train.simulate import smooth_field
from refsr.train.trainer import Trainer
from refsr.train.validation import CROP, center_crop, infer, with_reference

REPOSITORY = Path(__file__).resolve().parents[1]
RUNS = REPOSITORY / "docs" / "training" / "ablation.jsonl"
DATA = REPOSITORY.parent / "shared" / "data"

TABLES = REPOSITORY / "docs" / "ABLATION.md"
MARK = "<!-- made by research/ablate.py; what stands above is kept -->"

MAX_DISPLACEMENT = 8.0  # LR px, in training
DISTANCES = (0, 0.5, 1, 2, 4, 8, 16)  # LR px, in the measurement
SIDE = 192  # HR px of a measured crop: two attention windows
MARGIN = round(4 * max(DISTANCES)) + 6  # HR px around a crop that displaced references sample
PAIRS = 24  # registered pairs that are measured


@dataclass(frozen=True)
class Variant:
    """A row of the tables: the differences from the base network."""

    name: str
    model: dict[str, Any] = field(default_factory=dict)
    longer: int = 1  # factor of the number of steps
    ramp: float = 0.0  # share of the steps over which the displacement grows; 0: none
    settings: tuple[str, ...] = ("unregistered", "registered")


VARIANTS = (
    Variant("3 layers"),
    Variant("0 layers", {"deform_layers": 0}),
    Variant("1 layer", {"deform_layers": 1}),
    Variant("2 layers", {"deform_layers": 2}),
    Variant("4 layers", {"deform_layers": 4}),
    Variant("3 layers, no non-local", {"nonlocal_blocks": False}),
    Variant("3 layers, no modulation", {"modulation": False}),
)
THE_PAPERS = {  # our departures undone, one switch each; hr_transfer is off in every variant
    "no residual": {"deform_residual": False},
    "RGB alone": {"ref_inputs": "rgb"},
    "modulation from 0.5": {"modulation_bias": 0.0},
    "global attention": {"attention_window": 0},
    "unscaled attention": {"attention_scaled": False},
}
EXTRAS = (
    *(Variant(f"3 layers, {name}", change) for name, change in THE_PAPERS.items()),
    Variant("the paper's network", {k: v for one in THE_PAPERS.values() for k, v in one.items()}),
    Variant("3 layers, HR gate", {"hr_transfer": True}),
    Variant("0 layers, HR gate", {"hr_transfer": True, "deform_layers": 0}),
    Variant("3 layers, growing, 3 x steps", {}, 3, 0.75, ("unregistered",)),
)


class DisplacedSampler(PatchSampler):
    """Samples with displaced references, half of them by MAX_DISPLACEMENT / 8 or less."""

    ramp = 0.0  # steps over which the largest displacement grows to MAX_DISPLACEMENT
    limit = MAX_DISPLACEMENT

    def sample(self, step: int, index: int) -> Sample:
        """As in PatchSampler, with the largest displacement of this step."""
        self.limit = (
            MAX_DISPLACEMENT * min(1.0, (step + 1) / self.ramp) if self.ramp else MAX_DISPLACEMENT
        )
        return super().sample(step, index)

    def simulated(self, rng: np.random.Generator) -> Sample:
        """A patch whose unregistered reference is displaced by up to ``limit`` LR px."""
        photo = self.random_photo(rng)
        y, x = self.random_corner(rng, photo.hr)
        patch = self.crop(photo, y, x)
        margin = round(4 * MAX_DISPLACEMENT) + 6
        around = surroundings(photo.hr, y * SCALE, x * SCALE, self.patch, margin)
        distance = self.limit * float(rng.random()) ** 3
        reference = displaced_reference(rng, around, self.patch, distance)
        return fully_valid(patch.lr, patch.hr, reference)


def displaced_reference(
    rng: np.random.Generator,
    image: Pixels,  # (size + 2m)^2 RGB around the HR patch, m at least 4 * distance + 6
    size: int,
    distance: float,
) -> Pixels:
    """An unregistered reference (size, size, 3) uint8: the photo displaced by ``distance`` LR px.

    The direction is random; a smooth warp of up to 0.4 LR px and a mild change of exposure are
    added. The matching detail of an output pixel is ``distance`` away from it in the reference:
    the paper's task without registration.
    """
    angle = float(rng.uniform(0.0, 2.0 * np.pi))
    warp = float(rng.uniform(0.0, 0.8))  # HR px of unit deviation; two deviations are 0.4 LR px
    grid = np.arange(size, dtype=np.float32) + (image.shape[0] - size) // 2
    x, y = np.meshgrid(grid, grid)
    x = x + np.float32(4.0 * distance * np.cos(angle)) + warp * smooth_field(rng, size, 2)
    y = y + np.float32(4.0 * distance * np.sin(angle)) + warp * smooth_field(rng, size, 2)
    ref = cv2.remap(image, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
    gamma = float(np.exp(rng.normal(0.0, 0.05)))
    gain = np.exp(rng.normal(0.0, 0.04, 3)).astype(np.float32)
    pixels = (ref.astype(np.float32) / 255.0) ** gamma * gain
    return np.clip(np.rint(pixels * 255.0), 0, 255).astype(np.uint8)


def surroundings(hr: Pixels, top: int, left: int, size: int, margin: int) -> Pixels:
    """The (size + 2 * margin)^2 HR pixels around a patch, the photo's border repeated."""
    rows = np.clip(np.arange(top - margin, top + size + margin), 0, hr.shape[0] - 1)
    columns = np.clip(np.arange(left - margin, left + size + margin), 0, hr.shape[1] - 1)
    return np.ascontiguousarray(hr[rows][:, columns])


def fully_valid(lr: Pixels, hr: Pixels, ref: Pixels) -> Sample:
    """A sample with a reference of full validity, cropped or padded (validity 0) to the HR size."""
    height, width = hr.shape[:2]
    padding = ((0, max(0, height - ref.shape[0])), (0, max(0, width - ref.shape[1])))
    validity = np.pad(np.full(ref.shape[:2], 255, np.uint8), padding)[:height, :width]
    return Sample(lr, hr, np.pad(ref, (*padding, (0, 0)))[:height, :width], validity)


def displaced_sets(config: RunConfig) -> dict[str, list[Sample]]:
    """The center of a photo of every other held-out scene, with a reference at each distance."""
    sets: dict[str, list[Sample]] = {f"{distance}": [] for distance in DISTANCES}
    for index, folder in enumerate(split_scenes(config.data)[1][::2]):
        hr = load_hr(image_files(folder)[0], config.data.max_side)
        top, left = ((side - SIDE) // 2 // SCALE * SCALE for side in hr.shape[:2])
        inner = np.ascontiguousarray(hr[top : top + SIDE, left : left + SIDE])
        lr, around = imresize(inner, scale=1 / SCALE), surroundings(hr, top, left, SIDE, MARGIN)
        for distance in DISTANCES:  # the same direction, warp and exposure at every distance
            rng = np.random.default_rng((7, index))
            ref = displaced_reference(rng, around, SIDE, float(distance))
            sets[f"{distance}"].append(fully_valid(lr, inner, ref))
    return sets


def file_pair(first: Path, second: Path) -> Sample:
    """Two files as they are: the reference unregistered and of full validity."""
    hr = load_hr(first, 10_000)
    return fully_valid(imresize(hr, scale=1 / SCALE), hr, load_photo(second).as_uint8())


def measured_sets(config: RunConfig) -> dict[str, dict[str, list[Sample]]]:
    """The samples that every run is measured on, by set and reference."""
    held_out = split_scenes(config.data)[1]
    pairs = [center_crop(center_crop(p, CROP), SIDE) for p in cached_pairs(held_out, config.data)]
    pairs = [pair for pair in pairs if pair.validity.mean() > 64]
    samples = DATA / "cufed_samples"
    first = samples / "cufed5" / "001_0.png"
    patches = [
        file_pair(path, samples / "train_ref" / path.name)
        for path in image_files(samples / "train_input")
    ]
    return {
        "displaced": displaced_sets(config),
        "pairs": {"given": pairs[:: -(-len(pairs) // PAIRS)]},
        "cufed": {"given": patches},
        "cufed5": {
            f"L{level}": [file_pair(first, first.with_name(f"001_{level}.png"))]
            for level in range(1, 6)
        },
    }


@torch.no_grad()
def measure(trainer: Trainer, sets: dict[str, dict[str, list[Sample]]]) -> dict[str, Any]:
    """Mean luma PSNR by set and reference; adds blank and, for several samples, mismatched."""
    scores: dict[str, dict[str, float]] = {}
    for name, references in sets.items():
        first = next(iter(references.values()))
        modes = {reference: [(s, s, "given") for s in r] for reference, r in references.items()}
        modes["blank"] = [(s, s, "blank") for s in first]
        if len(first) > 1:
            others = first[len(first) // 2 :] + first[: len(first) // 2]
            modes["mismatched"] = [(s, o, "mismatched") for s, o in zip(first, others, strict=True)]
        scores[name] = {
            mode: float(
                np.mean(
                    [
                        psnr(infer(trainer.ema, with_reference(s, o, kind)), s.hr, border=SCALE)
                        for s, o, kind in triples
                    ]
                )
            )
            for mode, triples in modes.items()
        }
    return scores


def bicubic_scores(sets: dict[str, dict[str, list[Sample]]]) -> dict[str, float]:
    """Mean luma PSNR of bicubic by set."""
    firsts = {name: next(iter(references.values())) for name, references in sets.items()}
    return {
        name: float(np.mean([psnr(imresize(s.lr, scale=SCALE), s.hr, border=SCALE) for s in first]))
        for name, first in firsts.items()
    }


def plan(seeds: int) -> Iterator[tuple[str, Variant, int]]:
    """All runs, seed by seed, so that an interrupted ablation is complete for fewer seeds."""
    for variants in (VARIANTS, EXTRAS):
        for seed in range(1, seeds + 1):
            for variant in variants:
                for setting in variant.settings:
                    yield setting, variant, seed


def run(config: RunConfig, sampler: PatchSampler, sets: dict[str, Any]) -> dict[str, Any]:
    """Train one network and measure it."""
    start = time.process_time()
    trainer = Trainer(config)
    t = config.train
    losses = [trainer.train_step(batch) for batch in batches(sampler, 0, t.steps, t.batch)]
    trained = time.process_time() - start
    return {
        "steps": t.steps,
        "parameters": sum(p.numel() for p in trainer.model.parameters()),
        "loss": float(np.mean(losses[-t.steps // 4 :])),
        "cpu_seconds": round(trained, 1),
        "psnr": measure(trainer, sets),
    }


def main() -> None:
    """Train the missing runs, then write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--render", action="store_true", help="only write the tables")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, help="instead of the configurations' steps")
    parser.add_argument("--only", help="only the variant of this name")
    parser.add_argument("--runs", type=Path, default=RUNS, help="the file of JSON lines")
    parser.add_argument("--tables", type=Path, default=TABLES, help="the Markdown file")
    options = parser.parse_args()
    if not options.render:
        cv2.setNumThreads(1)
        train_missing(options)
    write_tables(read_runs(options.runs), options.tables)


def write_tables(runs: list[dict[str, Any]], path: Path) -> None:
    """Write the tables below MARK and keep the text above it."""
    kept = path.read_text(encoding="utf-8").partition(MARK)[0] if path.is_file() else ""
    tables = "\n\n".join(markdown(section) for section in ablation_sections(runs))
    path.write_text(f"{kept}{MARK}\n\n{tables}\n", encoding="utf-8")


def train_missing(options: argparse.Namespace) -> None:
    """Train and measure every run of the plan that has no line yet."""
    configs = {
        name: load_config(REPOSITORY / "configs" / "ablation" / f"{name}.toml")
        for name in ("unregistered", "registered")
    }
    done = {(r["setting"], r["variant"], r["seed"]) for r in read_runs(options.runs)}
    registered = PatchSampler(configs["registered"].data, 0)
    displaced = DisplacedSampler.__new__(DisplacedSampler)  # shares the photos in memory
    displaced.__dict__ |= vars(registered) | {"config": configs["unregistered"].data}
    samplers = {"registered": registered, "unregistered": displaced}
    sets = measured_sets(configs["registered"])
    bicubic = bicubic_scores(sets)
    for setting, variant, seed in plan(options.seeds):
        key = (setting, variant.name, seed)
        if key in done or options.only not in (None, variant.name):
            continue
        config = configs[setting]
        steps = (options.steps or config.train.steps) * variant.longer
        config = dataclasses.replace(
            config,
            model=dataclasses.replace(config.model, **variant.model),
            train=dataclasses.replace(config.train, seed=seed, steps=steps),
        )
        samplers[setting].seed, displaced.ramp = seed, variant.ramp * steps
        line = dict(zip(("setting", "variant", "seed"), key, strict=True))
        line |= run(config, samplers[setting], sets) | {"bicubic": bicubic}
        with options.runs.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
