"""The program: the table of commands, and how errors become messages and exit codes."""

from __future__ import annotations

import contextlib
import os
import re
import sys

import tyro

from refsr import __version__
from refsr.cli.batch import batch
from refsr.cli.check import check
from refsr.cli.data import data
from refsr.cli.evaluate import evaluate, reproduce
from refsr.cli.explain import explain
from refsr.cli.info import demo, info
from refsr.cli.streams import silent_native_stderr
from refsr.cli.train import export, train
from refsr.cli.upscale import upscale
from refsr.cli.usage import USAGE, mistake, with_repeated_ref
from refsr.cli.web import web
from refsr.errors import RefsrError
from refsr.image.quiet import quiet_libraries

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
PHOTO_COMMANDS = ("upscale", "batch", "check", "explain")  # they read photos of unknown origin


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code (0 done, 1 failed, 2 usage, 130 interrupted)."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments == ["--version"]:
        print(f"refsr {__version__}")
        return 0
    if "" in arguments or any(re.fullmatch("--[a-z-]+=", one) for one in arguments):
        print_error("An argument is empty; give a value or leave the flag out.")
        return USAGE
    if wrong := mistake(arguments, COMMANDS):
        print_error(wrong)
        raise SystemExit(USAGE)
    if arguments and arguments[0] in COMMANDS:
        arguments = with_repeated_ref(arguments, COMMANDS[arguments[0]])
    try:
        run_command(arguments)
    except SystemExit as stopped:
        dashed = [one for one in arguments if re.fullmatch(r"-[^=]*\.[a-zA-Z]\w*", one)]
        if stopped.code == USAGE and dashed:
            print_error(f"{dashed[0]} is read as a flag; if it is a file, write ./{dashed[0]}.")
        raise
    except RefsrError as error:
        return print_error(str(error))
    except KeyboardInterrupt:
        print("refsr: interrupted", file=sys.stderr)
        return 130
    except OSError as error:
        return system_error(error)
    except Exception as error:
        from refsr.inference.memory import is_out_of_memory

        if is_out_of_memory(error):
            return print_error("Out of memory; lower --max-memory to work in smaller tiles.")
        raise
    return 0


def run_command(arguments: list[str]) -> None:
    """Parse the arguments and run the command that they name."""
    with contextlib.suppress(AttributeError, ValueError):  # file names may hold any bytes
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    reads_photos = arguments[:1] and arguments[0] in PHOTO_COMMANDS
    silence = silent_native_stderr() if reads_photos else contextlib.nullcontext()
    with quiet_libraries(), silence:
        tyro.extras.subcommand_cli_from_dict(
            COMMANDS,
            prog="refsr",
            description="Upscale a photo with the detail of sharp photos of the same subject.",
            args=arguments,
            config=(tyro.conf.FlagCreatePairsOff,),
        )
    if sys.stdout is not None:  # None where it is closed: >&-
        sys.stdout.flush()


def system_error(error: OSError) -> int:
    """Print an error of the operating system; returns the exit code.

    The library turns those of its own files into RefsrErrors, so most of these are about stdout.
    """
    from refsr.image.atomic import reason

    if error.filename is not None:
        return print_error(f"{os.fsdecode(error.filename)} cannot be used: {reason(error)}.")
    if sys.stdout is not None:  # what is left in its buffer cannot be written
        with contextlib.suppress(Exception):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):
        return 1
    return print_error(f"The results cannot be written to stdout: {reason(error)}.")


def print_error(sentence: str) -> int:
    """Print one line on stderr; returns the exit code."""
    print("refsr:", " ".join(sentence.split()), file=sys.stderr)
    return 1
