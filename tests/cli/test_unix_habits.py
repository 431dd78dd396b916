"""What users of a Unix command try first: pipes, no -o, several references, Ctrl-C, a live bar."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from refsr.cli import main
from refsr.cli.output import ProgressBar
from refsr.errors import PhotoError
from refsr.image import atomic
from refsr.image.photo import load_photo

CLI = [sys.executable, "-m", "refsr"]
CHEAP = ["--model", "detail-transfer"]
Read = pytest.CaptureFixture[str]


@pytest.fixture
def small(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    PIL.Image.fromarray(pixels).save(tmp_path / "small.png")
    return tmp_path / "small.png"


def test_a_photo_through_a_pipe(small: Path) -> None:
    command = [*CLI, "upscale", "-", "-o", "-", *CHEAP]
    done = subprocess.run(command, input=small.read_bytes(), capture_output=True, check=True)
    piped = load_photo(done.stdout)
    assert (piped.format, piped.mark) == ("PNG", "result")
    assert main(["upscale", str(small), *CHEAP, "--quiet"]) == 0
    np.testing.assert_array_equal(
        piped.pixels, load_photo(small.with_name("small_refsr.png")).pixels
    )
    assert b"-: 32 x 24, " in done.stderr
    done = subprocess.run([*CLI, "upscale", "-", *CHEAP], input=b"", capture_output=True)
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"is empty (0 bytes)" in done.stderr


def test_a_result_without_a_name_lies_beside_its_photo(small: Path, capfd: Read) -> None:
    out = small.with_name("small_refsr.png")
    for _ in range(2):  # a result may be replaced
        assert main(["upscale", str(small), *CHEAP]) == 0
        assert f"{out}: 32 x 24" in capfd.readouterr().err
    out.write_bytes(small.read_bytes())
    assert main(["upscale", str(small), *CHEAP]) == 1
    assert "exists and is no result of refsr; name the result with -o." in capfd.readouterr().err
    assert out.read_bytes() == small.read_bytes()


def test_folders_of_results_are_made_and_a_folder_is_for_batch(small: Path, capfd: Read) -> None:
    made = small.parent / "a" / "b"
    files = ["--map", str(made / "m" / "map.png"), "--report", str(made / "r" / "report.json")]
    assert main(["upscale", str(small), "-o", str(made / "out.png"), *files, *CHEAP]) == 0
    assert {path.name for path in made.rglob("*.*")} == {"out.png", "map.png", "report.json"}
    capfd.readouterr()
    assert main(["upscale", str(small.parent), "-o", str(made / "x.png")]) == 1
    assert f"with `refsr batch {small.parent} -o OUT`." in capfd.readouterr().err
    assert main(["batch", str(small), "-o", str(made)]) == 1
    assert f"with `refsr upscale {small}`." in capfd.readouterr().err


def test_quality_is_that_of_the_file(small: Path) -> None:
    sizes: list[int] = []
    for quality in ("20", "95", ""):  # the last: by default
        out = small.with_name(f"q{quality}.jpg")
        flags = ["--quality", quality] if quality else []
        assert main(["upscale", str(small), "-o", str(out), *CHEAP, "--quiet", *flags]) == 0
        sizes.append(len(out.read_bytes()))
    assert sizes[0] < sizes[1] == sizes[2]


def test_what_a_format_cannot_hold_is_noted(small: Path, capfd: Read) -> None:
    rgba = np.full((6, 8, 4), 200, np.uint8)
    rgba[:, :4, 3] = 0
    PIL.Image.fromarray(rgba).save(small.with_name("clear.png"))
    rgba[..., 3] = 255
    PIL.Image.fromarray(rgba).save(small.with_name("opaque.png"))
    told: dict[str, bool] = {}
    for name in ("clear", "opaque"):
        for ending in ("jpg", "png"):
            photo, out = small.with_name(f"{name}.png"), small.with_name(f"out.{ending}")
            assert main(["upscale", str(photo), "-o", str(out), *CHEAP, "--json"]) == 0
            notes = json.loads(capfd.readouterr().out)["notes"]
            told[f"{name}.{ending}"] = any("were laid over white" in note for note in notes)
    assert told == {
        "clear.jpg": True,
        "clear.png": False,
        "opaque.jpg": False,
        "opaque.png": False,
    }


def test_a_side_that_the_format_cannot_hold_is_known_before_the_work(
    small: Path, capfd: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "refsr.upscaler.estimate_blindly", lambda *_: pytest.fail("the long job has begun")
    )
    wide = small.with_name("wide.png")
    PIL.Image.fromarray(np.zeros((4, 4200, 3), np.uint8)).save(wide)
    for flags in (["-o", "out.webp"], ["-o", "out.png", "--map", "map.webp"]):
        given = [str(small.with_name(one)) if "." in one else one for one in flags]
        assert main(["upscale", str(wide), *given, *CHEAP]) == 1
        assert "does not fit into WEBP, which ends at 16383" in capfd.readouterr().err


def test_a_mounted_file_is_known_before_the_work(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = small.with_name("a mounted.png")
    out.write_bytes(b"")
    atomic.check_writable(out)
    table = small.with_name("mountinfo")
    where = os.fspath(out.resolve()).replace(" ", r"\040")
    table.write_text(f"22 1 8:1 / / rw - ext4 /dev/sda rw\n30 22 8:1 /x {where} rw - ext4 /d rw\n")
    monkeypatch.setattr(atomic, "MOUNTS", table)
    with pytest.raises(PhotoError, match="is mounted and cannot be replaced; mount its folder"):
        atomic.check_writable(out)
    atomic.check_writable(small)


@pytest.mark.linux
def test_a_file_that_is_really_mounted(small: Path) -> None:
    out = small.with_name("out.png")
    out.write_bytes(b"")
    if (
        os.geteuid()
        or subprocess.run(["mount", "--bind", small, out], capture_output=True).returncode
    ):
        pytest.skip("only root can mount a file")
    try:
        with pytest.raises(PhotoError, match="is mounted"):
            atomic.check_writable(out)
    finally:
        subprocess.run(["umount", out], check=True)


@pytest.mark.posix
@pytest.mark.parametrize("delay", [0.03, 0.06, 0.1, 0.2, 0.3])
def test_ctrl_c_while_it_loads_is_no_traceback(delay: float, small: Path) -> None:
    """What Python does before the program's first line is its own."""
    begun = """
import sys
from refsr.__main__ import main
print("begun", flush=True)
sys.exit(main())
"""
    job = subprocess.Popen(
        [sys.executable, "-c", begun, "upscale", small, "-o", small.with_name("out.png")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert job.stdout is not None
    job.stdout.readline()
    time.sleep(delay)
    job.send_signal(signal.SIGINT)
    _, err = job.communicate(timeout=100)
    assert "Traceback" not in err
    assert (job.returncode, err) in [(130, "refsr: interrupted\n"), (0, err)]


class Bar:
    """In place of tqdm's: remembers what was drawn."""

    n = 0.0

    def __init__(self) -> None:
        self.drawn: list[float] = []

    def refresh(self) -> None:
        self.drawn.append(self.n)


class Clock:
    """In place of the module time."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("refsr.cli.output.time", clock)
    return clock


def watch(progress: ProgressBar, clock: Clock, *times: float) -> None:
    for clock.now in times:
        progress.tick()


def test_the_bar_moves_between_reports_and_never_back(clock: Clock) -> None:
    bar: Any = Bar()
    progress = ProgressBar(bar)
    watch(progress, clock, 1.0)
    assert bar.drawn == [0.0], "nothing is known yet"
    progress.expect(9.0)
    watch(progress, clock, 2.0, 4.0, 8.0, 16.0, 60.0)
    assert bar.drawn == sorted(set(bar.drawn)), "it moves every time"
    assert 0.15 < bar.drawn[1] < 0.25
    assert bar.drawn[-1] < 1
    clock.now = 61.0
    progress(0.5)  # later than it showed
    drawn = len(bar.drawn)
    watch(progress, clock, 62.0, 75.0, 100.0)
    assert bar.drawn == sorted(bar.drawn)
    assert len(bar.drawn) == drawn + 3


def test_within_a_tile_the_bar_goes_by_the_pace_so_far(clock: Clock) -> None:
    bar: Any = Bar()
    progress = ProgressBar(bar)
    for clock.now, share in ((10.0, 0.25), (20.0, 0.5)):
        progress(share)
    watch(progress, clock, 22.0, 25.0, 29.0)
    assert bar.drawn[-3] > 0.53
    assert 0.6 < bar.drawn[-1] < 0.75


@pytest.mark.posix
def test_a_terminal_sees_the_time_pass_within_a_tile(small: Path) -> None:
    import pty
    import termios

    code = """
import sys, time
from refsr.cli import main
from refsr.render import Renderer
compute = Renderer.compute
def slow(*arguments):
    time.sleep(3)
    return compute(*arguments)
Renderer.compute = slow
sys.exit(main(sys.argv[1:]))
"""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    job = [sys.executable, "-c", code, "upscale", small, "-o", small.with_name("out.png"), *CHEAP]
    subprocess.run(job, stderr=theirs, check=True)
    os.close(theirs)
    words = os.read(ours, 100_000).decode()
    os.close(ours)
    assert all(f"00:0{second} elapsed" in words for second in (1, 2))
