"""``refsr batch``: a folder of photos, or a list of them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Literal

from tyro.conf import OmitArgPrefixes

from refsr.batch.options import BatchOptions
from refsr.cli.arguments import Input, OptionalPath, Output, command
from refsr.cli.output import print_message, progress_bar, to_json
from refsr.errors import DataError

if TYPE_CHECKING:
    from refsr.batch.worker import Engine


@command
def batch(
    source: Input,
    out: Output,
    refs: OptionalPath = None,
    resume: bool = False,
    format: Literal["png", "jpg", "webp", "tif", "avif"] = "png",
    engine: Literal["local", "ray"] = "local",
    address: str = "auto",
    workers: int = 0,
    max_memory: str = "auto",
    per_photo: OmitArgPrefixes[BatchOptions] = BatchOptions(),  # noqa: B008  # frozen
    json: bool = False,
    quiet: bool = False,
) -> None:
    """Upscale a folder of photos, or the photos listed in a CSV file.

    Args:
        source: A folder, searched recursively, or a CSV file with the columns input, reference
            (optional; several are separated by ;) and output (optional).
        out: Folder for the results; it mirrors the folders of the source and the names of its
            files. The exit code is 1 if a photo failed; the others are upscaled all the same.
        refs: A folder of sharp photos. Each photo uses those with its own name or, if there are
            none, searches all of them.
        resume: Skip photos that are finished and have not changed since, for example after a crash.
        format: Output format.
        engine: local is this machine; ray is a Ray cluster (needs the extra `bulk`).
        address: Address of the Ray cluster, such as 10.0.0.1:6379; auto finds the one on this
            machine, local starts one.
        workers: Photos to process in parallel; 0 for as many as cores and memory allow.
        max_memory: Memory limit of all workers together, such as 8GB; with ray, of each worker.
            auto is half of the free memory, at most 1.5GB.
        per_photo: Options for every photo.
        json: Print one JSON object per photo on stdout.
        quiet: Print no progress, no failures, no skipped files and no summary.
    """
    from refsr.batch.jobs import plan_jobs
    from refsr.batch.runner import run_batch
    from refsr.registration.feature_cache import FeatureCache

    jobs = plan_jobs(source, out, refs, format)
    cache = None if per_photo.cache is None else FeatureCache(per_photo.cache)
    for note in cache.notes if cache else ():
        print_message(f"note: {note}", quiet)
    chosen = load_engine(engine, address, max_memory, workers)
    told = 0
    with progress_bar(source.name, quiet or json) as progress:

        def tell(record: dict[str, Any]) -> None:
            nonlocal told
            from tqdm import tqdm

            told += 1
            progress(told / len(jobs))
            if json:
                print(to_json(record), flush=True)
            problem = record.get("error") or record.get("why")
            if problem and not quiet:
                tqdm.write(f"{record['status']}: {problem}", file=sys.stderr)

        try:
            counts = run_batch(
                jobs,
                per_photo,
                chosen,
                out=out,
                refs=refs,
                resume=resume,
                tell=tell,
                cache=cache,
                source=source,
            )
        except KeyboardInterrupt:
            text = f"{told} of {len(jobs)} photos are finished; continue with --resume"
            print_message(text, quiet)
            raise
    text = f"{counts['done']} done, {counts['skipped']} skipped, {counts['failed']} failed"
    print_message(f"{out}: {text}", quiet)
    if counts["failed"]:
        raise DataError(f"{counts['failed']} of {len(jobs)} photos failed.")


def load_engine(name: str, address: str, max_memory: str, workers: int) -> Engine:
    """The engine ``name``: local, or ray with the cluster at ``address``. Raises DataError."""
    if name == "ray":
        from refsr.batch.ray_engine import ray_engine
        from refsr.inference.memory import parse_memory

        return ray_engine(address, parse_memory(max_memory), workers)
    import threading

    from refsr.batch.local_engine import WorkerBudget, local_engine

    return local_engine(WorkerBudget.of(max_memory, workers), threading.Event())
