"""Progress and cancelling: python cancel.py small.jpg SECONDS."""

import sys
import time

from refsr import Cancelled, Upscaler

small, seconds = sys.argv[1], float(sys.argv[2])
upscaler = Upscaler.load()
end = time.monotonic() + seconds


def progress(done: float) -> None:
    """Called after every tile with the finished share; an exception cancels the job."""
    print(f"{done:.0%}")
    if time.monotonic() > end:
        raise Cancelled(f"{small} was not done within {seconds} seconds.")


try:
    print("done:", upscaler.upscale(small, progress=progress).image.shape)
except Cancelled as reason:
    print("cancelled:", reason)
