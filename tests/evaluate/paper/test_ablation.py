"""The ablation's tables, from runs with invented numbers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ablations import ablation_run
from refsr.errors import DataError
from refsr.evaluate.paper.ablation import ablation_sections, format_spread, judge, read_runs


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
    claims, registered, displaced, *_ = ablation_sections(runs)
    verdicts = {row[0]: row[1] for row in claims.rows}
    assert verdicts["no layer already gains"] == "+0.41, repeats"
    assert verdicts["3 layers beat 0"] == "+0.60, repeats"
    assert verdicts["3 layers beat 1"] == "-0.20, does not"
    assert verdicts["non-local blocks help"] == "+0.00, open"
    assert verdicts["3 layers beat 4"] == "not run"
    assert registered.rows[0][:3] == ["3 layers", "2", "296 k"]
    assert registered.rows[0][-2:] == ["+1.01 ±0.01", "-0.20 ±0.00"]
    assert displaced.notes[1:] == [
        "3 layers; 1 layer; 3 layers, no non-local: the reference gains 0.1 dB or more up to 4 "
        "LR px off.",
        "0 layers: the reference gains 0.1 dB or more up to 1 LR px off.",
    ]
    (alone,) = ablation_sections(runs[:2])[1].notes[1:]
    assert alone.startswith("Every network: ")
    assert ablation_sections(runs[:3])[0].rows[1][2] == "+0.61, repeats (one seed)"


def test_runs_that_are_no_json(tmp_path: Path) -> None:
    (tmp_path / "ablation.jsonl").write_text("{}\nno json\n")
    with pytest.raises(DataError, match=r"ablation\.jsonl does not hold one JSON object a line"):
        read_runs(tmp_path / "ablation.jsonl")
    assert read_runs(tmp_path / "absent.jsonl") == []


def test_old_runs_call_mismatched_references_foreign(tmp_path: Path) -> None:
    run = ablation_run("registered", "3 layers", 1, 1.0)
    old = json.dumps(run).replace("mismatched", "foreign")
    (tmp_path / "ablation.jsonl").write_text(f"{old}\n")
    assert read_runs(tmp_path / "ablation.jsonl") == [run]


def test_spread_and_verdict() -> None:
    assert format_spread([1.0, 1.5]) == "+1.25 ±0.25"
    assert format_spread([2.0], "") == "2.00"
    assert judge(0.019, 0.0) == "+0.02, open"  # below 0.02 dB there is no verdict
    assert judge(-0.3, 0.1) == "-0.30, does not"
