"""Training: configurations, samples, and a loop that stops and continues bit for bit."""

from __future__ import annotations

import dataclasses
import json
import math
import signal
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from networks import TINY
from refsr.arrays import Pixels
from refsr.cli import main
from refsr.errors import DataError, ModelError
from refsr.model.checkpoint import load_weights, save_weights
from refsr.model.config import SSENConfig
from refsr.model.ssen import SSEN
from refsr.resize import imresize
from refsr.train import data, loop, simulate
from refsr.train.config import DataConfig, RunConfig, TrainConfig, load_config
from refsr.train.data import MARGIN, Patches, Sample, cached_pairs, load_hr, stack
from refsr.train.distributed import Ranks
from refsr.train.log import Log
from refsr.train.loop import check, train
from refsr.train.losses import charbonnier
from refsr.train.optimizer import Muon, orthogonal
from refsr.train.schedule import learning_rate
from refsr.train.simulate import simulate_reference
from refsr.train.trainer import Trainer
from refsr.train.validation import Validation


@pytest.fixture
def photos(tmp_path: Path, natural: Pixels) -> Path:
    """A folder of three photos."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for index, pixels in enumerate((natural, natural[::-1], natural[:, ::-1, ::-1])):
        Image.fromarray(np.ascontiguousarray(pixels)).save(folder / f"{index}.png")
    return folder


def run_config(photos: Path, out: Path, **changes: Any) -> RunConfig:
    """Six steps of a tiny network; float32, so that equal means equal."""
    return RunConfig(
        out=str(out),
        model=TINY,
        data=DataConfig(photos=(str(photos),), real=0.0, simulated=0.6, patch=64),
        train=dataclasses.replace(
            TrainConfig(steps=6, batch=2, threads=1, bf16=False, warmup=2, validate_every=100),
            **changes,
        ),
    )


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


# Configuration


def test_a_configuration_is_read_with_its_folders(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    path = write(
        tmp_path / "configs" / "a.toml",
        'out = "../runs/a"\n[model]\nchannels = 8\n[data]\nphotos = ["p", "q"]\n'
        "[train]\nlearning_rate = 1\n",
    )
    config = load_config(path)
    assert config.out == str(tmp_path / "runs" / "a")
    assert config.data.photos == tuple(str(tmp_path / "configs" / name) for name in "pq")
    assert config.data.pairs == ""  # what is not given stays so
    assert config.model == SSENConfig(channels=8)
    assert config.train.learning_rate == 1.0
    assert isinstance(config.train.learning_rate, float)


CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.toml"))


@pytest.mark.parametrize("path", CONFIGS, ids=[path.stem for path in CONFIGS])
def test_the_repositorys_configurations_fit(path: Path) -> None:
    check(load_config(path), Ranks())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[train]\nlearnin_rate = 1e-4", r"Unknown key 'learnin_rate' .*did you mean 'learning_r"),
        ("[train]\nzzz = 1", r"Unknown key 'zzz' .*known: steps, "),
        ("[trian]\nsteps = 3", r"Unknown key 'trian' .*did you mean 'train'"),
        ("[train]\nsteps = 2.5", r"'steps' .*must be a int, not 2.5"),
        ("[train]\nsteps = true", r"'steps' .*must be a int, not True"),
        ('[train]\nbf16 = "yes"', r"'bf16' .*must be a bool, not 'yes'"),
        ("out = 3", r"'out' .*must be a str, not 3"),
        ("train = 3", r"'train' .*must be a table"),
        ('[data]\nphotos = "folder"', r"'photos' .*must be a list of str"),
        ('[model]\nskip = "both"', r"'skip' .*must be one of 'add', 'concat'"),
        ("steps = ", r"not valid TOML"),
    ],
)
def test_what_is_wrong_with_a_configuration_is_said(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        load_config(write(tmp_path / "bad.toml", text))


def test_a_missing_configuration_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Cannot read the configuration"):
        load_config(tmp_path / "none.toml")


# Samples


def test_samples_are_functions_of_seed_step_and_index(photos: Path, tmp_path: Path) -> None:
    config = run_config(photos, tmp_path).data
    first, again = Patches(config, 3), Patches(config, 3, workers=3)
    other = Patches(config, 4)

    def arrays(patches: Patches, step: int, index: int) -> bytes:
        return b"".join(part.tobytes() for part in patches.sample(step, index).parts().values())

    seen = {arrays(first, step, index) for step in range(4) for index in range(3)}
    assert len(seen) == 12
    assert arrays(again, 3, 2) in seen
    assert arrays(first, 3, 2) == arrays(again, 3, 2)  # whatever was drawn before
    assert arrays(other, 3, 2) not in seen

    one, three = list(first.batches(0, 7, 2)), list(again.batches(0, 7, 2))
    late = list(again.batches(5, 7, 2))
    assert len(one) == len(three) == 7
    assert len(late) == 2
    for a, b in zip(one + one[5:], three + late, strict=True):
        assert a.keys() == {"lr", "hr", "ref", "validity"}
        for key in a:
            assert np.array_equal(a[key], b[key]), key


def test_leaving_early_stops_the_workers(
    monkeypatch: pytest.MonkeyPatch, photos: Path, tmp_path: Path
) -> None:
    patches = Patches(run_config(photos, tmp_path).data, 1, workers=2)
    made: list[int] = []
    sample = patches.sample
    monkeypatch.setattr(patches, "sample", lambda *at: made.append(1) or sample(*at))
    batches: Any = patches.batches(0, 1_000_000, 1)
    assert next(batches)["lr"].shape == (1, 3, 16, 16)
    batches.close()
    assert 1 <= len(made) <= 5  # the one that was used, and four ahead


def test_batches_are_as_the_network_wants_them(photos: Path, tmp_path: Path) -> None:
    patches = Patches(run_config(photos, tmp_path).data, 1)
    batch = stack([patches.sample(0, index) for index in range(5)])
    shapes = {"lr": (5, 3, 16, 16), "hr": (5, 3, 64, 64), "ref": (5, 3, 64, 64)}
    shapes["validity"] = (5, 1, 64, 64)
    for key, shape in shapes.items():
        assert batch[key].shape == shape
        assert batch[key].dtype == np.float32
        assert 0 <= batch[key].min() <= batch[key].max() <= 1


def test_a_photo_too_small_or_broken_is_said(tmp_path: Path, photos: Path) -> None:
    config = run_config(photos, tmp_path).data
    with pytest.raises(DataError, match="No training photo is at least 512 pixels a side"):
        Patches(dataclasses.replace(config, patch=512), 1)
    (photos / "broken.jpg").write_bytes(b"no photo")
    with pytest.raises(DataError, match=r"A training photo cannot be used: .*broken\.jpg"):
        Patches(config, 1)
    with pytest.raises(DataError, match="no photos in"):
        Patches(dataclasses.replace(config, photos=(str(tmp_path / "photos" / "x"),)), 1)


def test_simulated_references_are_sane(rng: np.random.Generator, natural: Pixels) -> None:
    size = 96
    around = np.ascontiguousarray(natural[: size + 2 * MARGIN, : size + 2 * MARGIN])
    truth = around[MARGIN:-MARGIN, MARGIN:-MARGIN].astype(float)
    errors: list[float] = []
    invalid = 0
    for _ in range(60):
        ref, validity = simulate_reference(rng, around, natural[::-1, ::-1], size)
        assert ref.shape == (size, size, 3)
        assert validity.shape == (size, size)
        assert ref.dtype == validity.dtype == np.uint8
        assert set(np.unique(validity)) <= {0, 255}
        invalid += int((validity == 0).any())
        errors.append(float(np.abs(ref - truth).mean()))
    assert 5 <= invalid <= 30  # a quarter of them
    elsewhere = natural[::-1, ::-1][:size, :size].astype(float)
    assert np.median(errors) < 0.4 * np.abs(elsewhere - truth).mean()  # it shows the same place


def test_without_residual_or_camera_a_simulation_is_the_patch(
    monkeypatch: pytest.MonkeyPatch, natural: Pixels
) -> None:
    class Still:
        """A random generator that never draws anything out of the ordinary."""

        def exponential(self, _: float) -> float:
            return 0.0

        def random(self) -> float:
            return 1.0

        def normal(self, *_: object) -> NDArray[np.float64]:
            return np.zeros(2)

        def integers(self, low: int, _: int) -> int:
            return low

    monkeypatch.setattr(simulate, "smooth_field", lambda _, size, __: np.zeros((size, size), "f4"))
    around = np.ascontiguousarray(natural[: 64 + 2 * MARGIN, 10 : 74 + 2 * MARGIN])
    still: Any = Still()
    ref, validity = simulate_reference(still, around, around, 64)
    np.testing.assert_array_equal(ref, around[MARGIN:-MARGIN, MARGIN:-MARGIN])
    assert (validity == 255).all()


def test_all_of_a_sample_turns_together(
    monkeypatch: pytest.MonkeyPatch, photos: Path, tmp_path: Path
) -> None:
    """References that are the photo itself, valid in their bright half, stay so when turned."""

    def itself(_: object, around: Pixels, __: object, size: int) -> tuple[Pixels, Pixels]:
        ref = around[MARGIN : MARGIN + size, MARGIN : MARGIN + size]
        return ref, np.where(ref.mean(axis=2) > 110, 255, 0).astype(np.uint8)

    monkeypatch.setattr(data, "simulate_reference", itself)
    config = run_config(photos, tmp_path).data
    config = dataclasses.replace(config, simulated=1.0, foreign=0.0)
    patches = Patches(config, 1)
    for index in range(16):  # eight ways to turn and mirror
        sample = patches.sample(0, index)
        again = imresize(sample.hr, scale=0.25)
        inner = np.s_[2:-2, 2:-2]  # borders were shrunk with what is beyond them
        difference = again[inner].astype(int) - sample.lr[inner]
        assert np.abs(difference).mean() < 0.5
        np.testing.assert_array_equal(sample.ref, sample.hr)
        expected = np.where(sample.ref.mean(axis=2) > 110, 255, 0)
        np.testing.assert_array_equal(sample.validity, expected)


def test_pairs_are_registered_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, natural: Pixels
) -> None:
    """A pair that does not match leaves an empty file, and neither kind is tried again."""
    scene = tmp_path / "pairs" / "house"
    scene.mkdir(parents=True)
    for name in ("a", "b"):
        Image.fromarray(natural).save(scene / f"{name}.png")
    config = DataConfig(pairs=str(tmp_path / "pairs"), cache=str(tmp_path / "cache"))
    tries: list[int] = []

    def second_only(hr: Pixels, reference: Pixels) -> Sample | None:
        tries.append(1)
        full = np.full(hr.shape[:2], 255, np.uint8)
        lr = imresize(hr, scale=0.25)
        return Sample(lr, hr, reference, full) if len(tries) == 2 else None

    monkeypatch.setattr(data, "register_pair", second_only)
    first = cached_pairs([scene], config)
    again = cached_pairs([scene], config)
    assert len(tries) == 2
    sizes = {p.name: p.stat().st_size > 0 for p in (tmp_path / "cache").iterdir()}
    assert sizes == {"house-a-b-1000.npz": False, "house-b-a-1000.npz": True}
    assert len(first) == len(again) == 1
    for key, value in vars(first[0]).items():
        np.testing.assert_array_equal(value, getattr(again[0], key))
    np.testing.assert_array_equal(again[0].hr, load_hr(scene / "b.png", 1000))


# The loop


def test_the_learning_rate_rises_and_falls() -> None:
    config = RunConfig(train=TrainConfig(steps=100, warmup=10, learning_rate=1e-3))
    rates = [learning_rate(step, config) for step in range(101)]
    assert rates[0] == pytest.approx(1e-4)
    assert rates[9] == rates[10] == pytest.approx(1e-3)
    assert rates[55] == pytest.approx((1e-3 + 1e-6) / 2)
    assert rates[100] == pytest.approx(1e-6)
    assert learning_rate(500, config) == pytest.approx(1e-6)
    assert all(a > b for a, b in pairwise(rates[10:]))


def test_a_time_limit_takes_the_schedule_with_it() -> None:
    limited = RunConfig(train=TrainConfig(steps=100, warmup=10, learning_rate=1e-3, minutes=2))
    assert learning_rate(10, limited, 60) == pytest.approx((1e-3 + 1e-6) / 2)
    assert learning_rate(10, limited, 120) == pytest.approx(1e-6)
    assert learning_rate(90, limited, 1) == learning_rate(90, limited)  # the steps are ahead
    free = RunConfig(train=dataclasses.replace(limited.train, minutes=0))
    assert learning_rate(10, free, 1e6) == pytest.approx(1e-3)


def state(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "state.pt", weights_only=True)


def assert_same_run(a: dict[str, Any], b: dict[str, Any]) -> None:
    """Weights, averages and the optimizer's memory are equal to the last bit."""
    assert a["step"] == b["step"]
    for part in ("model", "ema"):
        assert a[part].keys() == b[part].keys()
        for name, value in a[part].items():
            assert torch.equal(value, b[part][name]), f"{part} {name}"
    for one, other in zip(a["optimizer"], b["optimizer"], strict=True):
        for index, moments in one["state"].items():
            for name, value in moments.items():
                assert torch.equal(value, other["state"][index][name]), f"{index} {name}"


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Ctrl-C in the middle of the given step of this process."""

    def at(steps: int) -> None:
        calls: list[int] = []
        untouched = Trainer.train_step

        def step(self: Trainer, arrays: data.Batch) -> float:
            calls.append(1)
            if len(calls) == steps:
                signal.raise_signal(signal.SIGINT)
            return untouched(self, arrays)

        monkeypatch.setattr(Trainer, "train_step", step)

    return at


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_interrupted_and_continued_is_the_same_run(
    photos: Path, tmp_path: Path, stop_after: Callable[[int], None], optimizer: str
) -> None:
    whole = train(run_config(photos, tmp_path / "whole", optimizer=optimizer))
    parts = run_config(photos, tmp_path / "parts", workers=3, optimizer=optimizer)
    stop_after(3)
    with pytest.raises(KeyboardInterrupt):
        train(parts)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert state(tmp_path / "parts")["step"] == 3
    assert load_weights(tmp_path / "parts" / "last.safetensors")[1]["steps"] == 3
    with pytest.raises(ModelError, match="holds a run already; continue it with --resume auto"):
        train(parts)
    assert train(parts, resume=True) == tmp_path / "parts"
    assert_same_run(state(whole), state(tmp_path / "parts"))
    assert train(parts, resume=True) == tmp_path / "parts"  # nothing is left to do
    assert json.loads((whole / "config.json").read_text())["train"]["steps"] == 6
    lines = (whole / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [6]


def test_the_command_line_trains_and_continues(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (
        f'out = "run"\n[model]\n{tiny_toml()}\n'
        f'[data]\nphotos = ["{photos.name}"]\nreal = 0\nsimulated = 0.6\npatch = 64\n'
        "[train]\nbatch = 2\nthreads = 1\nbf16 = false\nwarmup = 2\nvalidate_every = 100\n"
    )
    three = write(tmp_path / "three.toml", f"{text}steps = 3\n")
    assert main(["train", str(three)]) == 0
    assert state(tmp_path / "run")["step"] == 3
    capsys.readouterr()
    assert main(["train", str(three)]) == 1
    assert "continue it with --resume auto" in capsys.readouterr().err
    five = write(tmp_path / "five.toml", f"{text}steps = 5\n")
    assert main(["train", str(five), "--resume", "auto"]) == 0
    assert "best.safetensors" in capsys.readouterr().out
    assert state(tmp_path / "run")["step"] == 5


def tiny_toml() -> str:
    """The tiny network's shape as a TOML table."""
    return "\n".join(
        f"{key} = {json.dumps(value)}" for key, value in dataclasses.asdict(TINY).items()
    )


def test_a_second_interrupt_is_not_held_back() -> None:
    with loop.interrupts_noted() as noted:
        signal.raise_signal(signal.SIGINT)
        assert noted.is_set()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_time_limit_ends_the_run(photos: Path, tmp_path: Path) -> None:
    folder = train(run_config(photos, tmp_path / "run", minutes=1e-9))
    assert state(folder)["step"] == 1
    assert (folder / "best.safetensors").exists()


def test_a_run_only_continues_with_its_own_network(photos: Path, tmp_path: Path) -> None:
    config = run_config(photos, tmp_path / "run", steps=1)
    train(config)
    other = dataclasses.replace(config, model=dataclasses.replace(TINY, channels=16))
    with pytest.raises(ModelError, match="is of another network"):
        train(other, resume=True)
    (tmp_path / "run" / "state.pt").write_bytes(b"torn")
    with pytest.raises(ModelError, match="cannot be read"):
        train(config, resume=True)


def test_training_may_start_from_weights_of_the_same_network(photos: Path, tmp_path: Path) -> None:
    torch.manual_seed(9)
    start, path = SSEN(TINY), tmp_path / "start.safetensors"
    save_weights(start, path, {})
    config = run_config(photos, tmp_path / "run", start=str(path))
    for a, b in zip(start.parameters(), Trainer(config).model.parameters(), strict=True):
        assert torch.equal(a, b)
    other = dataclasses.replace(config, model=dataclasses.replace(TINY, channels=16))
    with pytest.raises(ModelError, match=r"start\.safetensors.*another network"):
        Trainer(other)


def test_a_patch_that_does_not_fit_the_network_is_said(photos: Path, tmp_path: Path) -> None:
    config = run_config(photos, tmp_path / "run")
    odd = dataclasses.replace(config, data=dataclasses.replace(config.data, patch=48))
    with pytest.raises(DataError, match=r"patch = 48 does not fit .* a multiple of 32"):
        train(odd)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("optimizer", "bf16"), [("adam", False), ("adam", True), ("muon", False)])
def test_the_loss_falls_on_one_batch(
    photos: Path, tmp_path: Path, optimizer: str, bf16: bool
) -> None:
    schedule = {"steps": 40, "learning_rate": 5e-3, "ema": 0.8, "batch": 1}
    config = run_config(photos, tmp_path, **schedule, bf16=bf16, optimizer=optimizer)
    trainer = Trainer(config)
    batch = next(iter(Patches(config.data, 1).batches(0, 1, 1)))
    batch["ref"], batch["validity"] = batch["hr"], np.ones_like(batch["validity"])
    losses = [trainer.train_step(batch) for _ in range(40)]
    assert np.mean(losses[-3:]) < 0.5 * losses[0]
    trainer.ema.eval()
    with torch.no_grad():
        sr, _ = trainer.ema(*(torch.from_numpy(batch[key]) for key in ("lr", "ref", "validity")))
    assert float(charbonnier(sr, torch.from_numpy(batch["hr"]), 1e-3)) < 0.7 * losses[0]


@pytest.mark.parametrize("shape", [(8, 72), (40, 8)])
def test_muon_is_torchs_in_float32(rng: np.random.Generator, shape: tuple[int, int]) -> None:
    """torch's computes in bfloat16: its updates differ by that type's 2^-8, ours do not."""
    start = torch.from_numpy(rng.standard_normal(shape, np.float32))
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    steps = (
        Muon([{"params": [ours], "lr": 0.1}]),
        torch.optim.Muon([theirs], lr=0.1, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"),
    )
    for _ in range(3):
        gradient = torch.from_numpy(rng.standard_normal(shape, np.float32))
        for matrix, optimizer in zip((ours, theirs), steps, strict=True):
            matrix.grad = gradient.clone()
            optimizer.step()
    moved = (theirs - start).abs().max()
    assert float((ours - theirs).detach().abs().max()) < 0.03 * float(moved.detach())
    values = torch.linalg.svdvals(orthogonal(gradient))
    assert float(values.min()) > 0.6
    assert float(values.max()) < 1.3
    steps[0].load_state_dict(steps[1].state_dict())  # runs from before go on


def test_a_broken_batch_changes_no_weight(photos: Path, tmp_path: Path) -> None:
    config = run_config(photos, tmp_path)
    trainer = Trainer(config)
    batch = next(iter(Patches(config.data, 1).batches(0, 1, 1)))
    batch["hr"] = np.full_like(batch["hr"], np.nan)
    before = [parameter.clone() for parameter in trainer.model.parameters()]
    assert math.isnan(trainer.train_step(batch))
    for a, b in zip(before, trainer.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_validation_measures_what_the_reference_is_worth(photos: Path, tmp_path: Path) -> None:
    config = run_config(photos, tmp_path)
    benchmark = dataclasses.replace(config.data, benchmark=str(photos))
    validation = Validation(dataclasses.replace(config, data=benchmark))
    figures, sheet = validation.run(Trainer(config).ema)
    assert figures.keys() == {
        "benchmark/blank",
        *(f"simulated/{kind}" for kind in ("blank", "given", "foreign", "gap")),
    }
    gap = figures["simulated/given"] - figures["simulated/blank"]
    assert figures["simulated/gap"] == pytest.approx(gap)
    assert all(math.isfinite(value) for value in figures.values())
    assert sheet is not None
    assert sheet.dtype == np.uint8


def test_only_better_weights_are_kept(tmp_path: Path, photos: Path) -> None:
    class Canned:
        def __init__(self) -> None:
            self.values = [30.0, 29.0, 31.0]

        def run(self, _: object) -> tuple[dict[str, float], None]:
            value = self.values.pop(0)
            return {"pairs/given": value, "pairs/blank": value, "pairs/gap": 100 - value}, None

    trainer, canned = Trainer(run_config(photos, tmp_path)), Canned()
    validation: Any = canned
    kept: list[int] = []
    log = Log(trainer, validation, tmp_path)
    for step in (1, 2, 3):
        trainer.step, trainer.terms = step, {"loss": 0.1}
        log.add(trainer)
        log.report(trainer)
        kept.append(load_weights(tmp_path / "best.safetensors")[1]["steps"])
    log.close()
    assert kept == [1, 1, 3]
    assert trainer.best == 31.0
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["pairs/given"] for line in lines] == [30.0, 29.0, 31.0]
