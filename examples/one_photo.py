"""One photo with one reference: python one_photo.py small.jpg sharp.jpg out.png."""

import sys

from refsr import Upscaler

small, sharp, out = sys.argv[1:]
upscaler = Upscaler.load()
upscaler.set_reference(sharp)
result = upscaler.upscale(small)
result.save(out)
for reference in result.report["references"]:
    print(reference["reference"], reference["verdict"])
