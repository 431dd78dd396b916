"""``refsr data check`` and ``refsr data build``: data sets."""

from __future__ import annotations

from typing import Annotated

from tyro.conf import OmitArgPrefixes, OmitSubcommandPrefixes, subcommand

from refsr.cli.arguments import Input, Output, command
from refsr.cli.output import progress_bar, to_json
from refsr.errors import DataError


@command
def data_check(folder: Input, json: bool = False, quiet: bool = False) -> None:
    """Report photos of a data set that are missing, unpaired, unreadable or too small.

    Args:
        folder: A data set, or a folder of data sets: CUFED, CUFED5, WR-SR, Sun80, Set5, Set14,
            B100, Urban100, DIV2K, your own scenes (SCENE/*.jpg) or plain photos. The exit code is
            1 if there are problems.
        json: Print one JSON object on stdout instead of sentences.
        quiet: Print no progress.
    """
    from refsr.data.check import check, describe, render

    with progress_bar(folder.name, quiet or json) as progress:
        checked = check(folder, progress)
    if json:
        print(to_json({"sets": [describe(data) for data in checked]}))
    else:
        for data in checked:
            print(render(data))
    wrong = sum(len(data.problems) for data in checked)
    if wrong:
        raise DataError(f"{wrong} problem{'s' * (wrong > 1)} in {folder}.")


@command
def data_build(
    folder: Input, out: Output, link: bool = False, json: bool = False, quiet: bool = False
) -> None:
    """Build training pairs from your own photos; those that overlap become a scene.

    Args:
        folder: Your photos, searched recursively; they are not changed.
        out: A new folder for the scenes: OUT/SCENE/ with the photos of each, and OUT/pairs.csv for
            `refsr evaluate`. An interrupted build is continued by the same command.
        link: Create symbolic links to the photos instead of copies.
        json: Print one JSON object on stdout instead of sentences.
        quiet: Print no progress.
    """
    from refsr.data.build import build, describe, render

    with progress_bar(folder.name, quiet or json) as progress:
        built = build(folder, out, link=link, progress=progress)
    print(to_json(describe(built)) if json else render(built))


Task = (
    Annotated[None, subcommand("check", constructor=data_check)]
    | Annotated[None, subcommand("build", constructor=data_build)]
)


@command
def data(task: OmitSubcommandPrefixes[OmitArgPrefixes[Task]]) -> None:
    """Check data sets, or build training pairs from your own photos.

    Args:
        task: What to do.
    """
