"""Two machines of a cluster, one of which is lost in the middle."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from batches import outputs, photo, run
from refsr.batch.jobs import plan_jobs
from refsr.batch.journal import Record
from refsr.batch.local_engine import WorkerBudget
from refsr.batch.options import BatchOptions
from refsr.batch.runner import run_batch
from refsr.inference.plan import PROGRAM_BYTES

pytestmark = pytest.mark.cluster
MEMORY = PROGRAM_BYTES + 100_000_000


@pytest.fixture
def two_nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A cluster of two nodes with one core each, on this machine; statistics stay off."""
    pytest.importorskip("ray", reason="needs the extra bulk")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_raylet_start_wait_time_s", "120")  # a busy machine is slow to start
    import ray
    from ray.cluster_utils import Cluster

    size = {"num_cpus": 1, "memory": 10**9, "object_store_memory": 10**8}
    cluster = Cluster(initialize_head=True, head_node_args={**size, "include_dashboard": False})
    cluster.add_node(**size)
    try:
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


def test_a_lost_node_costs_no_job_and_changes_no_result(two_nodes: Any, tmp_path: Path) -> None:
    from refsr.batch.ray_engine import ray_engine

    for number in range(40):
        photo(tmp_path / "in" / f"{number:02}.png", 64, number)
    (tmp_path / "in" / "broken.jpg").write_bytes(b"no photo")
    flags = ["--model", "ssen", "--workers", "1", "--max-memory", str(MEMORY)]
    assert run(tmp_path / "in", "-o", tmp_path / "local", *flags) == 1

    out, told = tmp_path / "ray", list[Record]()
    node = next(iter(two_nodes.worker_nodes))

    def tell(record: Record) -> None:
        told.append(record)
        if len(told) == 12:
            two_nodes.remove_node(node, allow_graceful=False)

    jobs = plan_jobs(tmp_path / "in", out, None, "png")
    engine = ray_engine(two_nodes.address, WorkerBudget.of(str(MEMORY), 1).memory, 0)
    options = BatchOptions("ssen")
    counts = run_batch(jobs, options, engine, out=out, refs=None, resume=False, tell=tell)
    assert counts == {"done": 40, "failed": 1, "skipped": 0}
    assert sorted(one["output"] for one in told) == sorted(str(job.output) for job in jobs)
    assert len({one["worker"] for one in told[:12]}) == 2, "both nodes worked before the loss"
    assert outputs(out) == outputs(tmp_path / "local")
    for name in outputs(out):
        assert (out / name).read_bytes() == (tmp_path / "local" / name).read_bytes()
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
