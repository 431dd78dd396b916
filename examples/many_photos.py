"""Many photos with one reference: python many_photos.py sharp.jpg OUTDIR a.jpg b.jpg ...

The model and the features of the reference are loaded once. Photos that cannot be read are reported
and skipped. For whole folders see ``refsr batch``.
"""

import sys
from pathlib import Path

from refsr import RefsrError, Upscaler

sharp, folder, *photos = sys.argv[1:]
upscaler = Upscaler.load()
upscaler.set_reference(sharp)
for photo in photos:
    try:
        upscaler.upscale(photo).save(Path(folder) / f"{Path(photo).stem}.png")
    except RefsrError as error:
        print(error, file=sys.stderr)
