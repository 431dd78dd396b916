"""The program: its commands, and what becomes of whatever goes wrong in them."""

from __future__ import annotations

import contextlib
import os
import re
import sys

import tyro

from refsr import __version__
from refsr.cli.info import demo, info
from refsr.cli.batch import batch, web
from refsr.cli.upscale import check, explain, upscale
from refsr.cli.evaluate import data, evaluate, export, reproduce, train
from refsr.cli.streams import only_our_words, quiet_libraries
from refsr.errors import RefsrError

USAGE = 2  # exit code of wrong arguments
OUT_OF_MEMORY = "Out of memory; a lower --max-memory works in smaller tiles."

COMMANDS = {
    "upscale": upscale,
    "batch": batch,
    "check": check,
    "evaluate": evaluate,
    "reproduce": reproduce,
    "data": data,
    "train": train,
    "export": export,
    "explain": explain,
    "info": info,
    "demo": demo,
    "web": web,
}


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code (0 done, 1 failed, 2 usage, 130 interrupted)."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments == ["--version"]:
        print(f"refsr {__version__}")
        return 0
    if "" in arguments or any(re.fullmatch("--[a-z-]+=", one) for one in arguments):
        return wrong_usage("An argument is empty; give a name or a value, or leave its flag out.")
    try:
        with quiet_libraries(), only_our_words(arguments[:1]):
            tyro.extras.subcommand_cli_from_dict(
                COMMANDS,
                prog="refsr",
                description="Makes a small photo four times larger with another photo's detail.",
                args=arguments,
                config=(tyro.conf.FlagCreatePairsOff,),
            )
        if sys.stdout is not None:  # closed: >&-
            sys.stdout.flush()
    except SystemExit as stopped:
        dashed = [one for one in arguments if re.fullmatch(r"-[^=]*\.[a-zA-Z]\w*", one)]
        if stopped.code == USAGE and dashed:
            wrong_usage(f"{dashed[0]} is read as a flag; if it is a file, write ./{dashed[0]}.")
        raise
    except RefsrError as error:
        return failed(str(error))
    except KeyboardInterrupt:
        print("refsr: interrupted", file=sys.stderr)
        return 130
    except OSError as error:  # the library's own are sentences already: this is most likely stdout
        from refsr.image.atomic import reason

        if error.filename is not None:
            return failed(f"{os.fsdecode(error.filename)} cannot be used: {reason(error)}.")
        if sys.stdout is not None:  # what is left in the buffer has nowhere to go
            with contextlib.suppress(Exception):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return 1
        return failed(f"The answer cannot be written: {reason(error)}.")
    except Exception as error:
        from refsr.inference.memory import is_out_of_memory

        if is_out_of_memory(error):
            return failed(OUT_OF_MEMORY)
        raise
    return 0


def wrong_usage(sentence: str) -> int:
    """Say in one line what is wrong with the arguments; returns the exit code."""
    failed(sentence)
    return USAGE


def failed(sentence: str) -> int:
    """Say in one line what is wrong; returns the exit code."""
    print("refsr:", " ".join(sentence.split()), file=sys.stderr)
    return 1
