"""Arguments before they are parsed: suggestions for mistyped ones, several photos after --ref."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import re
from collections.abc import Callable, Iterable

from refsr.batch.options import BatchOptions

USAGE = 2  # exit code of wrong arguments


def flags_of(command: Callable[..., None]) -> dict[str, bool]:
    """The flags of a command, and whether each takes a value; none of its subcommands'."""
    flags = {"-h": False, "--help": False}
    for name, parameter in inspect.signature(command).parameters.items():
        kind = str(parameter.annotation)  # as it is written
        if kind == "OmitArgPrefixes[BatchOptions]":
            flags |= {
                dashed(one.name): one.type != "bool" for one in dataclasses.fields(BatchOptions)
            }
        elif not kind.startswith(("Input", "Positional", "OmitSubcommandPrefixes")):
            flags[dashed(name)] = kind != "bool"
            if "Output" in kind or "-o" in kind:
                flags["-o"] = True
    return flags


def dashed(name: str) -> str:
    """The flag of a parameter."""
    return "--" + name.replace("_", "-")


def name_of_flag(word: str) -> str:
    """The flag of "--flag=value" and "--some_flag"."""
    return word.partition("=")[0].replace("_", "-")


def is_flag(word: str) -> bool:
    """Whether an argument is a flag: no file, number or the - of the standard streams."""
    return re.match(r"-[^\d.]", word) is not None


def mistake(arguments: list[str], commands: dict[str, Callable[..., None]]) -> str | None:
    """A mistyped command or flag, in a sentence with a suggestion; None where there is none."""
    if not arguments or is_flag(arguments[0]):
        return None
    name = arguments[0]
    if name not in commands:
        return f"There is no command {name!r}; {suggestion(name, commands)}"
    flags = flags_of(commands[name])
    if len(flags) == 2:  # only subcommands have some
        return None
    skip = False
    for word in arguments[1:]:
        if word == "--":
            return None
        flag = name_of_flag(word)
        if not skip and word.startswith("--") and flag not in flags:
            near = suggestion(flag, [one for one in flags if one.startswith("--")])
            return f"refsr {name} has no flag {flag}; {near}"
        skip = not skip and flags.get(flag, False) and "=" not in word
    return None


def suggestion(word: str, names: Iterable[str]) -> str:
    """The name that was probably meant, as the end of a sentence."""
    known = list(names)
    near = difflib.get_close_matches(word, known, 1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else f"there are: {', '.join(known)}."


def with_repeated_ref(arguments: list[str], command: Callable[..., None]) -> list[str]:
    """Arguments in which each photo after --ref has a --ref of its own.

    Where no photo stands elsewhere, the last one is the photo to upscale.
    """
    kinds = inspect.signature(command).parameters
    if "ref" not in kinds or kinds["ref"].annotation != "References":
        return arguments
    flags = flags_of(command)
    out: list[str] = arguments[:1]
    more: list[int] = []  # where in ``out`` a further photo after --ref stands
    elsewhere = False
    after = ""  # the flag that words without one belong to
    for index, word in enumerate(arguments[1:], start=1):
        if word == "--":
            out += arguments[index:]
            elsewhere = True
            break
        taken = "=" not in after and out[-1] == after and flags.get(name_of_flag(after), False)
        if is_flag(word) and not taken:
            after = word
        elif taken:
            pass
        elif name_of_flag(after) == "--ref":
            more.append(len(out) + 1)
            out.append("--ref")
        else:
            elsewhere = True
        out.append(word)
    if more and not elsewhere:
        del out[more[-1] - 1]
    return out
