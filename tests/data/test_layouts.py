"""The layouts of data sets: what belongs together, what is missing, what an evaluation gets."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from refsr.data.layouts import benchmark, detect_layouts, format_ranges, scene_id
from refsr.data.pairs import BENCHMARKS, describe_jobs, load_jobs
from refsr.errors import DataError
from refsr.evaluate.protocol import shuffled_references

Touch = Callable[..., None]


@pytest.fixture
def touch(tmp_path: Path) -> Touch:
    """Makes small pictures below the test's folder."""

    def make(*names: str) -> None:
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (32, 24), (9, 99, 199)).save(path)

    return make


def sentences(folder: Path) -> list[str]:
    (found,) = detect_layouts(folder)
    return [problem.sentence for problem in found.problems]


def test_ranges() -> None:
    assert format_ranges([7, 1, 2, 3, 125], 3) == "001-003, 007, 125"
    assert format_ranges([], 3) == ""


def test_cufed5_by_level_and_all_at_once(tmp_path: Path, touch: Touch) -> None:
    touch(*(f"CUFED/test/CUFED5/{g}_{n}.png" for g in ("000", "001") for n in range(6)))
    every = load_jobs("cufed5", tmp_path)
    assert [job.kind for job in every] == ["L1", "L2", "L3", "L4", "L5"] * 2
    third = load_jobs("cufed5-l3", tmp_path)
    assert [(job.input.name, job.references[0].name) for job in third] == [
        ("000_0.png", "000_3.png"),
        ("001_0.png", "001_3.png"),
    ]
    together = load_jobs("cufed5-all", tmp_path)
    assert [job.kind for job in together] == ["cufed5-all"] * 2
    assert [path.name for path in together[1].references] == [f"001_{n}.png" for n in range(1, 6)]
    for job, references in zip(together, shuffled_references(together), strict=True):
        assert {scene_id(path) for path in references} != {scene_id(job.input)}


def test_cufed5_says_what_is_missing(tmp_path: Path, touch: Touch) -> None:
    touch(*(f"{g:03}_{n}.png" for g in range(126) for n in range(6)))
    assert sentences(tmp_path) == []
    shutil.move(tmp_path / "017_0.png", tmp_path / "x.jpg")
    (tmp_path / "040_2.png").unlink()
    for level in range(6):
        (tmp_path / f"099_{level}.png").unlink()
    assert sentences(tmp_path) == [
        f"The input {tmp_path / '017_0.png'} does not exist.",
        f"The reference {tmp_path / '040_2.png'} of 040_0.png does not exist.",
        f"{tmp_path} lacks 1 of 126 groups: 099.",
    ]
    with pytest.raises(DataError, match=r"017_0\.png does not exist \(1 more like this"):
        load_jobs("cufed5", tmp_path)


def test_wr_sr(tmp_path: Path, touch: Touch) -> None:
    touch(*(f"WR-SR/input/{n:03}.png" for n in range(1, 81)))
    touch(*(f"WR-SR/ref/{n:03}_ref.png" for n in range(1, 81)))
    jobs = load_jobs("wr-sr", tmp_path)
    assert len(jobs) == 80
    assert jobs[6].relative(jobs[6].references[0]) == "WR-SR/ref/007_ref.png"
    assert scene_id(jobs[6].input) == scene_id(jobs[6].references[0]) != scene_id(jobs[7].input)
    assert sentences(tmp_path / "WR-SR") == []
    (tmp_path / "WR-SR/ref/007_ref.png").unlink()
    (tmp_path / "WR-SR/input/009.png").unlink()
    assert sentences(tmp_path / "WR-SR") == [
        f"{tmp_path}/WR-SR/input/007.png has no reference: {tmp_path}/WR-SR/ref/007_ref.png does "
        "not exist.",
        f"{tmp_path}/WR-SR/ref/009_ref.png is the reference of no photo in {tmp_path}/WR-SR/input.",
        f"{tmp_path}/WR-SR lacks 2 of 80 pairs.",
    ]
    with pytest.raises(DataError, match="has no reference"):
        load_jobs("wr-sr", tmp_path)


def test_sun80(tmp_path: Path, touch: Touch) -> None:
    truth, matches = "Sun_Hays_SR_groundtruth", "Sun_Hays_SR_scenematches"
    for name in ("a.jpg", "b.jpg"):
        touch(f"{truth}/{name}", *(f"{matches}/{name}/{n:02}.jpg" for n in range(20)))
    first = load_jobs("sun80", tmp_path)
    assert [job.relative(job.references[0]) for job in first] == [
        f"{matches}/a.jpg/00.jpg",
        f"{matches}/b.jpg/00.jpg",
    ]
    every = load_jobs("sun80-all", tmp_path)
    assert [len(job.references) for job in every] == [20, 20]
    assert {scene_id(path) for path in (every[0].input, *every[0].references)} == {
        f"{tmp_path}/a.jpg"
    }
    for job, references in zip(first, shuffled_references(first), strict=True):
        assert scene_id(references[0]) != scene_id(job.input)
    assert sentences(tmp_path) == [f"{tmp_path} lacks 78 of 80 photos."]
    (tmp_path / matches / "b.jpg/07.jpg").unlink()
    (tmp_path / truth / "a.jpg").unlink()
    touch(f"{truth}/c.jpg")
    assert sentences(tmp_path)[:3] == [
        f"{tmp_path / matches}/b.jpg lacks 1 of 20 references.",
        f"{tmp_path / truth}/c.jpg has no references: there are no photos in "
        f"{tmp_path / matches}/c.jpg.",
        f"The references in {tmp_path / matches}/a.jpg belong to no photo in {tmp_path / truth}.",
    ]
    shutil.rmtree(tmp_path / matches)
    with pytest.raises(DataError, match="has no folder Sun_Hays_SR_scenematches"):
        load_jobs("sun80", tmp_path)


def test_benchmarks_without_references(tmp_path: Path, touch: Touch) -> None:
    touch(
        *(f"Set5/image_SRF_4/img_{n}_SRF_4_{part}.png" for n in range(5) for part in ("HR", "LR"))
    )
    jobs = load_jobs("set5", tmp_path)
    assert [job.input.name for job in jobs] == [f"img_{n}_SRF_4_HR.png" for n in range(5)]
    touch(*(f"BSD100/HR/{n}.png" for n in range(99)))
    assert len(load_jobs("b100", tmp_path)) == 99
    assert sentences(tmp_path / "BSD100") == [f"{tmp_path}/BSD100 lacks 1 of 100 photos."]
    touch(*(f"set14/{n}.png" for n in range(28)))
    assert sentences(tmp_path / "set14") == [
        f"{tmp_path}/set14 holds 28 photos where there should be 14."
    ]


def test_what_was_found_is_said(tmp_path: Path, touch: Touch) -> None:
    """Five photos of something else are not Set5, nor are three of it."""
    touch(*(f"Set5/{name}.png" for name in ("baby", "bird", "butterfly", "head_GT", "woman")))
    touch(*(f"mine/{n}.png" for n in range(5)), *(f"few/img_{n}.png" for n in range(3)))

    def found(name: str) -> str:
        root = tmp_path / name
        return describe_jobs("set5", load_jobs("set5", root)).replace(str(root), "HERE")

    assert found("Set5") == "Set5: 5 photos in HERE."
    other = "This is not Set5: 5 photos in HERE (0, 1, 2, 3, 4); they have other names."
    assert found("mine") == other
    assert found("few") == "This is not Set5: 3 photos in HERE (img_0, img_1, img_2); Set5 has 5."
    touch(*(f"001_{level}.png" for level in range(6)))
    assert describe_jobs("cufed5", load_jobs("cufed5", tmp_path)) == "cufed5: 5 rows of 1 photo."


@pytest.mark.parametrize("name", BENCHMARKS)
def test_an_absent_benchmark_says_what_it_should_hold(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"Neither .* holds the images of .*: .+\."):
        load_jobs(name, tmp_path)


def test_pairs_are_found_by_name_never_by_order(tmp_path: Path, touch: Touch) -> None:
    touch("input/a.png", "input/b.png", "input/c.png", "ref/b.png", "ref/c.jpg", "ref/d.png")
    (found,) = detect_layouts(tmp_path)
    assert found.layout == "cufed"
    assert [(pair.input.stem, pair.references[0].name) for pair in found.pairs] == [
        ("b", "b.png"),
        ("c", "c.jpg"),
    ]
    assert sentences(tmp_path) == [
        f"{tmp_path}/input/a.png has no reference: {tmp_path}/ref/a.png does not exist.",
        f"{tmp_path}/ref/d.png is the reference of no photo in {tmp_path}/input.",
    ]
    with pytest.raises(DataError, match=r"a\.png has no reference.*\(1 more like this"):
        found.require_pairs()
    touch("ref/b.jpg")
    assert any("same name" in sentence for sentence in sentences(tmp_path))


def test_div2k_and_its_shrunk_photos(tmp_path: Path, touch: Touch) -> None:
    touch(*(f"DIV2K_valid_HR/{n:04}.png" for n in range(801, 900)))
    touch("DIV2K_valid_LR_bicubic/X4/0801x4.png")
    whole, shrunk = detect_layouts(tmp_path)
    assert whole.layout == "div2k"
    assert [p.sentence for p in whole.problems] == [f"{whole.folder} lacks 1 of 100 photos: 0900."]
    assert shrunk.layout == "photos"
    assert "not for training" in shrunk.notes[0]


def test_own_scenes_and_photos(tmp_path: Path, touch: Touch) -> None:
    touch("house/1.jpg", "house/2.jpg", "tree/1.jpg", "tree/.hidden.jpg")
    (found,) = detect_layouts(tmp_path)
    assert found.layout == "scenes"
    assert found.pairs[0].references == (tmp_path / "house/2.jpg",)
    assert sentences(tmp_path) == [
        f"{tmp_path}/tree/1.jpg is the only photo of its scene and so has no reference."
    ]
    touch("loose.jpg")
    (photos,) = detect_layouts(tmp_path)
    assert (photos.layout, len(photos.photos)) == ("photos", 4)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="There are no photos"):
        detect_layouts(tmp_path / "empty")
    with pytest.raises(DataError, match="does not exist"):
        detect_layouts(tmp_path / "nowhere")


def test_a_folder_of_data_sets(tmp_path: Path, touch: Touch) -> None:
    touch("CUFED/train/input/a.png", "CUFED/train/ref/a.png", "CUFED/test/CUFED5/000_0.png")
    touch("set5/a.png", "mine/x/1.jpg", "mine/x/2.jpg")
    found = [(data.layout, data.folder.name) for data in detect_layouts(tmp_path)]
    assert found == [
        ("cufed5", "CUFED5"),
        ("cufed", "train"),
        ("scenes", "mine"),
        ("set5", "set5"),
    ]


def test_the_shared_data_is_recognised(shared_data: Path) -> None:
    found = {data.folder.name: data for data in detect_layouts(shared_data)}
    assert {name: found[name].layout for name in ("set5", "set14", "b100", "cufed5", "pairs")} == {
        "set5": "set5",
        "set14": "set14",
        "b100": "b100",
        "cufed5": "cufed5",
        "pairs": "scenes",
    }
    assert not any(found[name].problems for name in ("set5", "set14", "b100", "pairs"))
    assert len(benchmark("cufed5", shared_data).pairs) == 5
