"""refsr data check: every fault is reported, and none where there is none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from refsr.cli import main
from refsr.data.check import MAX_LISTED, check, render

Read = pytest.CaptureFixture[str]


def save(path: Path, size: tuple[int, int], seed: int = 0) -> Path:
    """A noise picture of (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def problems(folder: Path) -> list[tuple[str, str]]:
    (found,) = check(folder)
    return [(problem.kind, problem.sentence) for problem in found.problems]


def test_cufed_pairs(tmp_path: Path) -> None:
    for index, name in enumerate("abcde"):
        save(tmp_path / "input" / f"{name}.png", (160, 160), index)
        save(tmp_path / "ref" / f"{name}.png", (160, 160), index + 9)
    (whole,) = check(tmp_path)
    assert not whole.problems
    assert whole.notes == ("5 pairs; all of CUFED are 11871",)
    assert render(whole).endswith("no problems")

    save(tmp_path / "ref/a.png", (159, 160), 20)
    small = save(tmp_path / "input/b.png", (160, 100))
    far = save(tmp_path / "ref/c.png", (70, 160))
    torn = tmp_path / "ref/d.png"
    torn.write_bytes(torn.read_bytes()[:500])
    same = shutil.copy(tmp_path / "input/e.png", tmp_path / "ref/e.png")
    assert problems(tmp_path) == [
        ("unreadable", f"{torn} is damaged or cut short and cannot be read."),
        ("small", f"{small} has 160 x 100 pixels; at least 160 a side are needed."),
        (
            "size",
            f"{far} has 70 x 160 pixels and its input 160 x 160; the patches of a pair must have "
            "about the same size.",
        ),
        ("same", f"{same} is the same file as its input {tmp_path / 'input/e.png'}."),
    ]
    (found,) = check(tmp_path)
    assert "2 references differ in size from their input and are padded or cropped" in found.notes


def test_own_scenes_and_their_list(tmp_path: Path) -> None:
    for seed, name in enumerate(("house/a.jpg", "house/b.jpg", "tree/a.jpg")):
        save(tmp_path / name, (130, 140), seed)
    (tmp_path / "pairs.csv").write_text("input,reference,kind\nhouse/a.jpg,house/c.jpg,x\n")
    kinds = [kind for kind, _ in problems(tmp_path)]
    assert kinds == ["unpaired", "list"]
    save(tmp_path / "tree/b.jpg", (130, 140), 4)
    (tmp_path / "pairs.csv").write_text("input,reference,kind\nhouse/a.jpg,house/b.jpg,x\n")
    assert problems(tmp_path) == []


def test_benchmarks_are_small_and_training_photos_are_not(tmp_path: Path) -> None:
    for index in range(5):
        save(tmp_path / "set5" / f"{index}.png", (40, 40), index)
        save(tmp_path / "mine" / f"{index}.png", (40, 40), index)
    mine, set5 = check(tmp_path)
    assert [problem.kind for problem in mine.problems] == ["small"] * 5
    assert not set5.problems


def test_a_long_report_is_cut_for_people_alone(tmp_path: Path, capfd: Read) -> None:
    for index in range(MAX_LISTED + 3):
        save(tmp_path / f"{index:02}.png", (20, 20), index)
    assert main(["data", "check", str(tmp_path)]) == 1
    out, err = capfd.readouterr()
    assert out.splitlines()[-1] == "  small: 3 more; --json lists them all"
    assert err == f"refsr: {MAX_LISTED + 3} problems in {tmp_path}.\n"
    assert main(["data", "check", str(tmp_path), "--json"]) == 1
    (found,) = json.loads(capfd.readouterr().out)["sets"]
    assert found["layout"] == "photos"
    assert len(found["problems"]) == MAX_LISTED + 3
    assert found["problems"][0].keys() == {"kind", "file", "problem"}


def test_the_command_line(tmp_path: Path, natural: NDArray[np.uint8], capfd: Read) -> None:
    Image.fromarray(natural).save(tmp_path / "a.png")
    assert main(["data", "check", str(tmp_path)]) == 0
    out, err = capfd.readouterr()
    assert out == f"{tmp_path}: photos, 1 photos\n  no problems\n"
    assert err == ""
    assert main(["data", "check", str(tmp_path / "nowhere")]) == 1
    assert "does not exist" in capfd.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        main(["data"])
    assert stopped.value.code == 2


def test_the_samples_of_cufed_lack_what_they_lack(shared_data: Path) -> None:
    found = {data.layout: data for data in check(shared_data / "cufed_samples")}
    (missing,) = found["cufed5"].problems
    assert missing.sentence.endswith("lacks 125 of 126 groups: 000, 002-125.")
