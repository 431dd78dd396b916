"""Albums: pairing, names, what is finished, and a batch that is killed in the middle."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path, PureWindowsPath
from typing import Any

import PIL.Image
import pytest

from batches import outputs, photo, records, run
from refsr.batch.jobs import BatchJob, plan_jobs
from refsr.batch.journal import JOURNAL, open_journal
from refsr.batch.local_engine import WorkerBudget
from refsr.data.layouts import find_images
from refsr.errors import DataError
from refsr.inference.plan import PROGRAM_BYTES
from refsr.registration.references import list_sources
from scenes import facade

CHEAP = ["--model", "detail-transfer", "--workers", "2"]


def test_a_folder_is_mirrored_and_no_name_is_written_twice(tmp_path: Path) -> None:
    for name in ("a.png", "sub/b.jpg", "sub/a.png", "same.png", "same.jpg", "same.png.png"):
        photo(tmp_path / "in" / name)
    out = tmp_path / "in" / "out"
    assert run(tmp_path / "in", "-o", out, *CHEAP) == 0
    names = {"a.png", "sub/b.png", "sub/a.png", "same.jpg.png", "same.png-2.png", "same.png.png"}
    assert outputs(out) == names
    assert PIL.Image.open(out / "a.png").size == (36, 32)
    again = plan_jobs(tmp_path / "in", out, None, "png")
    assert len(again) == 6, "the results are not read as input"


def test_references_are_found_by_name_or_searched(tmp_path: Path) -> None:
    for name in ("a.png", "x/b.png", "x/c.png", "d.png", "e.png"):
        photo(tmp_path / "in" / name)
    refs = tmp_path / "refs"
    for name in ("a.jpg", "x/b/1.jpg", "x/b/2.jpg", "elsewhere/C.jpg", "e1/e.jpg", "e2/e.jpg"):
        photo(refs / name)
    jobs = {
        job.input.name: job for job in plan_jobs(tmp_path / "in", tmp_path / "out", refs, "png")
    }
    found = {n: [r.relative_to(refs).as_posix() for r in j.references] for n, j in jobs.items()}
    assert found["a.png"] == ["a.jpg"]
    assert found["b.png"] == ["x/b/1.jpg", "x/b/2.jpg"]
    assert found["c.png"] == ["elsewhere/C.jpg"]
    assert jobs["d.png"].search
    assert jobs["e.png"].search, "two of the name: neither is meant for sure"


def test_a_csv_merges_rows_and_keeps_outputs_inside(tmp_path: Path) -> None:
    lists = tmp_path / "jobs.csv"
    lists.write_text(
        "input,reference,output\na.png,r.png;s.png,\na.png,t.png,\nb.png,,deep/B.tif\n"
        "c.png,,../c.png\n,,\n"
    )
    a, b, c, nothing = plan_jobs(lists, tmp_path / "out", None, "png")
    assert a == BatchJob(
        tmp_path / "a.png",
        tmp_path / "out" / "a.png",
        tuple(tmp_path / name for name in ("r.png", "s.png", "t.png")),
    )
    assert b.output == tmp_path / "out" / "deep" / "B.tif"
    assert "is outside" in c.problem
    assert "without a valid input" in nothing.problem
    lists.write_text("photo\na.png\n")
    with pytest.raises(DataError, match="no column 'input'"):
        plan_jobs(lists, tmp_path / "out", None, "png")


def test_the_search_finds_the_reference_that_shows_the_photo(tmp_path: Path) -> None:
    for seed in (1, 2):
        hr = PIL.Image.fromarray(facade(seed))
        (tmp_path / "refs").mkdir(exist_ok=True)
        (tmp_path / "in").mkdir(exist_ok=True)
        hr.save(tmp_path / "refs" / f"ref{seed}.png")
        hr.resize((128, 96), PIL.Image.Resampling.BICUBIC).save(
            tmp_path / "in" / f"photo{seed}.png"
        )
    out = tmp_path / "out"
    assert run(tmp_path / "in", "--refs", tmp_path / "refs", "-o", out, *CHEAP) == 0
    used = {Path(str(one["input"])).name: one["references"] for one in records(out)}
    assert used == {"photo1.png": ["ref1.png"], "photo2.png": ["ref2.png"]}


def test_resume_redoes_what_changed_and_trusts_nothing_broken(tmp_path: Path) -> None:
    for number in range(6):
        photo(tmp_path / "in" / f"{number}.png", seed=number)
    out = tmp_path / "out"
    again = [tmp_path / "in", "-o", out, "--resume", *CHEAP]
    assert run(*again) == 0
    before = {name: (out / name).stat().st_mtime_ns for name in outputs(out)}
    photo(tmp_path / "in" / "0.png", seed=100)  # another photo
    (out / "1.png").write_bytes((out / "1.png").read_bytes()[:-5])  # cut short
    (out / "2.png").unlink()
    (out / "3.png").write_bytes((out / "3.png").read_bytes()[:-1] + b"x")  # of the same size
    (out / ".refsr-0123456789abcdef.tmp").write_bytes(b"half")
    text = (out / JOURNAL).read_text().splitlines(keepends=True)
    four = next(i for i, line in enumerate(text) if "4.png" in line)
    torn = text.pop(four)
    (out / JOURNAL).write_text("".join(text) + torn[:40])
    assert run(*again) == 0
    after = {name: (out / name).stat().st_mtime_ns for name in outputs(out)}
    assert {name for name in before if after.get(name) != before[name]} == {
        f"{number}.png" for number in range(5)
    }
    assert outputs(out) == set(before)
    assert run(*again, "--strength", "0.5") == 0
    assert (out / "5.png").stat().st_mtime_ns != before["5.png"], "other options, other results"
    half = (out / "5.png").stat().st_mtime_ns
    assert run(*again, "--strength", "0.5", "--strict", "--reports") == 0
    assert (out / "5.png").stat().st_mtime_ns != half
    assert json.loads((out / "5.report.json").read_text())["strict"]


def test_a_map_and_a_report_beside_each_result(tmp_path: Path) -> None:
    for name in ("a.png", "b.jpg", "b.map.png"):
        photo(tmp_path / "in" / name)
    out = tmp_path / "out"
    again = [tmp_path / "in", "-o", out, "--maps", "--reports", "--resume", *CHEAP]
    assert run(*again) == 1
    names = {f"{stem}.{end}" for stem in ("a", "b.map") for end in ("png", "map.png")}
    reports = {"a.report.json", "b.map.report.json"}
    assert outputs(out) == names | reports, "b's map is the name of a result"
    assert PIL.Image.open(out / "a.map.png").size == PIL.Image.open(out / "a.png").size
    report = json.loads((out / "a.report.json").read_text())
    assert set(report["detail"]) == {"own", "borrowed", "guessed"}
    failed = [one for one in records(out) if one["status"] == "failed"]
    assert [str(one["error"]) for one in failed] == [
        f"{out / 'b.map.png'} would be written twice; rename {tmp_path / 'in' / 'b.jpg'}."
    ]
    (out / "a.map.png").unlink()
    (out / "b.map.report.json").write_text("{}")
    assert run(*again) == 1
    assert [one["status"] for one in records(out)[3:]].count("done") == 2, "made again, both"
    assert outputs(out) == names | reports
    assert len((out / "b.map.report.json").read_text()) > 2
    before = (out / "a.png").stat().st_mtime_ns
    assert run(*again) == 1
    assert (out / "a.png").stat().st_mtime_ns == before


def test_bad_files_are_failed_jobs_with_a_sentence(tmp_path: Path, capfd: object) -> None:
    folder = tmp_path / "in"
    photo(folder / "good.png")
    (folder / "text.jpg").write_text("no photo")
    (folder / "empty.png").write_bytes(b"")
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "gone.png").symlink_to("nowhere.png")
    (folder / "here").symlink_to(folder)
    (folder / ("n" * 250 + ".png")).write_bytes((folder / "good.png").read_bytes())
    (folder / "folder.png").mkdir()
    out = tmp_path / "out"
    (out / "blocked.png").mkdir(parents=True)
    photo(folder / "blocked.jpg")
    assert run(folder, "-o", out, *CHEAP) == 1
    by_status = {Path(str(one["input"])).name[:9]: one for one in records(out)}
    failed = {name for name, one in by_status.items() if one["status"] == "failed"}
    assert failed == {"text.jpg", "empty.png", "loop.png", "gone.png", "blocked.j"}
    for name in failed:
        assert str(by_status[name]["error"]).endswith("."), by_status[name]
    assert "is a folder" in str(by_status["blocked.j"]["error"])
    assert "points to itself" in str(by_status["loop.png"]["error"])


def test_the_endings_that_cameras_and_browsers_give(tmp_path: Path) -> None:
    photo(tmp_path / "in/a.png")
    for name in ("b.jfif", "c.MPO", "d.ppm"):
        (tmp_path / "in" / name).write_bytes((tmp_path / "in/a.png").read_bytes())
    assert run(tmp_path / "in", "-o", tmp_path / "out", *CHEAP) == 0
    assert {"a.png", "b.png", "c.png", "d.png"} <= {
        one.name for one in (tmp_path / "out").iterdir()
    }


def test_workers_are_bounded_by_memory_and_two_batches_keep_apart(tmp_path: Path) -> None:
    assert WorkerBudget.of(str(PROGRAM_BYTES + 600_000_000), 0) == WorkerBudget(
        1, PROGRAM_BYTES + 600_000_000
    )
    assert WorkerBudget.of("4GB", 4) == WorkerBudget(
        4, PROGRAM_BYTES + (4 * 10**9 - PROGRAM_BYTES) // 4
    )
    assert WorkerBudget.of("10MB", 0).workers == 1
    with pytest.raises(DataError, match="workers must be 0 or more, not -1"):
        WorkerBudget.of("1GB", -1)
    first, second = open_journal(tmp_path, resume=True), open_journal(tmp_path, resume=True)
    with first, pytest.raises(DataError, match="Another batch"), second:
        pass


class Msvcrt:
    """Windows' byte locks: no two handles hold the same byte, and a locked byte cannot be read."""

    LK_NBLCK, LK_UNLCK = 1, 2

    def __init__(self) -> None:
        self.locked: set[tuple[int, int]] = set()

    def locking(self, handle: int, mode: int, size: int) -> None:
        byte = os.fstat(handle).st_ino, os.lseek(handle, 0, os.SEEK_CUR)
        assert size == 1
        assert byte[1] > 1_000_000, "another program reads the journal meanwhile"
        if mode == self.LK_UNLCK:
            self.locked.remove(byte)
        elif byte in self.locked:
            raise PermissionError(errno.EACCES, "Permission denied")
        else:
            self.locked.add(byte)


def test_two_batches_keep_apart_on_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from refsr.batch.journal import open_journal

    locks = Msvcrt()
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", locks)
    monkeypatch.setattr(sys, "platform", "win32")
    line = b'{"output": "a.png"}\n'
    with open_journal(tmp_path, resume=True) as journal:
        with (
            pytest.raises(DataError, match="Another batch"),
            open_journal(tmp_path, resume=True),
        ):
            pass
        journal.file.write(line)
    assert not locks.locked
    with open_journal(tmp_path, resume=True) as journal:
        assert list(journal.records) == ["a.png"]
    assert (tmp_path / JOURNAL).read_bytes() == line


@pytest.mark.parametrize("name", ["\\away.png", "C:away.png", "C:\\away.png", "a\\..\\..\\b.png"])
def test_a_list_reaches_nothing_outside_on_windows(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from refsr.batch import jobs

    monkeypatch.setattr(jobs, "Path", PureWindowsPath)
    album: Any = PureWindowsPath("D:\\album.csv")
    out: Any = PureWindowsPath("D:\\out")
    mirrored = jobs.csv_job(album, out, "png", name, "", ())
    assert mirrored.output.is_relative_to(out)
    assert not mirrored.problem
    given = jobs.csv_job(album, out, "png", "a.png", name, ())
    assert "is outside D:\\out" in given.problem


def mixed_album(folder: Path) -> None:
    """190 tiny photos of several formats and 10 files that are none."""
    for number in range(190):
        ending = ("png", "jpg", "webp", "tif")[number % 4]
        photo(folder / f"{number % 7}" / f"{number:03}.{ending}", 8 + number % 17, number)
    for number in range(10):
        (folder / f"broken{number}.jpg").write_bytes(b"\xff\xd8\xff" + bytes(number * 9))


@pytest.mark.posix
@pytest.mark.slow
@pytest.mark.parametrize(("how", "code"), [("SIGKILL", -9), ("SIGINT", 130)])
def test_two_hundred_jobs_stopped_in_the_middle_end_complete(
    how: str, code: int, tmp_path: Path
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    mixed_album(folder)
    command = [sys.executable, "-m", "refsr", "batch", folder, "-o", out, "--json", *CHEAP]
    pipe = subprocess.PIPE
    # A small pipe: the batch waits for its reader, and is not done before it is stopped.
    process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, pipesize=4096)
    assert process.stdout is not None
    for _ in range(60):
        process.stdout.readline()
    process.send_signal(getattr(signal, how))
    _, words = process.communicate(timeout=600)
    assert process.returncode == code
    assert ("continue with --resume" in words) == (how == "SIGINT")
    for path in out.rglob("*.png"):
        PIL.Image.open(path).load()  # whole, each one
    finished = {str(one["output"]): one for one in records_of_torn(out) if one["status"] == "done"}
    assert 40 < len(finished) < 190
    before = {name: Path(name).stat().st_mtime_ns for name in finished}
    time.sleep(0.01)
    again = subprocess.run([*command, "--resume"], capture_output=True, text=True, check=False)
    assert again.returncode == 1, "ten jobs failed"
    lines = [json.loads(line) for line in again.stdout.splitlines()]
    assert len(lines) == 200
    assert len({line["output"] for line in lines}) == 200
    status = [line["status"] for line in lines]
    assert status.count("failed") == 10
    assert status.count("skipped") == len(finished)
    assert before == {name: Path(name).stat().st_mtime_ns for name in finished}
    assert len(list(out.rglob("*.png"))) == 190
    assert not list(out.rglob("*.tmp"))
    assert again.stderr.splitlines()[-1] == "refsr: 10 of 200 photos failed."


def records_of_torn(out: Path) -> list[dict[str, object]]:
    lines = (out / JOURNAL).read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def test_thumbnails_of_other_systems_are_no_photos(tmp_path: Path) -> None:
    """Synology, QNAP, macOS and Windows put folders of their own beside the photos."""
    inside = tmp_path / "in"
    photo(inside / "trip" / "a.png")
    for folder in ("@eaDir", "#recycle", "@Recycle", "__MACOSX", "$RECYCLE.BIN", ".thumbnails"):
        photo(inside / "trip" / folder / "a.png")
    photo(inside / "trip" / "._a.png")
    (job,) = plan_jobs(inside, tmp_path / "out", None, "png")
    assert job.input == inside / "trip" / "a.png"
    assert find_images(inside) == [inside / "trip" / "a.png"]
    assert list_sources(inside / "trip") == [inside / "trip" / "a.png"]


@pytest.mark.posix
def test_a_link_in_the_place_of_the_journal_is_not_written_to(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    letter, out = tmp_path / "letter.txt", tmp_path / "out"
    letter.write_text("dear aunt")
    photo(tmp_path / "in" / "a.png")
    out.mkdir()
    (out / JOURNAL).symlink_to(letter)
    assert run(tmp_path / "in", "-o", out, "--model", "detail-transfer") == 1
    assert "may not be followed" in capfd.readouterr().err
    assert letter.read_text() == "dear aunt"
