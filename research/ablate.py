"""The ablation: every variant of the small network, trained alike, measured alike.

    python research/ablate.py            # what is not in docs/training/ablation.jsonl yet
    python research/ablate.py --render   # the tables of docs/ABLATION.md from it, no training

Each run is one JSON line: setting (registered or unregistered references in training), variant,
seed, and mean luma PSNR on four fixed sets that no run has seen. A run that has its line is not
made again. Both settings and all variants share steps, batches, photos and schedule.
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
from refsr.train.config import RunConfig, load_config
from refsr.train.data import Patches, Sample, cached_pairs, image_files, load_hr, scenes
from refsr.train.simulate import displaced_reference
from refsr.train.trainer import Trainer
from refsr.train.validation import infer, middle, with_reference

REPOSITORY = Path(__file__).resolve().parents[1]
RUNS = REPOSITORY / "docs" / "training" / "ablation.jsonl"
DATA = REPOSITORY.parent / "shared" / "data"

TABLES = REPOSITORY / "docs" / "ABLATION.md"
MARK = "<!-- made by research/ablate.py; what stands above is kept -->"

FARTHEST = 8.0  # LR px, the largest displacement in training
DISTANCES = (0, 0.5, 1, 2, 4, 8, 16)  # LR px, measured
SIDE = 192  # HR px of a measured crop: two attention windows
REACH = round(4 * max(DISTANCES)) + 6  # HR px around a crop that a displaced reference may need
PAIRS = 24  # registered pairs that are measured


@dataclass(frozen=True)
class Variant:
    """A row of the tables: what differs from the base network."""

    name: str
    model: dict[str, Any] = field(default_factory=dict)
    longer: int = 1  # times the steps of the others
    ramp: float = 0.0  # share of the steps over which the displacement grows; 0: all at once
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
EXTRAS = (
    Variant("3 layers, HR gate", {"hr_transfer": True}),
    Variant("0 layers, HR gate", {"hr_transfer": True, "deform_layers": 0}),
    Variant("3 layers, growing, 3 x steps", {}, 3, 0.75, ("unregistered",)),
)


class DisplacedPatches(Patches):
    """Training patches whose simulated references lie off, half of them by FARTHEST / 8 or less."""

    ramp = 0.0  # steps over which the largest displacement grows to FARTHEST
    reach = FARTHEST

    def sample(self, step: int, index: int) -> Sample:
        """As ever, with the displacement that this step has come to."""
        self.reach = FARTHEST * min(1.0, (step + 1) / self.ramp) if self.ramp else FARTHEST
        return super().sample(step, index)

    def simulated(self, rng: np.random.Generator) -> Sample:
        """A patch and the same place seen from up to FARTHEST LR px beside it, unregistered."""
        photo = self.photo(rng)
        y, x = self.corner(rng, photo.hr)
        patch = self.crop(photo, y, x)
        around = surroundings(photo.hr, y * SCALE, x * SCALE, self.size, round(4 * FARTHEST) + 6)
        distance = self.reach * float(rng.random()) ** 3
        reference = displaced_reference(rng, around, self.size, distance)
        return believed(patch.lr, patch.hr, reference)


def surroundings(hr: Pixels, top: int, left: int, size: int, margin: int) -> Pixels:
    """The (size + 2 * margin)^2 HR pixels around a patch, the photo's border repeated."""
    rows = np.clip(np.arange(top - margin, top + size + margin), 0, hr.shape[0] - 1)
    columns = np.clip(np.arange(left - margin, left + size + margin), 0, hr.shape[1] - 1)
    return np.ascontiguousarray(hr[rows][:, columns])


def believed(lr: Pixels, hr: Pixels, ref: Pixels) -> Sample:
    """A sample whose reference is believed everywhere; cut or padded (not believed) to the HR."""
    height, width = hr.shape[:2]
    missing = ((0, max(0, height - ref.shape[0])), (0, max(0, width - ref.shape[1])))
    validity = np.pad(np.full(ref.shape[:2], 255, np.uint8), missing)[:height, :width]
    return Sample(lr, hr, np.pad(ref, (*missing, (0, 0)))[:height, :width], validity)


def displaced_sets(config: RunConfig) -> dict[str, list[Sample]]:
    """The middle of a photo of every other held-out scene, the reference off by each distance."""
    sets: dict[str, list[Sample]] = {f"{distance}": [] for distance in DISTANCES}
    for index, folder in enumerate(scenes(config.data)[1][::2]):
        hr = load_hr(image_files(folder)[0], config.data.max_side)
        top, left = ((side - SIDE) // 2 // SCALE * SCALE for side in hr.shape[:2])
        inner = np.ascontiguousarray(hr[top : top + SIDE, left : left + SIDE])
        lr, around = imresize(inner, scale=1 / SCALE), surroundings(hr, top, left, SIDE, REACH)
        for distance in DISTANCES:  # the same direction, warp and exposure at every distance
            rng = np.random.default_rng((7, index))
            ref = displaced_reference(rng, around, SIDE, float(distance))
            sets[f"{distance}"].append(believed(lr, inner, ref))
    return sets


def inmost(pair: Sample) -> Sample:
    """The middle SIDE x SIDE pixels of a pair."""
    top, left = ((side - SIDE) // 2 // SCALE for side in pair.hr.shape[:2])
    lr = pair.lr[top : top + SIDE // SCALE, left : left + SIDE // SCALE]
    area = slice(top * SCALE, top * SCALE + SIDE), slice(left * SCALE, left * SCALE + SIDE)
    return Sample(lr, pair.hr[area], pair.ref[area], pair.validity[area])


def file_pair(first: Path, second: Path) -> Sample:
    """Two files as they are: the reference unregistered and believed everywhere."""
    hr = load_hr(first, 10_000)
    return believed(imresize(hr, scale=1 / SCALE), hr, load_photo(second).as_uint8())


def measured_sets(config: RunConfig) -> dict[str, dict[str, list[Sample]]]:
    """What every run is measured on: set, then condition, then samples in one order."""
    held = scenes(config.data)[1]
    pairs = [inmost(middle(pair)) for pair in cached_pairs(held, config.data)]
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
    """Mean luma PSNR by set and condition, blank and (where there are others) foreign beside it."""
    scores: dict[str, dict[str, float]] = {}
    for name, conditions in sets.items():
        some = next(iter(conditions.values()))
        modes = {condition: [(s, s, "given") for s in c] for condition, c in conditions.items()}
        modes["blank"] = [(s, s, "blank") for s in some]
        if len(some) > 1:
            others = some[len(some) // 2 :] + some[: len(some) // 2]
            modes["foreign"] = [(s, o, "foreign") for s, o in zip(some, others, strict=True)]
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
    firsts = {name: next(iter(conditions.values())) for name, conditions in sets.items()}
    return {
        name: float(np.mean([psnr(imresize(s.lr, scale=SCALE), s.hr, border=SCALE) for s in some]))
        for name, some in firsts.items()
    }


def plan(seeds: int) -> Iterator[tuple[str, Variant, int]]:
    """Every run; a whole seed first, so that an interrupted campaign is a whole one of fewer."""
    for variants in (VARIANTS, EXTRAS):
        for seed in range(1, seeds + 1):
            for variant in variants:
                for setting in variant.settings:
                    yield setting, variant, seed


def run(config: RunConfig, patches: Patches, sets: dict[str, Any]) -> dict[str, Any]:
    """Train one network and measure it."""
    started = time.process_time()
    trainer = Trainer(config)
    t = config.train
    losses = [trainer.train_step(batch) for batch in patches.batches(0, t.steps, t.batch)]
    trained = time.process_time() - started
    return {
        "steps": t.steps,
        "parameters": sum(p.numel() for p in trainer.model.parameters()),
        "loss": float(np.mean(losses[-t.steps // 4 :])),
        "cpu_seconds": round(trained, 1),
        "psnr": measure(trainer, sets),
    }


def main() -> None:
    """Make what is missing, one line a run, then the tables."""
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
        campaign(options)
    write_tables(read_runs(options.runs), options.tables)


def write_tables(runs: list[dict[str, Any]], path: Path) -> None:
    """The tables below MARK; what somebody wrote above it stays."""
    kept = path.read_text(encoding="utf-8").partition(MARK)[0] if path.is_file() else ""
    tables = "\n\n".join(markdown(section) for section in ablation_sections(runs))
    path.write_text(f"{kept}{MARK}\n\n{tables}\n", encoding="utf-8")


def campaign(options: argparse.Namespace) -> None:
    """Every run of the plan that has no line yet."""
    configs = {
        name: load_config(REPOSITORY / "configs" / "ablation" / f"{name}.toml")
        for name in ("unregistered", "registered")
    }
    done = {(r["setting"], r["variant"], r["seed"]) for r in read_runs(options.runs)}
    registered = Patches(configs["registered"].data, 0)
    displaced = DisplacedPatches.__new__(DisplacedPatches)  # shares the photos in memory
    displaced.__dict__ |= vars(registered) | {"config": configs["unregistered"].data}
    patches = {"registered": registered, "unregistered": displaced}
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
        patches[setting].seed, displaced.ramp = seed, variant.ramp * steps
        line = dict(zip(("setting", "variant", "seed"), key, strict=True))
        line |= run(config, patches[setting], sets) | {"bicubic": bicubic}
        with options.runs.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
