"""Commands for many photos: a folder of them, or the page in the browser."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tyro.conf import OmitArgPrefixes

from refsr.batch.options import Options
from refsr.cli.arguments import Input, Output
from refsr.cli.output import dump, progress_bar, say
from refsr.errors import DataError

if TYPE_CHECKING:
    from refsr.batch.runner import Engine


def batch(
    source: Input,
    out: Output,
    refs: Path | None = None,
    resume: bool = False,
    format: Literal["png", "jpg", "webp", "tif", "avif"] = "png",
    engine: Literal["local", "ray"] = "local",
    address: str = "auto",
    workers: int = 0,
    max_memory: str = "auto",
    per_photo: OmitArgPrefixes[Options] = Options(),  # noqa: B008  # frozen
    json: bool = False,
    quiet: bool = False,
) -> None:
    """Upscale a folder of photos, or the jobs of a CSV file; --resume goes on after a crash.

    Exits with 1 where a job failed; the others are done all the same.

    Args:
        source: A folder, searched recursively, or a CSV with the columns input, reference (several
            parted by ;) and output, of which the last two may be left out.
        out: The folder for the results; it mirrors the tree, and the names keep their stem.
        refs: A folder of sharp photos. Each photo gets those of its own name; where there is none,
            it is looked for among all of them.
        resume: Leave what is finished, and has not changed since, as it is.
        format: What the results are written as.
        engine: local is this machine; ray is a cluster (needs the extra `bulk`).
        address: Where the cluster is, such as 10.0.0.1:6379; auto finds the one of this machine.
        workers: Photos worked on at once; 0 for as many as cores and memory allow.
        max_memory: What all workers may use together, such as 8GB; with ray, each one. auto is half
            of the free memory, at most 1.5GB.
        per_photo: What holds for every photo.
        json: Print one JSON object a job on stdout.
        quiet: No progress, no failures, no summary.
    """
    from refsr.batch.jobs import plan
    from refsr.batch.runner import run_batch
    from refsr.registration.feature_cache import FeatureCache

    jobs = plan(source, out, refs, format)
    for note in FeatureCache(per_photo.cache).notes if per_photo.cache else ():
        say(f"note: {note}", quiet)
    chosen = chosen_engine(engine, address, max_memory, workers)
    told = 0
    with progress_bar(source.name, quiet or json) as progress:

        def tell(record: dict[str, Any]) -> None:
            nonlocal told
            from tqdm import tqdm

            told += 1
            progress(told / len(jobs))
            if json:
                print(dump(record), flush=True)
            if record["status"] == "failed" and not quiet:
                tqdm.write(f"failed: {record['error']}", file=sys.stderr)

        try:
            counts = run_batch(
                jobs, per_photo, chosen, out=out, refs=refs, resume=resume, tell=tell
            )
        except KeyboardInterrupt:
            say(f"{told} of {len(jobs)} jobs are finished; go on with --resume", quiet)
            raise
    text = f"{counts['done']} done, {counts['skipped']} finished before, {counts['failed']} failed"
    say(f"{out}: {text}", quiet)
    if counts["failed"]:
        raise DataError(f"{counts['failed']} of {len(jobs)} jobs failed.")


def chosen_engine(name: str, address: str, max_memory: str, workers: int) -> Engine:
    """What does the jobs: this machine, or the cluster at ``address``. Raises DataError."""
    if name == "ray":
        from refsr.batch.ray_engine import on_ray
        from refsr.inference.memory import parse_memory

        return on_ray(address, parse_memory(max_memory), workers)
    import threading

    from refsr.batch.runner import Share, local

    return local(Share.of(max_memory, workers), threading.Event())


def web(
    host: str = "127.0.0.1",
    port: int = 8160,
    max_memory: str = "auto",
    max_upload: str = "100MB",
    threads: int = 0,
) -> None:
    """Serve a page in the browser for all this, and an HTTP API; Ctrl-C stops it.

    Needs the extra `web`. Photos go nowhere else, and are removed after half an hour.

    Args:
        host: The address to serve at; 127.0.0.1 is reached from this computer only, 0.0.0.0 by
            everybody in its network.
        port: The port; 0 takes any free one.
        max_memory: What the work on photos may use in all, such as 2GB; auto is half of the free
            memory, at most 1.5GB.
        max_upload: The most that is taken at once, photo and references together.
        threads: Processor cores to use; 0 for all.
    """
    from refsr.inference.memory import parse_memory
    from refsr.web.limits import Limits
    from refsr.web.server import serve

    def opened(address: str) -> None:
        print(f"Open {address} in your browser; Ctrl-C stops the server.", flush=True)

    serve(host, port, max_memory, threads, Limits(upload=parse_memory(max_upload)), opened)
