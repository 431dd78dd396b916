"""What refsr wrote is known again: no reference, no input of a batch, unless asked."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from skimage.data import astronaut

from batches import outputs, run
from refsr import PhotoError, Upscaler
from refsr.batch.jobs import plan_jobs, why_skipped
from refsr.cli import main
from refsr.image.photo import Photo, load_photo, save_photo
from refsr.registration.pool import MIN_POOL_SIZE
from refsr.resize import imresize
from refsr.result import save_map

HR = np.ascontiguousarray(astronaut()[:256, 96:352])
LR = imresize(HR, scale=0.25)
CHEAP = ["--model", "detail-transfer", "--workers", "1"]


@pytest.fixture(scope="module")
def upscaler() -> Upscaler:
    return Upscaler.load("detail-transfer")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A small photo, a sharp one, and the sharp one as if refsr had made it."""
    save_photo(Photo(LR), tmp_path / "small.png")
    save_photo(Photo(HR), tmp_path / "sharp.png")
    for mark in ("result", "map", "sheet"):
        save_photo(Photo(HR).marked(mark), tmp_path / f"{mark}.png")
    return tmp_path


def test_results_and_maps_carry_their_marks(upscaler: Upscaler, files: Path) -> None:
    result = upscaler.upscale(files / "small.png", references=upscaler.prepare(files / "sharp.png"))
    for path in (files / "out.png", files / "out.jpg"):
        result.save(path)
        assert load_photo(path).mark == "result"
    save_map(result, files / "out.map.png")
    assert load_photo(files / "out.map.png").mark == "map"


def test_a_photo_that_stays_as_it_is_is_no_result(upscaler: Upscaler) -> None:
    result = upscaler.upscale(HR, scale=1)
    assert (result.image == HR).all()
    assert result.photo.mark is None


@pytest.mark.parametrize(
    ("name", "words"), [("result", "a result of refsr"), ("map", "a map"), ("sheet", "a figure")]
)
def test_own_files_are_no_references(
    upscaler: Upscaler, files: Path, name: str, words: str
) -> None:
    given = upscaler.prepare([files / f"{name}.png"])
    result = upscaler.upscale(files / "small.png", references=given)
    (row,) = result.report["references"]
    assert (row["used"], row["matched"]) == (False, False)
    assert row["verdict"].startswith(f"This reference is {words}")
    assert (result.image == upscaler.upscale(files / "small.png").image).all()
    assert (
        upscaler.check(files / "small.png", references=given).references[0]["verdict"]
        == (row["verdict"])
    )


def test_own_files_are_references_if_asked(files: Path) -> None:
    asked = Upscaler.load("detail-transfer", own_results=True)
    used = asked.upscale(files / "small.png", references=asked.prepare(files / "result.png"))
    sharp = asked.upscale(files / "small.png", references=asked.prepare(files / "sharp.png"))
    assert used.report["references"][0]["used"]
    assert (used.image == sharp.image).all()


def test_of_many_references_own_files_are_not_chosen(upscaler: Upscaler, files: Path) -> None:
    album = files / "album"
    album.mkdir()
    rng = np.random.default_rng(5)
    for index in range(MIN_POOL_SIZE):
        other = rng.integers(0, 256, (200, 200, 3), np.uint8)
        save_photo(Photo(imresize(other, scale=2.0)), album / f"{index}.png")
    save_photo(Photo(HR).marked("result"), album / "result.png")
    for one, used in (
        (upscaler, False),
        (Upscaler.load("detail-transfer", own_results=True), True),
    ):
        check = one.check(files / "small.png", references=one.prepare(album))
        assert check.album is not None
        assert ("result.png" in check.album["registered"]) == used
        why = {row["reference"]: row["why"] for row in check.album["not_registered"]}
        assert used or why["result.png"].startswith("This reference is a result of refsr")


def test_a_result_is_enlarged_with_a_note_and_a_map_is_refused(
    upscaler: Upscaler, files: Path
) -> None:
    save_photo(Photo(LR).marked("result"), files / "again.png")
    notes = upscaler.upscale(files / "again.png").report["notes"]
    assert [note for note in notes if note.startswith("it is a result of refsr already")]
    assert not [note for note in upscaler.upscale(LR).report["notes"] if "refsr" in note]
    for name in ("map", "sheet"):
        for call in (upscaler.upscale, upscaler.check):
            with pytest.raises(PhotoError, match=rf"^{name}\.png is a {name} that refsr drew"):
                call(files / f"{name}.png")


def test_a_batch_skips_own_files_unless_asked(
    files: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = files / "in"
    source.mkdir()
    save_photo(Photo(LR), source / "photo.png")
    save_photo(Photo(LR).marked("result"), source / "result.png")
    save_photo(Photo(LR).marked("map"), source / "map.png")
    assert main(["batch", str(source), "-o", str(files / "out"), *CHEAP]) == 0
    words = capfd.readouterr().err
    assert outputs(files / "out") == {"photo.png"}
    assert f"skipped: {source / 'result.png'} is a result of refsr already" in words
    assert f"skipped: {source / 'map.png'} is a map that refsr drew, not a photo." in words
    assert "1 done, 2 skipped, 0 failed" in words
    assert run(source, "-o", files / "asked", *CHEAP, "--own-results") == 0
    assert outputs(files / "asked") == {"photo.png", "result.png"}
    jobs = {job.input.name: job for job in plan_jobs(source, files / "out", None, "png")}
    assert why_skipped(jobs["photo.png"], own_results=False) == ""


def test_a_batch_does_not_search_own_files(files: Path) -> None:
    source, refs = files / "in", files / "refs"
    source.mkdir()
    refs.mkdir()
    save_photo(Photo(LR), source / "photo.png")
    save_photo(Photo(HR).marked("result"), refs / "made.png")
    save_photo(Photo(HR[::-1]), refs / "other.png")
    for name, flags in (("without", []), ("asked", ["--own-results"])):
        assert run(source, "-o", files / name, "--refs", refs, *CHEAP, *flags) == 0
    alone = Upscaler.load("detail-transfer").upscale(LR).image
    result = np.asarray(PIL.Image.open(files / "without" / "photo.png"))
    assert (result == alone).all()
    assert (np.asarray(PIL.Image.open(files / "asked" / "photo.png")) != alone).any()
