"""docs/ARCHITECTURE.md stays true: its names exist, imports point down; README commands run."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from types import ModuleType

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray

import refsr
from refsr.cli import COMMANDS, main
from refsr.resize import imresize

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "refsr"
PAGE = (ROOT / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
# Rooms and files of the top level, from the lowest up: each imports only what stands before it.
ORDER = (
    *("errors", "progress", "arrays", "resize", "image", "csv_rows", "registration"),
    *(
        "degradation",
        "weights",
        "model",
        "inference",
        "report",
        "result",
        "render",
        "upscaler",
        "batch",
    ),
    *("data", "evaluate", "train", "web", "cli", "__main__"),
)
PUBLIC = {
    "refsr": {
        *("Cancelled", "Check", "DataError", "ModelError", "PhotoError", "References"),
        *("RefsrError", "Report", "Result", "Source", "Upscaler", "__version__"),
    },
    "Upscaler": {"load", "prepare", "set_reference", "check", "upscale"},
    "Result": {
        *("photo", "image", "similarity", "amounts", "unconfirmed", "report", "provenance"),
        *("save", "map"),
    },
    "Check": {
        "composite",
        "references",
        "album",
        "expected_gain_db",
        "notes",
        "scale",
        "advice",
        "degradation",
    },
}


def files_of(room: str) -> list[Path]:
    """The file of the top level, or all files of a package."""
    path = SOURCE / f"{room}.py"
    return [path] if path.is_file() else sorted((SOURCE / room).rglob("*.py"))


def modules_named(node: ast.AST) -> Iterator[str]:
    """The modules of refsr that an import names, in full: at the top or in a function."""
    if isinstance(node, ast.ImportFrom):
        module = node.module or ""
        if module.split(".")[0] == "refsr":
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name.startswith("refsr."))
    elif isinstance(node, ast.Constant) and re.fullmatch(r"refsr(\.\w+)+", str(node.value)):
        yield str(node.value)  # a name for importlib or `python -m`


@lru_cache
def imports(room: str) -> dict[str, str]:
    """The other rooms that one imports, and a file that does so."""
    found: dict[str, str] = {}
    for path in files_of(room):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for name in modules_named(node):
                parts = name.split(".")
                other = parts[1] if len(parts) > 1 else ""
                if other in ORDER and other != room:
                    found.setdefault(other, f"{path.relative_to(SOURCE)} imports {name}")
    return found


def test_every_room_has_its_place() -> None:
    rooms = {path.stem for path in SOURCE.glob("*.py")} - {"__init__"}
    rooms |= {path.name for path in SOURCE.iterdir() if (path / "__init__.py").is_file()}
    assert rooms == set(ORDER)


@pytest.mark.parametrize("room", ORDER)
def test_imports_point_down(room: str) -> None:
    """No room, and no package, imports one that stands above it: so there is no circle either."""
    above = ORDER[ORDER.index(room) :]
    wrong = [why for other, why in imports(room).items() if other in above]
    assert not wrong


def test_the_page_names_what_exists() -> None:
    files = re.findall(r"[\w/]+\.py\b", PAGE)
    assert len(files) > 40
    for name in files:
        assert (SOURCE / name).is_file() or (ROOT / name).is_file(), name
    for module, name in re.findall(r"`([\w/]+\.py): (\w+)`", PAGE):
        text = (SOURCE / module).read_text(encoding="utf-8")
        assert re.search(rf"^(def|class) {name}\b", text, re.MULTILINE), name
    rooms = PAGE.split("## Rooms")[1].split("## ")[0]
    listed = re.findall(r"^\| `(\w+)(?:/|\.py)` \|", rooms, re.MULTILINE)
    assert listed == [room for room in ORDER if room != "__main__"]


def test_the_page_says_what_each_room_holds() -> None:
    """Every file of every package is in its row: a newcomer finds each idea from the page."""
    for room in ORDER:
        if (SOURCE / room).is_dir():
            (row,) = re.findall(rf"^\| `{room}/` \|.*$", PAGE, re.MULTILINE)
            held = {p.stem for p in (SOURCE / room).glob("*.py")} - {"__init__"}
            held |= {p.name for p in (SOURCE / room).iterdir() if (p / "__init__.py").is_file()}
            missing = {name for name in held if not re.search(rf"\b{name}\b", row)}
            assert not missing, f"{room}: {sorted(missing)}"


def test_the_public_api_is_golden() -> None:
    """A name that is added or lost is a decision: change this list with the changelog."""
    from refsr.upscaler import Check, Result, Upscaler

    assert set(refsr.__all__) == PUBLIC["refsr"]
    assert all(getattr(refsr, name) is not None for name in PUBLIC["refsr"])
    for kind in (Upscaler, Result, Check):
        names = {*vars(kind), *getattr(kind, "__annotations__", {})}
        assert {name for name in names if not name.startswith("_")} == PUBLIC[kind.__name__]
    assert (SOURCE / "py.typed").is_file()


def test_the_reference_is_what_the_source_says(scripts: Callable[[str], ModuleType]) -> None:
    reference = scripts("api_reference")
    assert reference.PAGE.read_text(encoding="utf-8") == reference.page(), "run `make docs`"
    for name in sorted(PUBLIC["refsr"] - {"__version__", "Source"}):
        assert f"\n## {name}\n" in reference.page()
    for kind in ("Upscaler", "Result", "Check"):
        for name in PUBLIC[kind]:
            heading = f"\n### {kind}.{name}\n" in reference.page()
            assert heading or f"\n{name}: " in reference.page(), name


def test_every_public_function_is_typed() -> None:
    """Type checkers of others read the source itself, as py.typed promises."""
    bare: list[str] = []
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            given = [a for a in given if a.arg not in ("self", "cls") and a.annotation is None]
            if given or (node.returns is None and node.name != "__init__"):
                bare.append(f"{path.name}: {node.name}")
    assert not bare


def commands() -> list[str]:
    """Every line of the README's blocks that calls refsr, its remark cut off."""
    lines = [line.strip() for line in README.splitlines() if line.startswith("    refsr ")]
    return [re.split(r"\s{3,}|\s+#", line)[0] for line in lines]


def test_the_readme_has_commands_and_they_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(commands()) > 10
    for line in commands():
        words = shlex.split(line)[1:]
        if words[0].startswith("-"):
            continue
        assert words[0] in COMMANDS, line
        task = words[:2] if words[0] == "data" else words[:1]
        with pytest.raises(SystemExit) as stopped:
            main([*task, "--help"])
        assert stopped.value.code == 0
        helped = capsys.readouterr().out
        for flag in (word for word in words if word.startswith("-")):
            assert re.search(rf"(^|[\s,]){flag}\b", helped), f"{flag} of {line}"


RUN = ("upscale", "check")


@pytest.mark.parametrize("line", [line for line in commands() if line.split()[1] in RUN])
def test_the_readmes_commands_run(
    line: str, natural: NDArray[np.uint8], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("sharp.jpg", "a.jpg", "b.jpg", "blurred.jpg"):
        PIL.Image.fromarray(natural[:96, :128]).save(name, quality=95)
    (tmp_path / "HOLIDAY_FOLDER").mkdir()
    PIL.Image.fromarray(natural[:96, :128]).save("HOLIDAY_FOLDER/c.png")
    small = imresize(natural[:96, :128].copy(), scale=0.25)
    PIL.Image.fromarray(small).save("small.jpg", quality=97)
    PIL.Image.fromarray(small).resize((128, 96)).save("blurred.jpg", quality=97)
    assert main(shlex.split(line)[1:]) == 0
    if "-o" in line:
        assert PIL.Image.open(shlex.split(line)[shlex.split(line).index("-o") + 1]).width == 128


def test_the_readmes_python_runs(
    natural: NDArray[np.uint8], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    PIL.Image.fromarray(natural[:96, :128]).save("sharp.jpg", quality=95)
    PIL.Image.fromarray(imresize(natural[:96, :128].copy(), scale=0.25)).save("small.jpg")
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(code, "README.md", "exec"), {})
    assert PIL.Image.open("out.png").size == (128, 96)
