"""A small part of tools/load.py; the whole is in docs/RELIABILITY.md."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

pytest.importorskip("starlette", reason="the extra `web` is not installed")


@pytest.fixture(scope="module")
def load(scripts: Callable[[str], ModuleType]) -> ModuleType:
    return scripts("load")


@pytest.mark.slow
def test_many_clients_at_once_get_correct_answers(load: ModuleType) -> None:
    result = load.run(clients=5, requests=15, minutes=0)
    assert result["wrong"] == []
    assert result["requests"] == sum(result["outcomes"].values()) == 15
    kinds = {name.partition(":")[0] for name in result["outcomes"]}
    assert kinds == set(load.KINDS)
    assert result["files_left"] == result["left_after_the_end"] == []
    assert result["stderr"] == load.INTERRUPTED
    server, _ = zip(*result["memory_mb"], strict=True)
    assert max(server) < 150


def test_wrong_answers_are_detected(load: ModuleType, tmp_path: Path) -> None:
    """Other bytes, an error that is no sentence, and a server that does not exist."""
    import httpx

    picture = b"\x89PNG of the library"
    load.expect_png(httpx.Response(200, content=picture), picture)
    with pytest.raises(AssertionError, match="other bytes"):
        load.expect_png(httpx.Response(200, content=picture + b"!"), picture)
    with pytest.raises(AssertionError, match="traceback"):
        load.refused(httpx.Response(422, json={"error": "traceback"}), 422)
    nobody = load.Load("http://127.0.0.1:9", [load.Case(b"", b"", b"", b"", {})])
    nobody.send(0, 1)
    assert list(nobody.outcomes) == ["plain: lost"]
    (tmp_path / "left").write_bytes(b"")
    assert load.files_left(tmp_path, timeout=0.1) == [str(tmp_path / "left")]
    memory = [[1, 2], [3, 4], [5, 6], [7, 8], [9, 1]]
    assert load.quarters(memory) == [
        (3, 4),
        (5, 6),
        (7, 8),
        (9, 1),
    ]
    assert np.array_equal(load.draw_pair(0, (40, 30))[0], load.draw_pair(0, (40, 30))[0])
