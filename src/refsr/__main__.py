"""``python -m refsr``: the command line."""

import sys

from refsr.cli import main

sys.exit(main())
