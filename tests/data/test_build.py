"""refsr data build: overlapping photos find each other, others do not, and OUT is ready to use."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
from PIL import Image

from refsr.cli import main
from refsr.data import build as building
from refsr.data import grouping
from refsr.data.build import Built, build, safe_name, unique_name
from refsr.data.check import check
from refsr.data.grouping import components, kind_of, overlap_share
from refsr.data.pairs import load_jobs
from refsr.errors import DataError

Read = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def pile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two places in overlapping views, one lone photo, a copy, and what is no use."""
    folder = tmp_path_factory.mktemp("pile")
    (folder / "trip").mkdir()
    astronaut, coffee = skimage.data.astronaut(), skimage.data.coffee()

    def save(name: str, pixels: Any) -> None:
        Image.fromarray(np.ascontiguousarray(pixels)).save(folder / name, quality=95)

    save("trip/b.jpg", astronaut[:400, :400])
    save("d.jpg", astronaut[40:440, 100:500])
    save("trip/a;1.png", coffee[:, :440])
    save("B.JPG", coffee[:, 120:560])
    save("alone.jpg", skimage.data.chelsea())
    shutil.copy(folder / "d.jpg", folder / "trip/copy.jpg")
    save("tiny.png", astronaut[:90, :90])
    (folder / "text.jpg").write_text("no photo")
    (folder / "film.gif").write_bytes(b"GIF89a")
    return folder


@pytest.fixture(scope="module")
def built(pile: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build(pile, tmp_path_factory.mktemp("built") / "scenes")


def test_scenes_are_found_and_the_rest_is_named(pile: Path, built: Built) -> None:
    found = [{path.relative_to(pile).as_posix() for path in scene.files} for scene in built.scenes]
    assert found == [{"B.JPG", "trip/a;1.png"}, {"d.jpg", "trip/b.jpg"}]
    assert built.alone == (pile / "alone.jpg",)
    assert [sentence.split(" ")[0] for sentence in built.unusable] == [
        str(pile / "text.jpg"),
        str(pile / "tiny.png"),
    ]
    assert any("trip/copy.jpg is a copy of" in note for note in built.notes)
    assert any(".gif" in note for note in built.notes)
    assert sum(built.kinds.values()) == 4
    assert built.registered < 10  # of five photos' ten pairs


def test_what_is_written_is_ready_to_use(pile: Path, built: Built) -> None:
    out = built.out
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*")) == [
        "B",
        "B/B.jpg",
        "B/a_1.png",
        "d",
        "d/b.jpg",
        "d/d.jpg",
        "pairs.csv",
        "sources.csv",
    ]
    assert (out / "B/a_1.png").read_bytes() == (pile / "trip/a;1.png").read_bytes()
    with (out / "sources.csv").open(newline="") as file:
        sources = {row["file"]: row["source"] for row in csv.DictReader(file)}
    assert sources["B/a_1.png"] == str(pile / "trip/a;1.png")
    jobs = load_jobs(str(out / "pairs.csv"), out)
    assert len(jobs) == 4
    assert {job.kind for job in jobs} <= {"near-identical", "moderate"}
    (data,) = check(out)
    assert (data.layout, data.problems) == ("scenes", ())
    assert not list(out.parent.glob(".*"))  # nothing is left beside it


def test_an_interrupted_build_can_be_resumed(
    pile: Path, tmp_path: Path, built: Built, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    register = grouping.register

    def counted(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return register(*arguments)

    monkeypatch.setattr(grouping, "register", counted)
    with pytest.raises(KeyboardInterrupt):
        build(pile, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    journal = tmp_path / ".out.partial" / "registered.jsonl"
    with journal.open("a") as file:
        file.write('["torn')
    again = build(pile, tmp_path / "out")
    assert len(calls) == built.registered + 1  # the one that was interrupted, and no other, twice
    assert [scene.files for scene in again.scenes] == [scene.files for scene in built.scenes]
    assert (tmp_path / "out/pairs.csv").read_text() == (built.out / "pairs.csv").read_text()


def test_a_close_up_finds_the_photo_it_is_a_small_part_of(tmp_path: Path) -> None:
    pile = tmp_path / "pile"
    pile.mkdir()
    photo = skimage.data.astronaut()
    Image.fromarray(np.kron(photo, np.ones((2, 2, 1), np.uint8))).save(pile / "a.png")
    Image.fromarray(photo[40:120, 180:260].repeat(2, 0).repeat(2, 1)).save(pile / "b.png")
    built = build(pile, tmp_path / "out")
    (link,) = built.scenes[0].links
    assert (link.first.name, link.second.name) == ("b.png", "a.png")  # the other way round
    assert link.coverage > 0.9


def test_links_and_where_nothing_can_be_built(pile: Path, tmp_path: Path) -> None:
    some = tmp_path / "some"
    some.mkdir()
    for name in ("d.jpg", "trip/b.jpg"):
        shutil.copy(pile / name, some)
    (tmp_path / "out").mkdir()  # an empty folder may be there
    build(some, tmp_path / "out", link=True)
    assert (tmp_path / "out/b/d.jpg").is_symlink()
    assert (tmp_path / "out/b/d.jpg").samefile(some / "d.jpg")
    with pytest.raises(DataError, match="is not empty"):
        build(some, tmp_path / "out")
    (some / "d.jpg").unlink()
    with pytest.raises(DataError, match="no two overlap"):
        build(some, tmp_path / "other")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "some"]
    (some / "b.jpg").unlink()
    with pytest.raises(DataError, match="There are no photos"):
        build(some, tmp_path / "other")
    with pytest.raises(DataError, match="does not exist"):
        build(tmp_path / "nowhere", tmp_path / "other")


def test_the_command_line(
    built: Built, pile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Read
) -> None:
    monkeypatch.setattr(building, "build", lambda *_, **__: built)
    assert main(["data", "build", str(pile), "-o", str(tmp_path / "out")]) == 0
    out, err = capfd.readouterr()
    assert out.startswith(f"{built.out}: 2 scenes of 4 photos, 4 pairs (")
    assert "1 photos overlap no other" in out
    assert f"refsr evaluate {built.out / 'pairs.csv'} --root {built.out}" in out
    assert err == ""
    assert main(["data", "build", str(pile), "-o", str(tmp_path / "out"), "--json"]) == 0
    facts = json.loads(capfd.readouterr().out)
    assert [scene["pairs"] for scene in facts["scenes"]] == [2, 2]
    assert facts["alone"] == [str(pile / "alone.jpg")]


def test_names() -> None:
    taken: set[str] = set()
    assert [unique_name(name, taken) for name in ("a", "A", "b", "a")] == ["a", "A-2", "b", "a-3"]
    assert safe_name("a;b c\n=1") == "a_b_c__1"
    assert safe_name("..") == "photo"


def test_links_chain_photos_into_scenes() -> None:
    a, b, c, d, e = (Path(name) for name in "abcde")

    def linked(first: Path, second: Path) -> grouping.Link:
        return grouping.Link(first, second, "moderate", "moderate", 0.5)

    found = components([e, d, c, b, a], [linked(b, c), linked(a, c), linked(d, e)])
    assert found == [[a, b, c], [d, e]]
    assert components([a, b], []) == []


def test_the_overlap_of_a_homography() -> None:
    half = np.array([[1.0, 0, 50], [0, 1, 0], [0, 0, 1]])  # shifted by half its width
    assert overlap_share(half, (100, 80), (100, 80)) == pytest.approx(0.5, abs=0.03)
    assert overlap_share(np.diag([0.5, 0.5, 1.0]), (100, 80), (100, 80)) == 1.0
    assert overlap_share(np.linalg.inv(half), (100, 80), (100, 80)) == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(
    ("overlap", "zoom", "foreshortening", "parallax", "similarity", "kind"),
    [
        (0.95, 1.0, 1.0, 0.0, 0.001, "near-identical"),
        (0.95, 1.0, 1.0, 0.0, 0.02, "moderate"),
        (0.7, 1.0, 1.0, 0.0, 0.001, "moderate"),
        (0.3, 1.0, 1.3, 0.1, 0.1, "small-overlap"),
        (0.95, 1.0, 1.3, 0.0, 0.1, "strong"),
        (0.95, 1.0, 1.0, 0.05, 0.1, "strong"),
        (0.3, 1.4, 1.3, 0.1, 0.1, "zoomed"),
    ],
)
def test_the_kind_is_the_first_rule_that_holds(
    overlap: float,
    zoom: float,
    foreshortening: float,
    parallax: float,
    similarity: float,
    kind: str,
) -> None:
    assert kind_of(overlap, zoom, foreshortening, parallax, similarity) == kind


def test_real_scenes_are_told_apart(shared_data: Path, tmp_path: Path) -> None:
    """Six photos of three scenes and one of a fourth, in a flat folder under foreign names."""
    pile = tmp_path / "pile"
    pile.mkdir()
    truth: dict[str, str] = {}
    for index, name in enumerate(("snow_hill", "st_dfw_corner", "st_library", "lund_street")):
        files = sorted((shared_data / "pairs" / name).glob("*.jpg"))[: 1 if index == 3 else 2]
        for number, path in enumerate(files):
            link = pile / f"{number}{index}.jpg"
            link.symlink_to(path)
            truth[link.name] = name
    built = build(pile, tmp_path / "out")
    found = [{truth[path.name] for path in scene.files} for scene in built.scenes]
    assert sorted(map(sorted, found)) == [["snow_hill"], ["st_dfw_corner"], ["st_library"]]
    assert [truth[path.name] for path in built.alone] == ["lund_street"]
