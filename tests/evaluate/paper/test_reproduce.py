"""The paper's tables reproduced: their numbers, and the errors where data is missing."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ablations import ablation_run
from refsr.arrays import Pixels
from refsr.cli import main
from refsr.data.pairs import load_jobs
from refsr.errors import DataError
from refsr.evaluate import compare, run
from refsr.evaluate.paper import published, reproduce
from refsr.evaluate.paper.ablation import SETTINGS, ablation_sections
from refsr.evaluate.paper.levels import OWN_LEVELS
from refsr.evaluate.paper.reproduce import reproduce as make
from refsr.evaluate.paper.sections import Request, Section, markdown
from refsr.evaluate.paper.time import time_sections


def request_for(root: Path, out: Path, **changes: Any) -> Request:
    return Request(root, out / "out", **changes)


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
    assert "Not found, so not measured: set14, b100, urban100." in text
    (row,) = record["sections"][1]["rows"]
    assert row[:2] == ["set5", "1"]
    assert row[-1] == "32.63 / 0.9002"
    assert len(row) == len(record["sections"][1]["head"])
    assert "This is not Set5: 1 photo in" in text
    assert "(bird); Set5 has 5." in text.replace("\n  ", " ")
    assert "--baseline" in text


def test_table2_has_the_baseline_without_a_reference_path(tmp_path: Path, natural: Pixels) -> None:
    folder = tmp_path / "data" / "Set5"
    folder.mkdir(parents=True)
    Image.fromarray(natural[:64, :96]).save(folder / "bird.png")
    request = request_for(tmp_path / "data", tmp_path, model="ssen-tiny", baseline="bicubic")
    text, record = written("table2", request)
    (row,) = record["sections"][1]["rows"]
    cells = dict(zip(record["sections"][1]["head"], row, strict=True))
    assert cells["RCAN alone"] == cells["bicubic"]
    own, alone = (float(cells[name].split()[0]) for name in ("ssen-tiny, alone", "RCAN alone"))
    (gain,) = re.findall(
        r"With SSEN over RCAN alone.*: set5 ([+-]\d+\.\d+)", text.replace("\n ", "")
    )
    assert float(gain) == pytest.approx(own - alone, abs=0.011)


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
    paper, levels, perceptual, own = record["sections"]
    assert {row[0] for row in paper["rows"]} == set(published.LEVEL_ROWS)
    assert [row[0] for row in perceptual["rows"]] == [row[0] for row in levels["rows"]]
    crisp = record["measured"]["crisp"]["mean"]["L2"]
    assert perceptual["rows"][1][-2:] == [f"{crisp['haarpsi']:.4f}", f"{crisp['psnr']:.2f}"]
    assert [row[0] for row in levels["rows"]] == [
        *("XH L1", "H L2", "M L3", "L L4", "XL L5", "all"),
    ]
    assert [row[0] for row in own["rows"]][:3] == ["XH near-identical", "L strong", "irrelevant"]
    assert levels["head"][3:-1] == list(compare.MODES)
    assert "Does the gain fall from level to level? Yes." in text
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0)


def test_table4_reads_the_recorded_runs(tmp_path: Path) -> None:
    runs = [ablation_run(setting, "3 layers", 1, 1.0) for setting in SETTINGS]
    (tmp_path / "ablation.jsonl").write_text("".join(f"{json.dumps(run)}\n" for run in runs))
    text, record = written("table4", request_for(tmp_path, tmp_path))
    assert text.count("## ") == 1 + len(ablation_sections(runs))
    assert record["measured"] == {"runs": runs}
    (tmp_path / "elsewhere").mkdir()
    request = request_for(tmp_path / "elsewhere", tmp_path, runs=tmp_path / "ablation.jsonl")
    assert written("table4", request)[0] == text  # as from a clone, whatever the root


def test_time_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sections, measured = time_sections("ssen", sizes=((24, 16),))
    assert measured["24 x 16"]["forward"]["seconds"] > 0
    assert len(sections[0].rows[0]) == len(sections[0].head)
    monkeypatch.setattr(reproduce, "time_sections", lambda model, progress: (sections, measured))
    text, _ = written("time", request_for(tmp_path, tmp_path))
    assert "| SSEN | 0.95 |" in text
    assert "| 24 x 16 |" in text


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
    tmp_path: Path,
    table: str,
    sentence: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)  # the repository's own files are found from its folder only
    request = request_for(tmp_path / "empty", tmp_path, pairs=tmp_path / "none.csv")
    with pytest.raises(DataError, match=sentence):
        make(table, request)
    job = ["reproduce", table, "--root", str(tmp_path / "empty"), "-o", str(tmp_path / "out")]
    assert main([*job, "--pairs", str(tmp_path / "none.csv")]) == 1
    started, error = capsys.readouterr().err.splitlines()
    assert started == f"{table}: started"
    assert error.startswith("refsr: ")
    assert not list((tmp_path / "out").iterdir())


def test_roots_and_names_that_do_not_exist(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--root"):
        make("table1", request_for(tmp_path / "nowhere", tmp_path))
    with pytest.raises(DataError, match="choose one of table1"):
        make("table9", request_for(tmp_path, tmp_path))
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be made"):
        make("table1", Request(tmp_path, tmp_path / "file" / "out"))


def test_every_table_of_the_contract_is_made() -> None:
    assert set(reproduce.TABLES) == {
        *("table1", "table2", "table3", "table4", "fig6", "fig7", "time")
    }
    assert set(OWN_LEVELS.values()) == set(published.LEVELS.values())


def test_a_section_is_markdown() -> None:
    section = Section("Title", ["a", "b"], [["x", "1"]], ["why"])
    assert markdown(section) == "## Title\n\n| a | b |\n|---|---:|\n| x | 1 |\n\n- why"
    assert markdown(Section("Title", [], [], ["why"])) == "## Title\n\n- why"
