"""The commands as a user calls them: exit codes, plain sentences, nothing half-written."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import PIL.Image
import pytest
import skimage.data
from numpy.typing import NDArray

from refsr.cli import COMMANDS, duration, main
from refsr.cli.usage import flags_of, with_repeated_ref
from refsr.errors import DataError
from refsr.inference.memory import parse_memory
from refsr.render import Renderer
from refsr.resize import imresize

CLI = [sys.executable, "-m", "refsr"]
RUN = "import sys; from refsr.cli import main; sys.exit(main(sys.argv[1:]))"
Read = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """small.png, its sharp.jpg, a mismatched.jpg, and files that are no photos or broken."""
    folder = tmp_path_factory.mktemp("photos")
    hr: NDArray[np.uint8] = np.asarray(skimage.data.astronaut()[:256, 100:356], np.uint8)
    small = PIL.Image.fromarray(imresize(hr, scale=0.25))
    small.save(folder / "small.png")
    small.save(folder / "small.jpg", quality=95)
    PIL.Image.fromarray(hr).save(folder / "sharp.jpg", quality=95)
    PIL.Image.fromarray(skimage.data.coffee()[:256, :256]).save(
        folder / "mismatched.jpg", quality=95
    )
    PIL.Image.new("RGB", (1, 1), (9, 200, 30)).save(folder / "dot.png")
    (folder / "text.jpg").write_text("Dear diary, this is no photo at all.\n")
    (folder / "cut.jpg").write_bytes((folder / "sharp.jpg").read_bytes()[:9000])
    (folder / "cut.png").write_bytes((folder / "small.png").read_bytes()[:4000])
    deep = (hr.astype(np.uint16) * 257)[:64, :64]
    from refsr.image.photo import Photo, save_photo

    save_photo(Photo.of(deep), folder / "deep.tif")
    (folder / "cut.tif").write_bytes((folder / "deep.tif").read_bytes()[:-3000])
    (folder / "zero.jpg").write_bytes(b"")
    for name, seal in (("broken", hashlib.sha256(b"no model").hexdigest()), ("mismatched", "0")):
        (folder / f"{name}.onnx").write_bytes(b"no model")
        (folder / f"{name}.json").write_text(json.dumps({"multiple": 32, "sha256": seal}))
    (folder / "no_card.onnx").write_bytes(b"no model")
    (folder / "folder.jpg").mkdir()
    (folder / "empty").mkdir()
    return folder


def refused(capfd: Read, *arguments: object) -> str:
    """The one sentence with which the command line refuses ``arguments`` (exit code 1)."""
    assert main([str(argument) for argument in arguments]) == 1
    out, err = capfd.readouterr()
    assert out == ""
    return one_sentence(err)


def one_sentence(err: str) -> str:
    assert err.startswith("refsr: ")
    assert err.count("\n") == 1
    assert err.endswith((".\n", "?\n"))
    assert not any(word in err for word in ("Traceback", "Error", "errno", "[", "None"))
    return err[len("refsr: ") : -1]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing.jpg", "There is no file"),
        ("folder.jpg", "is a folder"),
        ("text.jpg", "holds text, not a picture"),
        ("cut.jpg", "damaged or cut short"),
        ("cut.png", "damaged or cut short"),
        ("cut.tif", "damaged or cut short"),
        ("zero.jpg", "is empty (0 bytes)"),
    ],
)
@pytest.mark.parametrize("role", ["photo", "reference", "check"])
def test_a_bad_photo_is_refused_in_one_sentence(
    name: str, words: str, role: str, photos: Path, tmp_path: Path, capfd: Read
) -> None:
    bad, good, out = photos / name, photos / "small.png", tmp_path / "out.png"
    if role == "reference" and name == "folder.jpg":
        words = "holds no photos"
    arguments: dict[str, list[object]] = {
        "photo": ["upscale", bad, "-o", out],
        "reference": ["upscale", good, "--ref", bad, "-o", out],
        "check": ["check", bad, "--ref", good],
    }
    sentence = refused(capfd, *arguments[role])
    assert words in sentence
    assert name in sentence
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_of_references_is_refused(
    photos: Path, tmp_path: Path, capfd: Read
) -> None:
    for command in (["upscale", "-o", tmp_path / "out.png"], ["check"]):
        first, *rest = command
        words = refused(capfd, first, photos / "small.png", "--ref", photos / "empty", *rest)
        assert "empty holds no photos" in words
    assert list(tmp_path.iterdir()) == []


OUTPUTS: list[tuple[list[str], str]] = [
    (["-o", "{small}/none/out.png"], "none cannot be made: no such folder"),
    (["-o", "{tmp}/locked.png"], "is write-protected"),
    (["-o", "{tmp}/out.xyz"], "ends in .xyz"),
    (["-o", "{tmp}/out"], "has no extension"),
    (["-o", "/dev/full"], "has no extension"),
    (["-o", "{tmp}/a.png/"], "is a folder"),
    (["-o", "{tmp}/device.png"], "is no ordinary file"),
    (["-o", "{small}"], "is an input photo"),
    (["-o", "{sharp}"], "is an input photo"),
    (["-o", "{tmp}/out.png", "--map", "{tmp}/./out.png"], "would be written twice"),
    (["-o", "{tmp}/out.png", "--map", "{small}/map.png"], "cannot be made"),
    (["-o", "{tmp}/out.png", "--map", "{tmp}/map.json"], "ends in .json"),
    (["-o", "{tmp}/out.png", "--report", "{small}/report.json"], "cannot be made"),
    (["-o", "/proc/x.png"], "its folder takes no new files"),
    (["-o", "{tmp}/out.jpg", "--quality", "101"], "quality must be 1 to 100, not 101"),
    (["-o", "-", "--json"], "both write to stdout"),
    (["-o", "{tmp}/out.png", "--report", "{tmp}"], "is a folder"),
    (["-o", "{tmp}/out.png", "--report", "{small}"], "is an input photo"),
    (["-o", "{tmp}/out.png", "--model", "ssem"], "did you mean 'ssen'?"),
    (["-o", "{tmp}/out.png", "--model", "detail-transfr"], "did you mean 'detail-transfer'?"),
    (["-o", "{tmp}/out.png", "--model", "xyz"], "there are: auto, ssen, ssen-crisp, ssen-robust"),
    (["-o", "{tmp}/out.png", "--model", "{tmp}/my.onnx"], "There is no model"),
    (["-o", "{tmp}/out.png", "--model", "{photos}/no_card.onnx"], "card"),
    (["-o", "{tmp}/out.png", "--model", "{photos}/mismatched.onnx"], "not the file its card"),
    (["-o", "{tmp}/out.png", "--model", "{photos}/broken.onnx"], "is no ONNX file, or damaged"),
    (["-o", "{tmp}/out.png", "--device", "cuda"], "install onnxruntime-gpu"),
    (["-o", "{tmp}/out.png", "--max-memory", "lots"], "'lots' is not an amount of memory"),
    (["-o", "{tmp}/out.png", "--max-memory", "-1GB"], "'-1GB' is not an amount of memory"),
    (["-o", "{tmp}/out.png", "--threads", "-2"], "threads must be 0 (all cores) or more, not -2"),
]


@pytest.mark.posix
@pytest.mark.parametrize(("flags", "words"), OUTPUTS, ids=[w for _, w in OUTPUTS])
def test_what_cannot_work_is_found_before_the_long_job(
    flags: list[str],
    words: str,
    photos: Path,
    tmp_path: Path,
    capfd: Read,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "refsr.upscaler.register_coarse", lambda *_: pytest.fail("the long job has begun")
    )
    (tmp_path / "a.png").mkdir()
    (tmp_path / "locked.png").write_bytes(b"before")
    (tmp_path / "locked.png").chmod(0o444)
    os.mkfifo(tmp_path / "device.png")
    if "locked" in str(flags):  # root may write anything: the file system has the last word
        monkeypatch.setattr(os, "access", lambda path, mode: Path(path).stat().st_mode & 0o200)
    small, sharp = photos / "small.png", photos / "sharp.jpg"
    before = {path: path.read_bytes() for path in (small, sharp)}
    if "cuda" in flags:
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPU"])
    places = {"tmp": tmp_path, "photos": photos, "small": small, "sharp": sharp}
    given = [flag.format(**places) for flag in flags]
    sentence = refused(capfd, "upscale", small, "--ref", sharp, *given)
    assert words in sentence
    assert {path: path.read_bytes() for path in before} == before
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "locked.png", "device.png"}
    assert (tmp_path / "locked.png").read_bytes() == b"before"


@pytest.mark.posix
def test_a_result_may_replace_an_older_one_but_never_its_photo(
    photos: Path, tmp_path: Path, capfd: Read
) -> None:
    (tmp_path / "link.png").symlink_to(photos / "dot.png")
    words = refused(capfd, "upscale", photos / "dot.png", "-o", tmp_path / "link.png")
    assert "give the result another name" in words
    assert PIL.Image.open(photos / "dot.png").size == (1, 1)
    out = tmp_path / "out.png"
    out.write_bytes(b"older")
    out.chmod(0o640)
    assert main(["upscale", str(photos / "dot.png"), "-o", str(out)]) == 0
    assert PIL.Image.open(out).size == (4, 4)
    assert stat.S_IMODE(out.stat().st_mode) == 0o640


@pytest.mark.posix
def test_a_link_to_itself_is_one_sentence(photos: Path, tmp_path: Path, capfd: Read) -> None:
    loop, small, out = tmp_path / "loop.png", photos / "small.png", tmp_path / "out.png"
    loop.symlink_to("loop.png")
    assert "points to itself" in refused(capfd, "upscale", loop, "-o", out)
    assert "points to itself" in refused(capfd, "upscale", small, "--ref", loop, "-o", out)
    assert main(["upscale", str(small), "--ref", str(tmp_path), "-o", str(out)]) == 1
    assert "points to itself" in capfd.readouterr().err
    assert main(["batch", str(loop), "-o", str(tmp_path / "all")]) == 1
    assert "Traceback" not in capfd.readouterr().err


def test_a_photo_above_max_pixels_is_refused(photos: Path, tmp_path: Path, capfd: Read) -> None:
    job = ["upscale", photos / "small.png", "-o", tmp_path / "out.png", "--max-pixels", 1000]
    assert "64 x 64 pixels, more than the limit of 1000" in refused(capfd, *job)
    check = ["check", photos / "small.png", "--ref", photos / "sharp.jpg", "--max-pixels", 5000]
    words = refused(capfd, *check)
    assert "sharp.jpg has 256 x 256" in words
    assert "--max-pixels 65536" in words
    assert list(tmp_path.iterdir()) == []


@pytest.mark.posix
def test_a_full_disk_leaves_nothing_behind(
    photos: Path, tmp_path: Path, capfd: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, mounted = tmp_path / "disk" / "out.png", False
    out.parent.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "none", str(out.parent)]
    with_mount = os.geteuid() == 0 and sys.platform == "linux"
    try:
        mounted = with_mount and subprocess.run(mount, capture_output=True).returncode == 0
        if not mounted:

            def full(_: int) -> None:
                raise OSError(28, "No space left on device")

            monkeypatch.setattr(os, "fsync", full)
        words = refused(capfd, "upscale", photos / "small.png", "-o", out)
        assert words == f"{out} cannot be written: the disk is full."
        assert list(out.parent.iterdir()) == []
    finally:
        if mounted:
            subprocess.run(["umount", str(out.parent)], check=True)


def test_a_reference_of_one_pixel_changes_nothing(
    photos: Path, tmp_path: Path, capfd: Read
) -> None:
    small, with_dot, without = photos / "small.png", tmp_path / "a.png", tmp_path / "b.png"
    flags = ["--ref", str(photos / "dot.png")]
    assert main(["upscale", str(small), *flags, "-o", str(with_dot)]) == 0
    out, err = capfd.readouterr()
    assert out == ""
    assert "dot.png: This reference of 1 x 1 pixels is too small to show anything" in err
    assert main(["upscale", str(small), "-o", str(without), "--quiet"]) == 0
    assert capfd.readouterr() == ("", "")
    first, second = (np.asarray(PIL.Image.open(path)) for path in (with_dot, without))
    np.testing.assert_array_equal(first, second)


def test_check_says_what_each_reference_is_worth(photos: Path, capfd: Read) -> None:
    names = ["sharp.jpg", "mismatched.jpg", "dot.png"]
    flags = [flag for name in names for flag in ("--ref", str(photos / name))]
    assert main(["check", str(photos / "small.png"), *flags]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert [line.split(": ")[0] for line in lines[:3]] == names
    advice = "has all the detail that its size can hold; the reference has detail for scale 4."
    assert lines[3:] == [f"Your photo {advice}"]
    assert "of your photo; there expect a clear gain (about" in lines[0]
    assert "could not be matched" in lines[1]
    assert "1 x 1 pixels is too small" in lines[2]
    assert main(["check", str(photos / "small.png"), *flags, "--json"]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    rows = json.loads(out)["references"]
    assert [row["matched"] for row in rows] == [True, False, False]
    assert [row["expected_gain"] for row in rows] == ["clear", "none", "none"]
    assert rows[0]["coverage"] > 0.7
    assert rows[0]["zoom"] == pytest.approx(1, abs=0.03)
    assert all(row["coverage"] == 0 and row["zoom"] is None for row in rows[1:])


def test_the_json_of_a_job_is_one_object(photos: Path, tmp_path: Path, capfd: Read) -> None:
    out, report, map = tmp_path / "out.jpg", tmp_path / "report.json", tmp_path / "map.png"
    small, sharp = photos / "small.jpg", photos / "sharp.jpg"
    job = ["upscale", str(small), "--ref", str(sharp), "--ref", str(photos / "mismatched.jpg")]
    files = ["-o", str(out), "--report", str(report), "--map", str(map)]
    assert main([*job, *files, "--json", "--quiet"]) == 0
    words, err = capfd.readouterr()
    assert err == ""
    assert words.count("\n") == 1
    record = json.loads(words)
    assert record == json.loads(report.read_text())
    assert (record["input"], record["output"]) == (str(small), str(out))
    assert (record["input_size"], record["output_size"]) == ([64, 64], [256, 256])
    assert [r["reference"] for r in record["references"]] == ["sharp.jpg", "mismatched.jpg"]
    assert record["references"][0]["share_of_photo"] > 0.7
    assert record["references"][1]["share_of_photo"] == 0
    assert 0 < record["borrowed_detail"] < 1
    assert record["references"][0]["share_of_borrowed"] > 0.99
    assert sum(record["detail"].values()) == pytest.approx(1, abs=1e-3)
    assert record["expected_gain_db"] == record["references"][0]["expected_gain_db"] > 1
    assert not record["strict"]
    assert main([*job, *files, "--strict", "--quiet"]) == 0
    strict = json.loads(report.read_text())
    assert strict["strict"]
    assert strict["unconfirmed"] >= record["unconfirmed"]
    assert PIL.Image.open(out).size == PIL.Image.open(map).size == (256, 256)


def test_a_mismatched_reference_has_no_share(photos: Path, tmp_path: Path, capfd: Read) -> None:
    job = ["upscale", str(photos / "small.png"), "--ref", str(photos / "mismatched.jpg")]
    assert main([*job, "-o", str(tmp_path / "out.png"), "--json", "--quiet"]) == 0
    record = json.loads(capfd.readouterr().out)
    assert record["references"][0]["share_of_photo"] == 0
    assert record["borrowed_detail"] == 0


@pytest.mark.linux
def test_names_of_any_bytes_survive(photos: Path, tmp_path: Path) -> None:
    odd = os.fsencode(tmp_path) + b"/caf\xe9 \xf0\x9f\x98\x80.png"
    Path(os.fsdecode(odd)).write_bytes((photos / "dot.png").read_bytes())
    report = tmp_path / "report.json"
    command = [*CLI, "upscale", odd, "--ref", odd, "-o", tmp_path / "out.png", "--json"]
    environment = os.environ | {"PYTHONIOENCODING": "ascii:strict"}
    done = subprocess.run(
        [*command, "--report", report], env=environment, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["input"] == os.fsdecode(odd)
    assert json.loads(report.read_text())["input"] == os.fsdecode(odd)


def test_a_subprocess_is_quiet_and_says_one_sentence(photos: Path, tmp_path: Path) -> None:
    """Not even a C library may speak: of stderr all that is written is seen here."""
    out = tmp_path / "out.png"
    done = subprocess.run(
        [*CLI, "upscale", photos / "cut.tif", "-o", out], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "damaged or cut short" in one_sentence(done.stderr)
    job = [*CLI, "upscale", photos / "small.png", "--ref", photos / "sharp.jpg", "-o", out]
    done = subprocess.run(job, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")
    assert "\r" not in done.stderr  # no terminal, no bar
    assert len(done.stderr.splitlines()) == 2
    assert done.stderr.splitlines()[0].startswith("sharp.jpg: It covers ")
    assert f"{out}: 256 x 256, " in done.stderr.splitlines()[1]


@pytest.mark.posix
def test_a_terminal_gets_a_bar(photos: Path, tmp_path: Path) -> None:
    import pty
    import termios

    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    job = [*CLI, "upscale", photos / "dot.png", "-o", tmp_path / "out.png"]
    done = subprocess.run(job, stderr=theirs, stdout=subprocess.PIPE, check=True)
    os.close(theirs)
    assert done.stdout == b""
    assert b"dot.png   0%|" in os.read(ours, 100_000)
    os.close(ours)


INTERRUPTED = """
import sys, time
from refsr.cli import main
from refsr.render import Renderer

compute, runs = Renderer.compute, []
def slow(*arguments, **options):
    runs.append(1)
    if len(runs) == 2:
        print("in the middle", flush=True)
        time.sleep(600)
    return compute(*arguments, **options)
Renderer.compute = slow
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.posix
def test_an_interrupt_leaves_nothing_behind(photos: Path, tmp_path: Path) -> None:
    big = tmp_path / "big.png"
    PIL.Image.open(photos / "sharp.jpg").save(big)
    flags = ["upscale", big, "-o", tmp_path / "out.png", "--max-memory", "0", "--threads", "1"]
    job = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert job.stdout is not None
    assert job.stdout.readline() == "in the middle\n"
    job.send_signal(signal.SIGINT)
    _, err = job.communicate(timeout=600)
    assert job.returncode == 130
    announced, interrupted = err.splitlines()
    assert "memory, more than the 0 MB allowed" in announced
    assert interrupted == "refsr: interrupted"
    assert [path.name for path in tmp_path.iterdir()] == ["big.png"]


@pytest.mark.linux
def test_a_reader_that_leaves_and_a_full_disk_behind_stdout(photos: Path) -> None:
    check = [*CLI, "check", photos / "small.png", "--ref", photos / "dot.png"]
    ours, theirs = os.pipe()
    os.close(ours)
    done = subprocess.run(check, stdout=theirs, stderr=subprocess.PIPE, text=True)
    os.close(theirs)
    assert (done.returncode, done.stderr) == (1, "")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(check, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert one_sentence(done.stderr) == "The results cannot be written to stdout: the disk is full."


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["upscal"],
        ["upscale"],
        ["upscale", "a.png", "b.png"],
        ["upscale", "a.png", "-o", "b.png", "--device", "abacus"],
        ["upscale", "a.png", "-o", "b.png", "--threads", "many"],
        ["upscale", "a.png", "-o", "b.png", "--color"],
        ["check", "a.png"],
    ],
)
def test_wrong_usage_is_2(arguments: list[str], capfd: Read) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["upscale", "", "-o", "out.png"],
        ["upscale", "small.png", "--ref", "", "-o", "out.png"],
        ["upscale", "small.png", "--ref=", "-o", "out.png"],
        ["upscale", "small.png", "-o", ""],
        ["upscale", "small.png", "-o", "out.png", "--report", ""],
        ["upscale", "small.png", "-o", "out.png", "--map="],
        ["check", "small.png", "--ref", ""],
        ["batch", "", "-o", "out"],
    ],
)
def test_an_empty_name_is_not_the_current_folder(
    arguments: list[str],
    photos: Path,
    tmp_path: Path,
    capfd: Read,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "small.png").write_bytes((photos / "small.png").read_bytes())
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert "is empty; give a value" in one_sentence(err)
    assert [path.name for path in tmp_path.iterdir()] == ["small.png"]


def test_a_name_with_a_dash_in_front(
    photos: Path, tmp_path: Path, capfd: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "-dash.png").write_bytes((photos / "dot.png").read_bytes())
    monkeypatch.chdir(tmp_path)
    for job in (["upscale", "-dash.png"], ["upscale", "./-dash.png", "--ref", "-dash.png"]):
        with pytest.raises(SystemExit) as stopped:
            main([*job, "-o", "out.png"])
        assert stopped.value.code == 2
        hint = capfd.readouterr().err.splitlines()[-1]
        assert hint == "refsr: -dash.png is read as a flag; if it is a file, write ./-dash.png."
    assert main(["upscale", "./-dash.png", "-o", "./-out.png", "--quiet"]) == 0
    assert PIL.Image.open("-out.png").size == (4, 4)
    with pytest.raises(SystemExit):
        main(["upscale", "a.png", "-o", "b.png", "--color", "--strength", "-0.5"])
    assert "as a flag" not in capfd.readouterr().err


FLAGS = {
    "upscale": "-o --out --ref --model --device --runtime --max-memory --report --map --json "
    "--quiet --max-pixels --threads --strip-metadata --scale --strength --strict --look --ensemble "
    "--cache --quality --own-results",
    "batch": "-o --out --refs --resume --format --engine --address --workers --max-memory --json "
    "--quiet --model --device --runtime --scale --strength --strict --max-pixels --look --ensemble "
    "--strip-metadata --cache --quality",
    "check": "--ref --json --max-pixels --cache",
    "evaluate": "--root --model --reference --json --max-side --photo --jpeg --limit --quiet "
    "--look --ensemble",
    "reproduce": "-o --out --root --model --pairs --limit --quiet",
    "data": "",  # its two tasks: tests/test_data_cli.py
    "train": "--resume",
    "export": "-o --out --note",
    "explain": "-o --out --at --ref --heat --model --device --max-pixels --quiet",
    "info": "--json",
    "demo": "-o --out",
    "web": "--host --port --max-memory --max-upload --threads",
}


def test_every_command_has_its_golden_flags() -> None:
    assert set(FLAGS) == set(COMMANDS)


@pytest.mark.parametrize("command", sorted(set(FLAGS) - {"data"}))
def test_flags_are_known_before_they_are_parsed(command: str, capfd: Read) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    shown = capfd.readouterr().out
    named = re.findall(r"(?m)^│ (-.*?)(?:  |$)", shown)
    flags = {
        word: bool(re.search(r" [A-Z{]", line))
        for line in named
        for word in re.findall(r"(?<!\S)--?[a-z][a-z-]*", line)
    }
    assert flags == flags_of(COMMANDS[command])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["upscal", "a.png"], "There is no command 'upscal'; did you mean upscale?"),
        (["xyz"], "There is no command 'xyz'; there are: upscale, batch,"),
        (["upscale", "a.png", "--reff", "b.png"], "no flag --reff; did you mean --ref?"),
        (["batch", "a", "-o", "b", "--map"], "no flag --map; did you mean --maps?"),
        (["batch", "a", "-o", "b", "--max_memry=3GB"], "--max-memry; did you mean --max-memory?"),
    ],
)
def test_what_is_mistyped_gets_one_line(arguments: list[str], words: str, capfd: Read) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert words in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("s --ref a b -o out", "s --ref a --ref b -o out"),
        ("--ref a b s", "--ref a --ref b s"),
        ("--ref a b --json s", "--ref a --ref b --json s"),
        ("--ref a s -o out", "--ref a s -o out"),
        ("--ref a --ref b c s --scale 2", "--ref a --ref b --ref c s --scale 2"),
        ("s --ref=a b c --quiet", "s --ref=a --ref b --ref c --quiet"),
        ("--quiet s --ref a b --strength 0.5", "--quiet s --ref a --ref b --strength 0.5"),
        ("- --ref a b", "- --ref a --ref b"),
        ("--ref a b -- s", "--ref a --ref b -- s"),
        ("-o out s --ref a b", "-o out s --ref a --ref b"),
    ],
)
def test_one_ref_takes_several_photos(given: str, meant: str) -> None:
    words = ["upscale", *given.split()]
    assert with_repeated_ref(words, COMMANDS["upscale"]) == ["upscale", *meant.split()]


@pytest.mark.parametrize("command", FLAGS)
def test_help_names_every_flag_of_the_contract(command: str, capfd: Read) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    words = capfd.readouterr().out
    shown = {word.strip(",") for word in words.split() if word.startswith("-")}
    assert set(FLAGS[command].split()) <= shown
    helped = words.partition("positional arguments")[2] or words
    assert "(required)" in helped or command in ("info", "demo", "web")


def least_cpu_seconds(*arguments: str) -> float:
    """The least of three runs of Python: others share the cores."""
    import resource

    taken: list[float] = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *arguments], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(taken)


@pytest.mark.posix
def test_help_is_quick(capfd: Read) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    words = capfd.readouterr().out
    assert all(command in words for command in COMMANDS)
    # By this processor's own measure: 2.5 times what the parser's import takes, when written.
    assert least_cpu_seconds("-m", "refsr", "--help") < 6 * least_cpu_seconds("-c", "import tyro")


def test_help_and_import_load_nothing_heavy() -> None:
    code = """
import sys
import refsr, refsr.cli
try:
    refsr.cli.main(["upscale", "--help"])
except SystemExit:
    pass
print([name for name in ("cv2", "onnxruntime", "numpy", "PIL", "torch") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_version(capfd: Read) -> None:
    import refsr

    assert main(["--version"]) == 0
    assert capfd.readouterr().out == f"refsr {refsr.__version__}\n"


def test_info_names_the_models(capfd: Read) -> None:
    assert main(["info"]) == 0
    assert "model ssen" in capfd.readouterr().out
    assert main(["info", "--json"]) == 0
    facts = json.loads(capfd.readouterr().out)
    assert facts["models"]["ssen"]["scale"] == 4
    assert "CPUExecutionProvider" in facts["providers"]


def test_out_of_memory_is_a_sentence(
    photos: Path, tmp_path: Path, capfd: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    import cv2

    from refsr.inference.network import Network

    def none_left(*_: object, **__: object) -> None:
        raise MemoryError

    job = ["upscale", photos / "small.png", "-o", tmp_path / "out.png"]
    with monkeypatch.context() as patch:
        patch.setattr(Network, "run", none_left)
        assert "not enough memory for even the smallest tile" in refused(capfd, *job)
    with monkeypatch.context() as patch:
        patch.setattr("refsr.upscaler.job_size", none_left)
        assert "Out of memory" in refused(capfd, *job)

    def opencv_has_none(*_: object) -> None:
        error = cv2.error("Failed to allocate 99999999999 bytes")
        error.code = -4
        raise error

    monkeypatch.setattr("refsr.upscaler.job_size", opencv_has_none)
    assert "Out of memory" in refused(capfd, *job)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "bytes"),
    [("2GB", 2 * 10**9), ("800MB", 8 * 10**8), ("1.5 gb", 15 * 10**8), ("64k", 64_000), ("7", 7)],
)
def test_amounts_of_memory(text: str, bytes: int) -> None:
    assert parse_memory(text) == bytes


@pytest.mark.parametrize("text", ["", "GB", "1e9", "2 GB RAM", "-2GB", "2PB", "nan"])
def test_what_is_no_amount_of_memory(text: str) -> None:
    with pytest.raises(DataError, match="write for example 2GB"):
        parse_memory(text)


def test_the_same_from_the_python_that_has_no_package_main(photos: Path, tmp_path: Path) -> None:
    job = ["upscale", photos / "dot.png", "-o", tmp_path / "out.avif", "--quiet"]
    subprocess.run([sys.executable, "-c", RUN, *job], check=True)
    assert PIL.Image.open(tmp_path / "out.avif").size == (4, 4)


def test_the_demo_leaves_pictures_and_numbers(tmp_path: Path, capfd: Read) -> None:
    folder = tmp_path / "demo" / "out"
    assert main(["demo", "-o", str(folder)]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    assert "with reference" in out
    assert {path.name for path in folder.iterdir()} == {
        *("small.png", "sharp.jpg", "without.png", "with.png", "map.png"),
        *("side_by_side.png", "numbers.json"),
    }
    numbers = json.loads((folder / "numbers.json").read_text())["numbers"]
    order = [numbers[name]["psnr"] for name in ("bicubic", "without reference", "with reference")]
    assert order[1] > order[0] + 0.5
    assert order[2] > order[1] + 1
    assert PIL.Image.open(folder / "with.png").size == PIL.Image.open(folder / "map.png").size
    assert "cannot be made" in refused(capfd, "demo", "-o", folder / "with.png")


def test_evaluate_prints_a_table_and_writes_every_number(
    photos: Path, tmp_path: Path, capfd: Read
) -> None:
    (tmp_path / "pairs.csv").write_text(
        "input,reference,kind\nsharp.jpg,mismatched.jpg,irrelevant\nmismatched.jpg,,alone\n"
    )
    job = ["evaluate", str(tmp_path / "pairs.csv"), "--root", str(photos), "--quiet"]
    report = tmp_path / "numbers.json"
    assert main([*job, "--model", "bicubic", "--json", str(report)]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    assert "irrelevant" in out
    numbers = json.loads(report.read_text())
    assert len(numbers["rows"]) == 2
    assert main([*job, "--model", "bicubic", "--reference", "all", "--limit", "1"]) == 0
    assert "shuffled" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "1 second"),
        (1.4, "1 second"),
        (7, "7 seconds"),
        (44, "40 seconds"),
        (600, "10 minutes"),
    ],
)
def test_a_time_for_a_reader(seconds: float, words: str) -> None:
    assert duration(seconds) == words
    assert duration(9000) == "2.5 hours"


def test_a_side_too_long_for_the_format_is_known_before_the_work(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Renderer, "render", lambda *_: pytest.fail("the work has begun"))
    PIL.Image.new("RGB", (4100, 8)).save(tmp_path / "long.png")
    out = tmp_path / "long.webp"
    command = ["upscale", str(tmp_path / "long.png"), "-o", str(out), "--model", "detail-transfer"]
    assert main(command) == 1
    assert "16400 x 32 pixels does not fit into WEBP, which ends at 16383" in capfd.readouterr().err
    assert not out.exists()
