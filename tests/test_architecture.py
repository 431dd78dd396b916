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
FRONT = {"cli", "__main__", "web", "batch", "cluster", "demo", "explain", "figure"}
PUBLIC = {
    "refsr": {"Cancelled", "RefsrError", "Upscaler", "__version__"},
    "Upscaler": {
        *("load", "set_reference", "load_reference", "choose", "register", "in_colors_of"),
        *("job", "network_for", "budget", "estimate", "upscale", "render", "render_tile"),
        *("transfer", "notes"),
    },
    "Result": {"photo", "image", "similarity", "amounts", "report", "provenance", "save", "map"},
}


def nodes_of(module: str) -> Iterator[ast.AST]:
    """The syntax of a module of the top level, or of all files of a package."""
    path = SOURCE / f"{module}.py"
    for file in [path] if path.is_file() else (SOURCE / module).glob("*.py"):
        yield from ast.walk(ast.parse(file.read_text(encoding="utf-8")))


@lru_cache
def imports(module: str) -> frozenset[str]:
    """The modules of refsr that one of the top level imports, at its top or in a function."""
    found: set[str] = set()
    for node in nodes_of(module):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "refsr":
            inside = (node.module or "").split(".")[1:2]
            found |= set(inside) or {alias.name for alias in node.names}
    return frozenset(found - {module, "Upscaler", "RefsrError", "__version__"})


@lru_cache
def modules() -> list[str]:
    """The files of the top level, and the command line, which is a folder of them."""
    return ["cli", *sorted(path.stem for path in SOURCE.glob("*.py") if path.stem != "__init__")]


def test_imports_point_down() -> None:
    inference = [name for name in modules() if name not in FRONT]
    for name in inference:
        wrong = imports(name) & {*FRONT, "train", "evaluate", "data"}
        assert not wrong, f"{name} imports {wrong}, which stand above it"
        if name not in ("upscaler", "runtime_torch"):
            assert not imports(name) & {"upscaler", "model"}, name


def test_there_is_no_ring_of_imports() -> None:
    def walk(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join((*above, name))
        for other in imports(name):
            if other in modules():
                walk(other, (*above, name))

    for name in modules():
        walk(name, ())


def test_the_page_names_what_exists() -> None:
    files = re.findall(r"[\w/]+\.py\b", PAGE)
    assert len(files) > 20
    for name in files:
        assert (SOURCE / name).is_file() or (ROOT / name).is_file(), name
    for module, name in re.findall(r"`(\w+)\.(\w+)`", PAGE):
        if name in ("py", "md") or not (SOURCE / f"{module}.py").is_file():
            continue
        text = (SOURCE / f"{module}.py").read_text(encoding="utf-8")
        assert re.search(rf"^(def|class) {name}\b", text, re.MULTILINE), name
    stops = set(re.findall(r"\b(\w+)\.py", PAGE.split("```")[1]))
    assert imports("upscaler") - {"errors", "memory", "resize", "atomic"} <= stops


def test_the_public_api_is_golden() -> None:
    """A name that is added or lost is a decision: change this list with the changelog."""
    from refsr.upscaler import Result, Upscaler

    assert set(refsr.__all__) == PUBLIC["refsr"]
    for kind in (Upscaler, Result):
        names = {*vars(kind), *getattr(kind, "__annotations__", {})}
        assert {name for name in names if not name.startswith("_")} == PUBLIC[kind.__name__]
    assert (SOURCE / "py.typed").is_file()


def test_the_reference_is_what_the_source_says(scripts: Callable[[str], ModuleType]) -> None:
    reference = scripts("api_reference")
    assert reference.PAGE.read_text(encoding="utf-8") == reference.page(), "run `make docs`"
    for name in sorted(PUBLIC["refsr"] - {"__version__"}):
        assert f"\n## {name}\n" in reference.page()
    for kind in ("Upscaler", "Result"):
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
    for name in ("sharp.jpg", "a.jpg", "b.jpg"):
        PIL.Image.fromarray(natural[:96, :128]).save(name, quality=95)
    (tmp_path / "HOLIDAY_FOLDER").mkdir()
    PIL.Image.fromarray(natural[:96, :128]).save("HOLIDAY_FOLDER/c.png")
    small = imresize(natural[:96, :128].copy(), scale=0.25)
    PIL.Image.fromarray(small).save("small.jpg", quality=97)
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
