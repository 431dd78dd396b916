"""The command line: parse arguments, call the library, print. One file per command."""

from refsr.cli.entry_point import COMMANDS, main
from refsr.cli.output import duration, progress_bar

__all__ = ["COMMANDS", "duration", "main", "progress_bar"]
