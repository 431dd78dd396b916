"""One model in every reference mode: the numbers, the table, and what is left out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from refsr.cli import main
from refsr.data.pairs import EvaluationJob, load_jobs
from refsr.degradation.simulate import KINDS
from refsr.errors import DataError
from refsr.evaluate import compare, run
from refsr.evaluate.compare import compare_references, comparison_rows
from refsr.evaluate.table import render_comparison


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
    assert main([*job, "--photo", "blur:2"]) == 0
    head = capsys.readouterr().out.splitlines()[1].split()
    assert head == ["kind", "pairs", "bicubic", *compare.MODES]
    results = json.loads(out.read_text())["results"]
    assert set(results) == set(compare.MODES)
    assert {result["protocol"]["photo"] for result in results.values()} == {"blur:2"}


def test_the_help_names_every_kind_of_photo(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["evaluate", "--help"])
    words = capsys.readouterr().out
    for name, recipe in KINDS.items():
        assert f"{name}{recipe.usage}" in words
