"""The log of a run: its lines and the best weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from refsr.model.checkpoint import load_weights
from refsr.train.log import Log
from refsr.train.trainer import Trainer
from runs import tiny_run


def test_only_better_weights_are_kept(tmp_path: Path, photos: Path) -> None:
    class Canned:
        def __init__(self) -> None:
            self.values = [30.0, 29.0, 31.0]

        def run(self, _: object) -> tuple[dict[str, float], None]:
            value = self.values.pop(0)
            return {"pairs/given": value, "pairs/blank": value, "pairs/gap": 100 - value}, None

        def best_by(self, scores: dict[str, float]) -> float:
            return scores["pairs/given"]

    trainer, canned = Trainer(tiny_run(photos, tmp_path)), Canned()
    validation: Any = canned
    kept: list[int] = []
    log = Log(trainer, validation, tmp_path)
    for step in (1, 2, 3):
        trainer.step, trainer.terms = step, {"loss": 0.1}
        log.add_step(trainer)
        log.validate(trainer)
        kept.append(load_weights(tmp_path / "best.safetensors")[1]["steps"])
    log.close()
    assert kept == [1, 1, 3]
    assert trainer.best == 31.0
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["pairs/given"] for line in lines] == [30.0, 29.0, 31.0]
