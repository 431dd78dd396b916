"""Where each detail came from: python where_from.py small.jpg sharp.jpg map.png.

Green is borrowed from the reference, orange is guessed by the network, gray is the photo's own.
"""

import sys

import PIL.Image

from refsr import Upscaler

small, sharp, out = sys.argv[1:]
upscaler = Upscaler.load()
upscaler.set_reference(sharp)
result = upscaler.upscale(small)
PIL.Image.fromarray(result.map()).save(out)
print(f"{result.provenance.mean():.0%} of the new detail was borrowed")
