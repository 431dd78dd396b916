"""The command line: parse, call, print. The work is the library's."""

from refsr.cli.entry_point import COMMANDS, OUT_OF_MEMORY, main
from refsr.cli.streams import quiet_libraries
from refsr.cli.output import duration, progress_bar

__all__ = ["COMMANDS", "OUT_OF_MEMORY", "duration", "main", "progress_bar", "quiet_libraries"]
