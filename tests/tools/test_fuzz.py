"""A small, seeded part of tools/fuzz.py; the whole is in docs/RELIABILITY.md."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

pytestmark = pytest.mark.linux
ROOT = Path(__file__).parents[2]
SOME = {"photo": 250, "pipeline": 12, "list": 60, "config": 60, "card": 25, "network": 8}


@pytest.fixture(scope="module")
def fuzz(scripts: Callable[[str], ModuleType]) -> ModuleType:
    return scripts("fuzz")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", SOME)
def test_damaged_inputs_are_accepted_or_refused_in_a_sentence(
    kind: str, fuzz: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuzz, "PHOTOS", tmp_path)  # the same inputs on every machine
    attempt = fuzz.KINDS[kind]()
    outcomes: set[str] = set()
    for number in range(SOME[kind]):
        folder = tmp_path / str(number)
        folder.mkdir()
        outcome, why = fuzz.try_one(kind, number, attempt, folder)
        assert outcome != "finding", f"input {number}: {why}"
        outcomes.add(outcome)
    assert "refused" in outcomes
    assert kind == "network" or outcomes == {"refused", "accepted"}


def test_the_fuzzer_detects_faults(
    fuzz: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A traceback, an internal error text, a hang and high memory use are findings."""
    from refsr import RefsrError

    def hungry(_: np.random.Generator, __: Path) -> str:
        return "accepted" if np.ones(80_000_000).sum() else "empty"

    def endless(_: np.random.Generator, __: Path) -> str:
        while True:
            pass

    def ugly(_: np.random.Generator, __: Path) -> str:
        raise RefsrError("ValueError: <object at 0x7f>")

    def broken(_: np.random.Generator, __: Path) -> str:
        raise IndexError

    monkeypatch.setattr(fuzz, "MAX_SECONDS", 0.2)
    for attempt, words in (
        (hungry, "MB of memory"),
        (endless, "more than 0.2 s"),
        (ugly, "not a plain sentence"),
        (broken, "IndexError"),
    ):
        outcome, why = fuzz.try_one("photo", 1, attempt, tmp_path)
        assert outcome == "finding"
        assert words in why


def test_a_dead_worker_is_a_finding_and_the_run_continues(tmp_path: Path) -> None:
    script = (ROOT / "tools" / "fuzz.py").read_text()
    dying = script.replace(
        "def generator(", "def dies(rng, folder):\n    os._exit(3)\n\n\ndef generator("
    ).replace("attempt = KINDS[kind]()", "attempt = dies")
    (tmp_path / "fuzz.py").write_text(dying)
    (tmp_path / "fuzz_files.py").write_text((ROOT / "tools" / "fuzz_files.py").read_text())
    command = [sys.executable, tmp_path / "fuzz.py", "list", "2", "--out", tmp_path / "out"]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 1, done.stderr
    assert "2 findings" in done.stdout
