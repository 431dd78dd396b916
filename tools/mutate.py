"""Mutation testing: whether the tests detect small changes of the code.

    python tools/mutate.py                  60 mutants of resize, tiling and geometry
    python tools/mutate.py tiling --number 30

A mutant changes one thing in a copy of the package: a comparison, an operator, a number, a
condition. The tests of its file run against it; a mutant that passes them all survives and is
printed. The choice is seeded: the same command tries the same mutants.
"""

from __future__ import annotations

import argparse
import ast
import copy
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TESTS = {
    "ssen": ["tests/model/test_paper_network.py", "tests/model/test_ssen.py"],
    "trunk": ["tests/model/test_paper_network.py"],
    "deform": ["tests/model/test_deform.py", "tests/model/test_paper_network.py"],
    "resize": ["tests/test_resize.py"],
    "tiling": ["tests/image/test_tiling.py", "tests/test_any_size.py"],
    "geometry": [
        "tests/registration/test_registration_parts.py",
        "tests/registration/test_register.py",
    ],
}
TIMEOUT = 400  # seconds; a mutant that takes longer hangs and counts as detected
COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
}


def mutate_node(node: ast.AST) -> str | None:
    """Change one node in place; returns what was changed, or None where nothing can be."""
    if isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARISONS:
        before = type(node.ops[0])
        node.ops[0] = COMPARISONS[before]()
        return f"{before.__name__} -> {COMPARISONS[before].__name__}"
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        before_op = type(node.op)
        node.op = OPERATORS[before_op]()
        return f"{before_op.__name__} -> {OPERATORS[before_op].__name__}"
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        old = node.value
        node.value = old + 1 if isinstance(old, int) else old * 1.5 + 0.1
        return f"{old} -> {node.value}"
    if isinstance(node, ast.If):
        node.test = ast.UnaryOp(ast.Not(), node.test)
        return "condition negated"
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "max":
        node.func.id = "min"
        return "max -> min"
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "min":
        node.func.id = "max"
        return "min -> max"
    return None


def mutants(source: str) -> list[tuple[int, str, str]]:
    """Every mutant of a file: line, change and text."""
    tree, found = ast.parse(source), list[tuple[int, str, str]]()
    indices = [
        index
        for index, node in enumerate(ast.walk(tree))
        if isinstance(node, ast.Compare | ast.BinOp | ast.Constant | ast.If | ast.Call)
    ]
    for index in indices:
        mutant = copy.deepcopy(tree)
        node = list(ast.walk(mutant))[index]
        what = mutate_node(node)
        if what:
            found.append((getattr(node, "lineno", 0), what, ast.unparse(mutant)))
    return found


def detected(folder: Path, tests: list[str]) -> bool:
    """Whether the tests fail against the package in ``folder``."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-m", "not slow", *tests]
    environment = os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        result = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, timeout=TIMEOUT
        )
    except subprocess.TimeoutExpired:
        return True
    return result.returncode != 0


def main() -> None:
    """Parse the command line, try the mutants and print the survivors."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("files", nargs="*", default=list(TESTS), help="of: " + ", ".join(TESTS))
    parser.add_argument("--number", type=int, default=20, help="mutants of each file")
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        package = Path(root) / "refsr"
        shutil.copytree(ROOT / "src" / "refsr", package)
        for name in flags.files:
            (path,) = package.rglob(f"{name}.py")
            source = path.read_text(encoding="utf-8")
            if detected(Path(root), TESTS[name]):
                raise SystemExit(f"The tests of {name} fail without a mutant.")
            tried = mutants(source)
            chosen = random.Random(1).sample(tried, min(flags.number, len(tried)))
            survivors = 0
            for line, what, text in sorted(chosen):
                path.write_text(text, encoding="utf-8")
                if not detected(Path(root), TESTS[name]):
                    survivors += 1
                    print(f"{name}.py:{line}: survived: {what}", flush=True)
            path.write_text(source, encoding="utf-8")
            print(f"{name}: {len(chosen)} of {len(tried)} tried, {survivors} survived", flush=True)


if __name__ == "__main__":
    main()
