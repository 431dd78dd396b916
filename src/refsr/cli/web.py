"""``refsr web``: the web page and HTTP API."""

from __future__ import annotations

from refsr.cli.arguments import command


@command
def web(
    host: str = "127.0.0.1",
    port: int = 8160,
    max_memory: str = "auto",
    max_upload: str = "100MB",
    max_pixels: int = 4_000_000,
    threads: int = 0,
) -> None:
    """Serve a web page and an HTTP API on this computer. Needs the extra `web`.

    Args:
        host: Address to listen on: 127.0.0.1 is reachable from this computer only, 0.0.0.0 from
            its whole network.
        port: Port to listen on; 0 picks a free one.
        max_memory: Memory limit of all processing, such as 2GB; auto is half of the free memory, at
            most 1.5GB.
        max_upload: Size limit of one upload, photo and references together. Uploads are deleted
            after half an hour.
        max_pixels: Size limit of a photo that is enlarged four times; one of four times as many
            pixels can be enlarged twice. More takes memory, disk and patience in proportion.
        threads: CPU cores to use; 0 for all.
    """
    from refsr.errors import DataError
    from refsr.inference.memory import parse_memory
    from refsr.web.limits import Limits
    from refsr.web.server import serve

    def opened(address: str) -> None:
        print(f"Open {address} in your browser; press Ctrl-C to stop the server.", flush=True)

    if max_pixels < 1:
        raise DataError(f"--max-pixels must be 1 or more, not {max_pixels}.")
    limits = Limits.with_photo_pixels(max_pixels, parse_memory(max_upload))
    serve(host, port, max_memory, threads, limits, opened)
