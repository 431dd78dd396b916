"""Faults caused for real: full and read-only disks, no memory, signals in every stage, two writers.

Each in a process of its own. Whatever happens, what stood at the output path stands, or the whole
result does; the counts are in docs/RELIABILITY.md.
"""

from __future__ import annotations

import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray

from refsr import RefsrError
from refsr.cli import main, progress_bar
from refsr.data.pairs import load_jobs
from refsr.image.photo import load_photo
from refsr.resize import imresize
from refsr.upscaler import Upscaler

if sys.platform == "win32":
    pytest.skip("the faults are caused by POSIX's signals and limits", allow_module_level=True)

OLD = b"what stood here before"
PATIENCE = 600  # seconds: other work may share the cores
LIMITED = """
import resource, sys
from refsr.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
sys.exit(main(sys.argv[2:]))
"""


@pytest.fixture
def folder(natural: NDArray[np.uint8], tmp_path: Path) -> Path:
    """A folder with small.png, its sharp.png and dot.png."""
    PIL.Image.fromarray(natural).save(tmp_path / "sharp.png")
    PIL.Image.fromarray(imresize(natural, scale=0.25)).save(tmp_path / "small.png")
    PIL.Image.new("RGB", (1, 1), (9, 200, 30)).save(tmp_path / "dot.png")
    return tmp_path


def python(code: str, *arguments: object, **options: object) -> subprocess.Popen[str]:
    """A process that runs ``code``, its answer and words to be read."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,  # type: ignore[call-overload]
    )


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*.tmp")]


# Full and read-only disks, and outputs that are inputs


@pytest.mark.parametrize(
    ("limit", "fails", "files"),
    [
        (4096, "out.png", ["-o", "out.png"]),
        (4096, "out.tif", ["-o", "out.tif"]),
        (4096, "out.webp", ["-o", "out.webp"]),
        (400, "report.json", ["-o", "out.png", "--report", "report.json"]),
    ],
)
def test_no_room_for_a_file(folder: Path, limit: int, fails: str, files: list[str]) -> None:
    """The system refuses to let a file grow, as a full disk or a quota does."""
    photo = "dot.png" if limit == 400 else "small.png"
    (folder / fails).write_bytes(OLD)
    job = ["upscale", photo, "--model", "detail-transfer", "--quiet", *files]
    done = python(LIMITED, limit, *job, cwd=folder)
    out, err = done.communicate(timeout=PATIENCE)
    assert (done.returncode, out) == (1, "")
    assert err == f"refsr: {fails} cannot be written: the file would be larger than allowed.\n"
    assert (folder / fails).read_bytes() == OLD
    assert leftovers(folder) == []
    if fails != files[1]:  # what came before it is whole
        assert load_photo(folder / files[1]).pixels.size


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk that is mounted read-only; for others than root, a locked one."""
    place = tmp_path / "locked"
    place.mkdir()
    if os.geteuid() != 0:
        place.chmod(0o500)
        yield place
        place.chmod(0o700)
        return
    mount = ["mount", "-t", "tmpfs", "-o", "ro,size=64k", "none", str(place)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("root may write everywhere, and mounts nothing here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_read_only_folder_is_found_before_the_work(
    folder: Path, read_only: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for flags in (["-o", "a.png"], ["--report", "a.json"], ["--map", "a.png"]):
        place = [flags[0], str(read_only / flags[1])]
        out = [] if flags[0] == "-o" else ["-o", str(folder / "out.png")]
        assert main(["upscale", str(folder / "small.png"), *out, *place]) == 1
        err = capfd.readouterr().err
        assert "cannot be written: the disk is read-only." in err or "permission denied" in err
    assert not (folder / "out.png").exists()


def test_an_output_that_is_an_input_by_another_name(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = (folder / "small.png").read_bytes()
    job = ["upscale", str(folder / "small.png"), "--model", "detail-transfer", "--quiet"]
    (folder / "soft.png").symlink_to("small.png")
    assert main([*job, "-o", str(folder / "soft.png")]) == 1
    assert "is an input photo" in capfd.readouterr().err
    os.link(folder / "small.png", folder / "hard.png")
    assert main([*job, "-o", str(folder / "hard.png")]) == 0  # a new file takes that name
    assert load_photo(folder / "hard.png").width == 256
    assert (folder / "small.png").read_bytes() == before


def test_a_photo_of_a_folder_of_references_is_not_written_over(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = (folder / "sharp.png").read_bytes()
    job = ["upscale", str(folder / "small.png"), "--ref", str(folder)]
    assert main([*job, "-o", str(folder / "sharp.png")]) == 1
    assert "sharp.png is an input photo" in capfd.readouterr().err
    assert (folder / "sharp.png").read_bytes() == before


# Signals

STAGES = """
import sys, time
import refsr.image.atomic, refsr.image.photo, refsr.registration.references, refsr.upscaler
from pathlib import Path
from refsr.cli import main
from refsr.inference.network import Network
from refsr.render import Renderer

stage, arguments = sys.argv[1], sys.argv[2:]

def stops(name, function, holder, of):
    def slow(*given, **options):
        if name == stage:
            print("here", flush=True)
            time.sleep(600)
        return function(*given, **options)
    setattr(holder, of, slow)

pipeline = refsr.upscaler
sources = refsr.registration.references
stops("features", sources.prepare_reference, sources, "prepare_reference")
stops("decode", pipeline.load_photo, pipeline, "load_photo")
stops("register", pipeline.register_coarse, pipeline, "register_coarse")
stops("network", Network.run, Network, "run")
stops("tile", Renderer.compute, Renderer, "compute")
stops("report", pipeline.build_report, pipeline, "build_report")
stops("write", refsr.image.atomic.os.fsync, refsr.image.atomic.os, "fsync")
stops("rename", Path.replace, Path, "replace")
sys.exit(main(arguments))
"""
STAGE_NAMES = [
    *("decode", "features", "register", "network", "tile", "report", "write", "rename"),
]


@pytest.mark.parametrize("stage", STAGE_NAMES)
@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "kill"])
def test_ended_in_every_stage(folder: Path, stage: str, blow: signal.Signals) -> None:
    (folder / "out.png").write_bytes(OLD)
    model = "ssen" if stage == "network" else "detail-transfer"
    job = ["upscale", "small.png", "--ref", "sharp.png", "-o", "out.png", "--model", model]
    victim = python(STAGES, stage, *job, "--threads", 1, cwd=folder)
    assert victim.stdout is not None
    assert victim.stdout.readline() == "here\n"
    victim.send_signal(blow)
    _, err = victim.communicate(timeout=PATIENCE)
    assert (folder / "out.png").read_bytes() == OLD
    if blow == signal.SIGKILL:
        assert victim.returncode == -signal.SIGKILL
        assert bool(leftovers(folder)) == (stage in ("write", "rename"))  # nobody could remove it
    else:
        assert (victim.returncode, err) == (130, "refsr: interrupted\n")
        assert leftovers(folder) == []


WRITER = """
import sys, numpy as np
from pathlib import Path
from refsr.image.photo import Photo, save_photo
photo = Photo.of(np.full((64, 64), int(sys.argv[2]), np.uint8))
print("ready", flush=True)
sys.stdin.readline()
while not Path(sys.argv[3]).exists():
    save_photo(photo, sys.argv[1])
"""


def test_two_processes_write_the_same_output(tmp_path: Path) -> None:
    """A reader always finds the whole result of one of them."""
    target, enough = tmp_path / "out" / "out.png", tmp_path / "enough"
    target.parent.mkdir()
    writers = [python(WRITER, target, level, enough, stdin=subprocess.PIPE) for level in (50, 200)]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdin is not None
        assert writer.stdout.readline() == "ready\n"
        writer.stdin.write("go\n")
        writer.stdin.flush()
    seen, reads = set[int](), 0
    until = time.monotonic() + PATIENCE
    while (reads < 60 or seen != {50, 200}) and time.monotonic() < until:
        if target.exists():
            pixels = load_photo(target).pixels
            assert pixels.min() == pixels.max()
            seen.add(int(pixels[0, 0, 0]))
            reads += 1
        assert all(writer.poll() is None for writer in writers)
    enough.touch()
    for writer in writers:
        out, err = writer.communicate()
        assert (writer.returncode, out, err) == (0, "", "")
    assert reads >= 60
    assert seen == {50, 200}
    assert list(target.parent.iterdir()) == [target]


# Memory

SHORT = """
import json, resource, sys
from pathlib import Path
import cv2
import numpy as np
import skimage.data
from refsr import Upscaler
from refsr.inference.memory import trim_heap
from refsr.resize import imresize

small = imresize(skimage.data.astronaut(), scale=160 / 512)  # clean: nothing is undone before
cv2.setNumThreads(1)  # the threads of many cores would take memory of their own
upscaler = Upscaler.load("ssen", runtime="onnx", threads=1, max_memory="1.5GB")
upscaler.upscale(small[:8, :8])
trim_heap()
sizes, run = [], upscaler.networks.clean.run
def counted(lr, *rest, **options):
    sizes.append(lr.shape[0] * lr.shape[1])
    return run(lr, *rest, **options)
upscaler.networks.clean.run = counted
held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + 125_000_000, resource.RLIM_INFINITY))
parts = upscaler.upscale(small).image.astype(int)
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
halved, sizes = sizes[:], []
difference = np.abs(upscaler.upscale(small).image.astype(int) - parts)
print(json.dumps([halved, sizes, int(difference.max()), float(difference.mean())]))
"""


@pytest.mark.linux
def test_a_tile_that_memory_does_not_hold_is_halved() -> None:
    """The system really refuses the memory of a tile of 160 x 160; two of half the size do."""
    job = python(SHORT, env={**os.environ, "OPENBLAS_NUM_THREADS": "1"})
    out, err = job.communicate(timeout=PATIENCE)
    assert job.returncode == 0, err
    halved, afterwards, most, mean = json.loads(out)
    assert halved[0] == 160 * 160
    assert 1 < len(halved) <= 5
    assert max(halved[1:]) <= 160 * 160 // 2
    assert afterwards == [160 * 160]  # with memory enough, the next job takes the whole again
    assert most <= 2
    assert mean < 0.05


# Clocks and streams


def test_a_clock_that_jumps_changes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    upscaler = Upscaler.load("detail-transfer")
    upscaler.set_reference(folder / "sharp.png")
    wanted = upscaler.upscale(folder / "small.png").photo.pixels
    for when in (-(2**31), 2**33):  # 1901 and 2242
        for name in ("small.png", "sharp.png"):
            os.utime(folder / name, (when, when))
    clock = random.Random(1)
    monkeypatch.setattr(time, "time", lambda: clock.uniform(-(2**31), 2**33))

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress_bar("small.png", quiet=False) as progress:
        upscaler.set_reference(folder / "sharp.png")
        result = upscaler.upscale(folder / "small.png", progress=progress)
    np.testing.assert_array_equal(result.photo.pixels, wanted)
    assert all(0 <= seconds < 600 for seconds in result.report["seconds"].values())
    result.save(folder / "out.png")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed(folder: Path, closed: str) -> None:
    command = f"{sys.executable} -m refsr upscale dot.png -o out.png --json {closed}"
    done = subprocess.run(["sh", "-c", command], cwd=folder, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "" if "2" in closed else done.stderr)
    assert "Traceback" not in done.stderr
    assert load_photo(folder / "out.png").width == 4


def test_what_c_libraries_say_is_not_heard(folder: Path) -> None:
    """libtiff complains on file descriptor 2 itself; the user reads one sentence."""
    gray = PIL.Image.open(folder / "sharp.png").convert("1")
    gray.save(folder / "fax.tif", compression="group4")
    data = bytearray((folder / "fax.tif").read_bytes())
    data[300:900:7] = bytes(len(range(300, 900, 7)))
    (folder / "fax.tif").write_bytes(data)
    code = "import sys; from refsr.image.photo import load_photo; load_photo(sys.argv[1])"
    spoken = python(code, folder / "fax.tif").communicate()[1]
    assert "Fax4Decode" in spoken  # the library alone: else this test shows nothing
    job = [sys.executable, "-m", "refsr", "upscale", "fax.tif", "-o", "out.png"]
    job += ["--model", "detail-transfer"]
    done = subprocess.run(job, cwd=folder, capture_output=True, text=True)
    assert "Fax4Decode" not in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(("refsr: ", "out.png: "))


def test_the_limit_on_open_files_is_a_sentence(folder: Path) -> None:
    code = """
import resource, sys
import refsr.upscaler, onnxruntime
from refsr.cli import main
resource.setrlimit(resource.RLIMIT_NOFILE, (3, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
sys.exit(main(sys.argv[1:]))
"""
    done = python(code, "upscale", "small.png", "-o", "out.png", cwd=folder)
    _, err = done.communicate(timeout=PATIENCE)
    assert done.returncode == 1
    assert err.startswith("refsr: ")
    assert err.count("\n") == 1


def test_names_that_no_file_can_have(folder: Path) -> None:
    for name in ("x" * 5000, "nul\0", "a/" * 3000):
        with pytest.raises(RefsrError):
            Upscaler.load(name)
        with pytest.raises(RefsrError):
            Upscaler.load(f"{name}.onnx")
        upscaler = Upscaler.load("detail-transfer")
        with pytest.raises(RefsrError):
            upscaler.set_reference(name)
        with pytest.raises(RefsrError):
            upscaler.upscale(name)
        (folder / "list.csv").write_text(f"input,reference,kind\nsmall.png,{name},near\n")
        with pytest.raises(RefsrError):
            load_jobs(str(folder / "list.csv"), folder)
