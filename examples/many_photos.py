"""Many photos with one reference: python many_photos.py sharp.jpg OUTDIR a.jpg b.jpg ...

The model is loaded once, and the reference's features are found once. A photo that cannot be used
is named, and the rest goes on. For whole folders see ``refsr batch``.
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
