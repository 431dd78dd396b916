"""The programs in examples/, run as a reader runs them; the ComfyUI node: test_comfyui.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import PIL.Image
import pytest

from scenes import facade

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("examples")
    hr = PIL.Image.fromarray(facade(3, 4, 3))
    hr.save(folder / "sharp.png")
    hr.resize((64, 48), PIL.Image.Resampling.BICUBIC).save(folder / "small.png")
    (folder / "broken.png").write_text("no photo")
    return folder


def example(name: str, folder: Path, *arguments: str) -> tuple[str, str]:
    """What the program prints on stdout and stderr; fails where it fails."""
    command = [sys.executable, EXAMPLES / name, *arguments]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def test_there_are_five_and_each_is_run_here() -> None:
    text = Path(__file__).read_text()
    names = [path.name for path in EXAMPLES.glob("*.py") if path.stem != "comfyui_refsr"]
    assert len(names) == 5
    assert all(f'"{name}"' in text for name in names)


def test_one_photo(pair: Path) -> None:
    words, _ = example("one_photo.py", pair, "small.png", "sharp.png", "out.png")
    assert "sharp.png It covers" in words
    assert PIL.Image.open(pair / "out.png").size == (256, 192)


def test_many_photos(pair: Path) -> None:
    (pair / "out").mkdir()
    arguments = "sharp.png", "out", "broken.png", "small.png"
    _, complaints = example("many_photos.py", pair, *arguments)
    assert "broken.png" in complaints
    assert [path.name for path in (pair / "out").iterdir()] == ["small.png"]


def test_threads(pair: Path) -> None:
    words, _ = example("threads.py", pair)
    assert words == "(24, 32, 3) -> (96, 128, 3) uint8\n" * 4


def test_cancel(pair: Path) -> None:
    assert "cancelled: small.png was not done" in example("cancel.py", pair, "small.png", "0")[0]
    assert "done: (192, 256, 3)" in example("cancel.py", pair, "small.png", "3000")[0]


def test_where_from(pair: Path) -> None:
    words, _ = example("where_from.py", pair, "small.png", "sharp.png", "map.png")
    assert int(words.partition("%")[0]) > 30
    assert PIL.Image.open(pair / "map.png").size[0] == 256
