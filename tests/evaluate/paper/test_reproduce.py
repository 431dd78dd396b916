"""The paper's tables made again: what is measured, what is said of it, and what absent data say."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from refsr.arrays import Pixels
from refsr.cli import main
from refsr.errors import DataError
from refsr.evaluate import compare, run
from refsr.evaluate.compare import compare_references, comparison_rows, render_comparison
from refsr.evaluate.pairs import EvaluationJob, load_jobs
from refsr.evaluate.paper import published, reproduce
from refsr.evaluate.paper.ablation import ablation_sections, judged, read_runs, shown
from refsr.evaluate.paper.levels import OWN_LEVELS, first_of_kind, level_check
from refsr.evaluate.paper.reproduce import reproduce as make
from refsr.evaluate.paper.sections import Request, Section, markdown
from refsr.evaluate.paper.time import measure_forward, textured
from refsr.resize import imresize


@pytest.fixture
def cufed5(tmp_path: Path, natural: Pixels) -> Path:
    """Two groups of small photos; a reference is bluer, the less similar it is."""
    folder = tmp_path / "data" / "test" / "CUFED5"
    folder.mkdir(parents=True)
    for group, image in (("000", natural), ("001", natural[::-1, ::-1])):
        for level in range(6):
            pixels = image[:48, :64].copy()
            pixels[..., 2] = 40 * level
            Image.fromarray(pixels).save(folder / f"{group}_{level}.png")
    return tmp_path / "data"


@pytest.fixture
def tinted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that adds to bicubic what the first reference's blue tells, no reference nothing."""

    def load_method(model: str, *_: object) -> Callable[..., Pixels]:
        def method(lr: Pixels, references: list[Pixels]) -> Pixels:
            sr = imresize(lr, scale=4.0)
            if model == "bicubic" or not references:
                return sr
            return np.clip(sr.astype(int) + int(references[0][..., 2].min()) // 40, 0, 255).astype(
                np.uint8
            )

        return method

    monkeypatch.setattr(run, "load_method", load_method)


def request_for(root: Path, out: Path, **changes: Any) -> Request:
    return Request(root, out / "out", **changes)


def test_references_beside_each_other(cufed5: Path, tinted: None) -> None:
    jobs = load_jobs("cufed5", cufed5)
    shares: list[float] = []
    compared = compare_references(jobs, modes=("given", "none", "blank"), progress=shares.append)
    rows = {row["kind"]: row for row in comparison_rows(compared)}
    assert list(rows) == ["L1", "L2", "L3", "L4", "L5", "all"]
    given = run.evaluate(jobs, reference="given")["mean"]
    for kind, row in rows.items():
        assert row["none"] == row["bicubic"]
        assert row["given"] == given[kind]["psnr"]
    assert rows["L5"]["given"] < rows["L1"]["given"]  # five levels of gray are added, not one
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    text = render_comparison(compared).splitlines()
    assert text[1].split() == ["kind", "pairs", "bicubic", "given", "none", "blank"]
    assert text[2].split()[:2] == ["L1", "2"]


def test_what_cannot_be_compared_is_said(cufed5: Path, tinted: None) -> None:
    one = load_jobs("cufed5", cufed5)[:5]
    compared = compare_references(one, modes=("given", "shuffled"))
    assert list(compared["results"]) == ["given"]
    assert "two scenes" in compared["left_out"]["shuffled"]
    alone = [EvaluationJob(one[0].input, (), "set5")]
    compared = compare_references(alone, modes=compare.MODES)
    assert list(compared["results"]) == ["none", "self"]
    assert set(compared["left_out"]) == {"given", "shuffled", "blank"}
    with pytest.raises(DataError, match="None of these kinds"):
        compare_references(alone, modes=("given",))


def test_evaluate_all_on_the_command_line(
    cufed5: Path, tinted: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "all.json"
    job = ["evaluate", "cufed5", "--root", str(cufed5), "--reference", "all", "--json", str(out)]
    assert main(job) == 0
    head = capsys.readouterr().out.splitlines()[1].split()
    assert head == ["kind", "pairs", "bicubic", *compare.MODES]
    assert set(json.loads(out.read_text())["results"]) == set(compare.MODES)


def test_table1_has_the_papers_numbers_and_ours(cufed5: Path, tinted: None, tmp_path: Path) -> None:
    text, record = written("table1", request_for(cufed5, tmp_path))
    assert "| SSEN-rec | 26.78 | 0.791 |" in text
    assert "2 of CUFED5's 126 groups" in text
    rows = {row[0]: row for row in record["sections"][1]["rows"]}
    first = run.evaluate(load_jobs("cufed5-l1", cufed5))["mean"]["all"]
    assert rows["ssen, reference L1"][1:] == ["2", f"{first['psnr']:.2f}", f"{first['ssim']:.4f}"]
    assert rows["ssen, no reference"][2] == rows["bicubic"][2]
    five = record["measured"]["ssen, all five references"]["rows"][0]["reference"]
    assert five.count(";") == 4
    text, record = written("table1", request_for(cufed5, tmp_path, limit=1))
    assert "1 of CUFED5's 126 groups" in text


def written(table: str, request: Request) -> tuple[str, dict[str, Any]]:
    files = make(table, request)
    assert [path.name for path in files] == [f"{table}.md", f"{table}.json"]
    return files[0].read_text(), json.loads(files[1].read_text())


def test_table2_measures_what_is_there(tmp_path: Path, natural: Pixels, tinted: None) -> None:
    folder = tmp_path / "data" / "Set5"
    folder.mkdir(parents=True)
    Image.fromarray(natural[:48, :64]).save(folder / "bird.png")
    text, record = written("table2", request_for(tmp_path / "data", tmp_path))
    assert "Not here, so not measured: set14, b100, urban100." in text
    (row,) = record["sections"][1]["rows"]
    assert row[:2] == ["set5", "1"]
    assert row[-1] == "32.63 / 0.9002"
    assert len(row) == len(record["sections"][1]["head"])


def test_table3_by_level_and_by_viewpoint(cufed5: Path, tinted: None, tmp_path: Path) -> None:
    for scene in ("a", "b"):
        (cufed5 / "pairs" / scene).mkdir(parents=True)
        for view in (0, 1):
            source = cufed5 / "test" / "CUFED5" / f"00{view}_{view + 1}.png"
            (cufed5 / "pairs" / scene / f"{view}.png").write_bytes(source.read_bytes())
    listed = tmp_path / "own.csv"
    listed.write_text(
        "input,reference,kind\na/0.png,a/1.png,strong\nb/0.png,b/1.png,near-identical\n"
        "b/1.png,a/1.png,irrelevant\n"
    )
    shares: list[float] = []
    request = request_for(cufed5, tmp_path, pairs=listed, progress=shares.append)
    text, record = written("table3", request)
    levels, own = record["sections"][1:]
    assert [row[0] for row in levels["rows"]] == [
        *("XH L1", "H L2", "M L3", "L L4", "XL L5", "all"),
    ]
    assert [row[0] for row in own["rows"]][:3] == ["XH near-identical", "L strong", "irrelevant"]
    assert levels["head"][3:-1] == list(compare.MODES)
    assert "Does the gain fall from level to level? Yes." in text
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0)


def test_a_limit_holds_for_each_kind() -> None:
    jobs = [EvaluationJob(Path(f"{i}"), (), kind) for i, kind in enumerate("aabba")]
    assert [job.input.name for job in first_of_kind(jobs, 1)] == ["0", "2"]
    assert first_of_kind(jobs, None) == jobs


def comparison(given: list[float], none: float) -> dict[str, Any]:
    """What ``compare_references`` gives on CUFED5, made up: bicubic is 20 dB."""

    def mean(values: list[float]) -> dict[str, Any]:
        return {
            f"L{i}": {"pairs": 1, "bicubic_psnr": 20.0, "psnr": value}
            for i, value in enumerate(values, 1)
        }

    results = {"given": {"mean": mean(given)}, "none": {"mean": mean([none] * 5)}}
    return {"results": results}


def test_the_check_of_the_levels() -> None:
    falls, least = level_check(comparison([25, 24, 23, 22, 21], 21.04))
    assert falls.endswith("Yes.")
    assert "Never (least: -0.04 dB)" in least
    falls, least = level_check(comparison([25, 24, 23, 20.5, 21], 21.0))
    assert "No: L5 gains 0.50 dB more than L4." in falls
    assert "Yes (least: -0.50 dB)" in least


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ("table1", r"001_0\.png"),
        ("table2", "set5.*urban100"),
        ("table3", r"cufed5.*nor the list of pairs .*--pairs"),
        ("table4", r"no ablation\.jsonl in"),
        ("fig7", r"001_0\.png"),
    ],
)
def test_absent_data_say_what_is_wanted(
    tmp_path: Path, table: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    request = request_for(tmp_path / "empty", tmp_path, pairs=tmp_path / "none.csv")
    with pytest.raises(DataError, match=sentence):
        make(table, request)
    job = ["reproduce", table, "--root", str(tmp_path / "empty"), "-o", str(tmp_path / "out")]
    assert main([*job, "--pairs", str(tmp_path / "none.csv")]) == 1
    assert capsys.readouterr().err.startswith("refsr: ")
    assert not list((tmp_path / "out").iterdir())


def test_roots_and_names_that_do_not_exist(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--root"):
        make("table1", request_for(tmp_path / "nowhere", tmp_path))
    with pytest.raises(DataError, match="there are: table1"):
        make("table9", request_for(tmp_path, tmp_path))
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be made"):
        make("table1", Request(tmp_path, tmp_path / "file" / "out"))


def test_every_table_of_the_contract_is_made() -> None:
    assert set(reproduce.TABLES) == {"table1", "table2", "table3", "table4", "fig7", "time"}
    assert set(OWN_LEVELS.values()) == set(published.LEVELS.values())


def ablation_run(setting: str, variant: str, seed: int, gain: float) -> dict[str, Any]:
    """A run's line with made-up numbers: the reference is worth ``gain``, less farther off."""
    none = 27.0 + 0.01 * seed
    displaced = {f"{d}": none + gain / (1 + d) for d in (0, 1, 4)}
    return {
        "setting": setting,
        "variant": variant,
        "seed": seed,
        "parameters": 296_365,
        "psnr": {
            "displaced": displaced | {"blank": none, "foreign": none - 0.1},
            "pairs": {"given": none + gain, "blank": none, "foreign": none - 0.2},
            "cufed": {"given": none + gain / 4, "blank": none},
            "cufed5": {f"L{i}": none + gain / i for i in range(1, 6)} | {"blank": none},
        },
        "bicubic": {"displaced": 26.0, "pairs": 26.5, "cufed": 22.0, "cufed5": 22.3},
    }


def test_the_ablations_tables(tmp_path: Path) -> None:
    gains = {"3 layers": 1.0, "0 layers": 0.4, "1 layer": 1.2, "3 layers, no non-local": 1.0}
    runs = [
        ablation_run(setting, variant, seed, gain + 0.02 * (seed - 1))
        for setting in ("unregistered", "registered")
        for variant, gain in gains.items()
        for seed in (1, 2)
    ]
    (tmp_path / "ablation.jsonl").write_text("".join(f"{json.dumps(run)}\n" for run in runs))
    assert read_runs(tmp_path / "ablation.jsonl") == runs
    text, _ = written("table4", request_for(tmp_path, tmp_path))
    claims, registered, displaced, *_ = ablation_sections(runs)
    verdicts = {row[0]: row[1] for row in claims.rows}
    assert verdicts["3 layers beat 0"] == "+0.60, repeats"
    assert verdicts["3 layers beat 1"] == "-0.20, does not"
    assert verdicts["non-local blocks help"] == "+0.00, open"
    assert verdicts["3 layers beat 4"] == "not run"
    assert registered.rows[0][:3] == ["3 layers", "2", "296 k"]
    assert registered.rows[0][-2:] == ["+1.01 ±0.01", "-0.20 ±0.00"]
    assert displaced.notes[1:] == [
        "3 layers; 1 layer; 3 layers, no non-local: the reference is worth 0.1 dB or more up to 4 "
        "LR px off.",
        "0 layers: the reference is worth 0.1 dB or more up to 1 LR px off.",
    ]
    (alone,) = ablation_sections(runs[:2])[1].notes[1:]
    assert alone.startswith("Every network: ")
    assert ablation_sections(runs[:3])[0].rows[0][2] == "+0.61, repeats (one seed)"
    assert text.count("## ") == 1 + len(ablation_sections(runs))


def test_runs_that_are_no_json(tmp_path: Path) -> None:
    (tmp_path / "ablation.jsonl").write_text("{}\nno json\n")
    with pytest.raises(DataError, match=r"ablation\.jsonl does not hold one JSON object a line"):
        read_runs(tmp_path / "ablation.jsonl")
    assert read_runs(tmp_path / "absent.jsonl") == []


def test_spread_and_verdict() -> None:
    assert shown([1.0, 1.5]) == "+1.25 ±0.25"
    assert shown([2.0], "") == "2.00"
    assert judged(0.019, 0.0) == "+0.02, open"  # less than 0.02 dB is nobody's difference
    assert judged(-0.3, 0.1) == "-0.30, does not"


def test_a_section_is_markdown() -> None:
    section = Section("Title", ["a", "b"], [["x", "1"]], ["why"])
    assert markdown(section) == "## Title\n\n| a | b |\n|---|---:|\n| x | 1 |\n\n- why"
    assert markdown(Section("Title", [], [], ["why"])) == "## Title\n\n- why"


def test_forward_time_and_memory_grow_with_the_photo() -> None:
    assert textured(40, 30).shape == (30, 40, 3)
    np.testing.assert_array_equal(textured(40, 30), textured(40, 30))
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        small, large = (pool.apply(measure_forward, ("ssen", side, side)) for side in (32, 96))
    assert 0 < small["cpu_seconds"] < large["cpu_seconds"]
    assert large["bytes"] > small["bytes"] > 0


def test_time_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from refsr.evaluate import reproduce_time

    sections, measured = reproduce_time.time_sections("ssen", sizes=((24, 16),))
    assert measured["24 x 16"]["forward"]["seconds"] > 0
    assert len(sections[0].rows[0]) == len(sections[0].head)
    monkeypatch.setattr(reproduce, "time_sections", lambda model, progress: (sections, measured))
    text, _ = written("time", request_for(tmp_path, tmp_path))
    assert "| SSEN | 0.95 |" in text
    assert "| 24 x 16 |" in text


def test_the_figures_pixel_lies_where_detail_was_lost(natural: Pixels) -> None:
    from refsr.evaluate.paper.fig7 import liveliest

    hr = np.full((192, 256, 3), 128, np.uint8)
    hr[80:100, 120:140] = np.random.default_rng(0).integers(0, 255, (20, 20, 3))
    hr[80:100, 180:200] = 2 * (np.random.default_rng(1).integers(0, 64, (20, 20, 3))) + 64
    lr = imresize(hr, scale=0.25)
    everywhere = np.ones(lr.shape[:2], np.float32)
    x, y = liveliest(hr, lr, everywhere)
    assert 116 <= x < 144
    assert 76 <= y < 104
    right = everywhere * (np.arange(64) > 40)
    assert 176 <= liveliest(hr, lr, right)[0] < 204
    assert liveliest(hr, lr, 0 * everywhere) == (x, y)


def test_how_far_the_samples_reach() -> None:
    from refsr.evaluate.paper.fig7 import statistics
    from refsr.report.explain import Explanation

    blank = np.zeros((4, 4, 3), np.uint8)
    places = np.array([[10, 10], [13, 14], [10, 18], [40, 10]], np.float32)
    found = Explanation(
        at=(40, 40),
        layers=1,
        lr=blank,
        sr=blank,
        sr_origin=(0, 0),
        source=blank,
        xy=places,
        xy_identity=places[0],
        strength=np.array([0.4, 0.4, 0.2, 0.0], np.float32),
        borrowed=np.ones(4, bool),
    )
    facts = statistics(found)
    assert facts["samples"] == 4
    assert facts["mean_modulation"] == pytest.approx(0.25)
    assert (facts["reach_half"], facts["reach_nine_tenths"]) == (5.0, 8.0)


@pytest.fixture(scope="module")
def ablate(scripts: Callable[[str], ModuleType]) -> ModuleType:
    return scripts("ablate")


def test_a_displaced_reference_lies_as_far_off_as_it_says(ablate: ModuleType) -> None:
    import cv2

    from refsr.train.simulate import displaced_reference

    rng = np.random.default_rng(5)
    noise = cv2.GaussianBlur(rng.normal(0, 60, (200, 200, 3)).astype(np.float32), (0, 0), 1.5)
    image = np.clip(128 + 4 * noise, 0, 255).astype(np.uint8)
    size, margin = 96, 52
    inner = image[margin : margin + size, margin : margin + size].astype(np.float64)
    for distance in (0.0, 1.0, 3.0):
        ref = displaced_reference(np.random.default_rng(9), image, size, distance)
        assert (ref.shape, ref.dtype) == ((size, size, 3), np.uint8)
        (x, y), _ = cv2.phaseCorrelate(inner.mean(axis=2), ref.astype(np.float64).mean(axis=2))
        assert np.hypot(x, y) / 4 == pytest.approx(distance, abs=0.4)  # the warp: up to 0.4 LR px


def test_variants_differ_from_the_base_in_what_they_say(ablate: ModuleType) -> None:
    from refsr.model.ssen import SSENConfig

    names = [variant.name for variant in (*ablate.VARIANTS, *ablate.EXTRAS)]
    assert len(set(names)) == len(names)
    assert {claim[1] for claim in reproduce_claims()} | {c[2] for c in reproduce_claims()} <= set(
        names
    )
    for variant in (*ablate.VARIANTS, *ablate.EXTRAS):
        SSENConfig(**variant.model)
    plan = list(ablate.plan(2))
    assert len(plan) == len({(setting, v.name, seed) for setting, v, seed in plan})
    main_runs = 2 * len(ablate.VARIANTS)
    assert {seed for _, _, seed in plan[:main_runs]} == {1}


def reproduce_claims() -> tuple[tuple[str, str, str], ...]:
    from refsr.evaluate.paper.ablation import CLAIMS

    return CLAIMS


def test_one_run_of_the_ablation(ablate: ModuleType, natural: Pixels, tmp_path: Path) -> None:
    import dataclasses

    from networks import TINY
    from refsr.train.config import DataConfig, RunConfig, TrainConfig

    (tmp_path / "photos").mkdir()
    Image.fromarray(natural).save(tmp_path / "photos" / "a.png")
    data = DataConfig(photos=(str(tmp_path / "photos"),), real=0.0, simulated=0.9, patch=32)
    model = dataclasses.replace(TINY, hr_transfer=False)
    train = TrainConfig(steps=2, batch=2, threads=1, warmup=1, optimizer="muon")
    config = RunConfig(str(tmp_path / "run"), model, data, train)
    patches = ablate.DisplacedPatches(data, 1)
    patches.ramp = 4.0
    patches.sample(0, 0)
    assert patches.reach == ablate.FARTHEST / 4
    hr = np.ascontiguousarray(natural[:64, :96])
    sample = ablate.believed(imresize(hr, scale=0.25), hr, hr[:60])
    assert sample.validity[59, 0] == 255
    assert sample.validity[60, 0] == 0  # what had to be padded is not believed
    sets = {"cufed5": {"L1": [sample]}, "displaced": {"0": [sample, sample]}}
    line = ablate.run(config, patches, sets)
    assert set(line["psnr"]["cufed5"]) == {"L1", "blank"}
    assert set(line["psnr"]["displaced"]) == {"0", "blank", "foreign"}
    again = ablate.run(dataclasses.replace(config), patches, sets)
    assert again["psnr"] == line["psnr"]
    assert set(ablate.bicubic_scores(sets)) == {"cufed5", "displaced"}


def test_what_is_written_above_the_tables_stays(ablate: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "ABLATION.md"
    runs = [ablation_run("registered", "3 layers", 1, 1.0)]
    path.write_text(f"# Ours\n\n{ablate.MARK}\n\nold tables\n")
    ablate.write_tables(runs, path)
    text = path.read_text()
    assert text.startswith(f"# Ours\n\n{ablate.MARK}\n\n## The paper's order")
    assert "old tables" not in text
    ablate.write_tables(runs, path)
    assert path.read_text() == text
