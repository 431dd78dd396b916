"""Photos that nobody shrank: a made-up folder whose truths lie in known places."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from refsr.arrays import Pixels
from refsr.cli import main
from refsr.errors import DataError
from refsr.evaluate import real
from refsr.evaluate.metrics import psnr
from refsr.evaluate.real import load_cases, measure_real, place_truth, psnr_within, render_real
from refsr.resize import imresize

HEAD = "case,small,reference,truth,what it is,what is right\n"
MOVED = np.array([[1.02, 0.01, -6.3], [-0.008, 0.99, 4.8]])  # result px -> truth px


@pytest.fixture(scope="session")
def scene() -> Pixels:
    """A photo-like image (HWC uint8, 384x480): rectangles and discs of all sizes, textured."""
    rng = np.random.default_rng(11)
    image = np.full((384, 480, 3), 120, np.uint8)
    for _ in range(260):
        color = tuple(int(level) for level in rng.integers(0, 256, 3))
        x, y, size = (int(v) for v in (rng.integers(0, 480), rng.integers(0, 384), 0))
        size = int(4 + 40 * rng.random() ** 2)
        if rng.random() < 0.5:
            cv2.circle(image, (x, y), size // 2, color, -1, cv2.LINE_AA)
        else:
            cv2.rectangle(image, (x, y), (x + size, y + size // 2 + 2), color, -1)
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 0.6), np.uint8)


def move(image: Pixels) -> Pixels:
    """An image (HWC uint8) from another place: its point (x, y) comes to lie at MOVED (x, y, 1)."""
    size = image.shape[1::-1]
    border = cv2.BORDER_REPLICATE
    moved = cv2.warpAffine(image, MOVED, size, flags=cv2.INTER_CUBIC, borderMode=border)
    return np.asarray(moved, np.uint8)


@pytest.fixture
def root(tmp_path: Path, scene: Pixels) -> Path:
    """Truths at scale 4, at 2, moved, of another scene, and none."""
    half = imresize(scene, scale=1 / 2)
    moved = move(scene)
    other = np.random.default_rng(1).integers(0, 255, (384, 480, 3), np.uint8)
    truths = {"four": scene, "two": half, "moved": moved, "wrong": other, "blind": None}
    lines = [HEAD]
    for name, truth in truths.items():
        folder = tmp_path / name
        folder.mkdir()
        Image.fromarray(imresize(scene, scale=1 / 4)).save(folder / "small.png")
        if name != "blind":
            Image.fromarray(np.asarray(truth)).save(folder / "truth.png")
        Image.fromarray(scene).save(folder / "ref.png")
        reference = "" if name == "two" else "ref.png"
        lines.append(f"{name},small.png,{reference},{'' if truth is None else 'truth.png'},a,b\n")
    (tmp_path / "cases.csv").write_text("".join(lines), encoding="utf-8")
    return tmp_path


def test_cases_with_a_truth_are_measured(root: Path, scene: Pixels) -> None:
    shares: list[float] = []
    result = measure_real(root, model="detail-transfer", progress=shares.append)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    rows = {row["case"]: row for row in result["rows"]}
    assert list(rows) == ["four", "two", "moved"]
    assert result["left_out"] == {
        "blind": "It has no truth.",
        "wrong": "Its truth could not be registered to the photo.",
    }
    small = imresize(scene, scale=1 / 4)
    four = rows["four"]
    assert four["bicubic_psnr"] == pytest.approx(psnr(imresize(small, scale=4.0), scene))
    assert four["none_psnr"] == pytest.approx(four["bicubic_psnr"], abs=0.02)  # no network
    assert four["given_psnr"] > four["none_psnr"] + 3  # the reference is the truth
    assert (four["scale"], four["truth"], four["what"], four["right"]) == (4, "as it is", "a", "b")
    assert four["displacement"] < 0.1

    two = rows["two"]
    expected = psnr(imresize(small, scale=2.0), imresize(scene, scale=1 / 2))
    assert (two["scale"], two["given_psnr"]) == (2, None)
    assert two["expected_gain_db"] is None
    assert four["expected_gain_db"] > 1
    assert two["bicubic_psnr"] == pytest.approx(expected)

    moved = rows["moved"]  # registered: as good as in place, but for its resampling
    assert moved["truth"] == "registered"
    assert 4 < moved["displacement"] < 12
    assert 0.8 < moved["common"] < four["common"]
    assert moved["bicubic_psnr"] == pytest.approx(four["bicubic_psnr"], abs=0.5)
    assert moved["given_psnr"] > moved["none_psnr"] + 2

    assert result["mean"]["cases"] == 2  # "two" has no reference
    mean = (four["given_psnr"] + moved["given_psnr"]) / 2
    assert result["mean"]["given_psnr"] == pytest.approx(mean)
    assert shares == sorted(shares)
    text = render_real(result)
    assert "mean of 2" in text
    assert "blind is left out: It has no truth." in text
    assert "homography" in text


def test_a_moved_truth_comes_back_into_place(scene: Pixels) -> None:
    bicubic = imresize(imresize(scene, scale=1 / 4), scale=4.0)
    truth = place_truth(move(scene), bicubic)
    assert truth is not None
    corners = np.array([[0.1, 0.1], [0.9, 0.1], [0.1, 0.9], [0.9, 0.9]]) * [480, 384]
    off = np.hypot(*(corners @ MOVED[:, :2].T + MOVED[:, 2] - corners).T).max()
    assert truth.displacement == pytest.approx(off, abs=0.1)
    assert psnr_within(truth.pixels, scene, truth.mask) > 45
    larger = imresize(scene, scale=1.5)  # of no whole scale: shrunk, then as good as in place
    placed = place_truth(larger, bicubic)
    assert placed is not None
    assert psnr_within(placed.pixels, scene, placed.mask) > 38
    assert place_truth(np.full_like(scene, 90), bicubic) is None


def test_psnr_within_a_mask(scene: Pixels, rng: np.random.Generator) -> None:
    noisy = np.clip(scene + rng.normal(0, 9, scene.shape), 0, 255).astype(np.uint8)
    mask = np.zeros(scene.shape[:2], np.bool_)
    mask[4:-4, 4:-4] = True
    assert psnr_within(noisy, scene, mask) == pytest.approx(psnr(noisy, scene))
    noisy[:200] = 0
    mask[:200] = False
    assert psnr_within(noisy, scene, mask) == pytest.approx(psnr(noisy[196:], scene[196:]))
    assert psnr_within(scene, scene, mask) == 100.0


def test_the_folder_real_is_found_below_the_root(root: Path) -> None:
    inner = root / "real"
    inner.mkdir()
    (root / "cases.csv").rename(inner / "cases.csv")
    (root / "four").rename(inner / "four")
    (inner / "cases.csv").write_text(HEAD + "four,small.png,ref.png;ref.png,,,\n")
    (case,) = load_cases(root)
    assert case.references == (inner / "four" / "ref.png",) * 2
    assert case.truth is None
    with pytest.raises(DataError, match="none has a truth that fits"):
        measure_real(root, model="detail-transfer")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("case,small,reference\n", "no column 'truth'"),
        (HEAD, "lists no cases"),
        (HEAD + ",small.png,,,,\n", "Line 2 .* names no case or no small photo"),
        (HEAD + "four,small.png,gone.png,,,\n", r"Line 2 .*gone\.png, which does not exist"),
        (HEAD + "four,small.png,,gone.png\n", r"Line 2 .*gone\.png, which does not exist"),
    ],
)
def test_a_broken_list_is_one_sentence(root: Path, text: str, sentence: str) -> None:
    (root / "cases.csv").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=sentence):
        load_cases(root)
    with pytest.raises(DataError, match=r"no cases\.csv in"):
        load_cases(root / "four")


def test_the_command(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = ["evaluate", "real", "--root", str(root), "--model", "detail-transfer", "--quiet"]
    out = tmp_path / "real.json"
    assert main([*job, "--limit", "1", "--json", str(out)]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:5] == ["case", "scale", *real.METHODS]
    assert len(json.loads(out.read_text())["rows"]) == 1
    for flags in (["--photo", "area"], ["--max-side", "64"], ["--reference", "blank"]):
        assert main([*job, *flags]) != 0
        assert f"{flags[0]} does not go with real" in capsys.readouterr().err
