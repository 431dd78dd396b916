"""Writes docs/API.md from the source's signatures, comments and docstrings.

python tools/api_reference.py    # or `make docs`
"""

from __future__ import annotations

import ast
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "API.md"
HEAD = """# Reference

Written by `make docs` out of the source; change it there. Most programs need no more than `from
refsr import Upscaler, RefsrError` ([examples/](../examples)); `refsr` exports the errors, `Check`,
`References`, `Report`, `Result` and `Source` as well, for annotations. Arrays are NumPy's; LR
pixels are the small photo's, HR pixels the result's. A `Source` is a path, a file's bytes, a PIL
image or an array (HWC or HW). The command line says what it takes with `refsr COMMAND --help`, the
server in [API_HTTP.md](API_HTTP.md).
"""
NAMES = {  # in the order of the page; a class with its public methods
    "upscaler": ["Upscaler", "Check"],
    "result": ["Result"],
    "report/report": ["JobFacts", "Report", "ReferenceReport"],
    "image/photo": ["Photo", "load_photo", "save_photo"],
    "registration/references": ["References", "LoadedReference", "PoolReport"],
    "inference/plan": ["Estimate"],
    "resize": ["imresize"],
    "evaluate/metrics": ["psnr", "ssim", "luma"],
    "errors": ["RefsrError", "PhotoError", "ModelError", "DataError", "Cancelled"],
}
Definition = ast.ClassDef | ast.FunctionDef


def entry(node: Definition, lines: list[str], owner: str = "") -> list[str]:
    """A heading, the signature or fields as in the source, and the docstring."""
    docstring = ast.get_docstring(node)
    assert docstring, f"{node.name} has no docstring"
    if isinstance(node, ast.ClassDef):
        fields = [one.lineno - 1 for one in node.body if isinstance(one, ast.AnnAssign)]
        code, level = [lines[number].strip() for number in fields], "##"
    else:
        first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
        source = "\n".join(lines[first - 1 : node.body[0].lineno - 1])
        code, level = textwrap.dedent(source).splitlines(), "###" if owner else "##"
    block = ["```python", *code, "```", ""] if code else []
    return [f"{level} {owner}{node.name}", "", *block, docstring, ""]


def definitions(body: list[ast.stmt], names: list[str] | None = None) -> list[Definition]:
    """The definitions of ``names``, in their order; without names, all public functions."""
    kinds = (ast.FunctionDef,) if names is None else (ast.ClassDef, ast.FunctionDef)
    found = {one.name: one for one in body if isinstance(one, kinds)}
    return [found[name] for name in names or found if not name.startswith("_")]


def page() -> str:
    """The whole page, Markdown."""
    out = [HEAD]
    for module, names in NAMES.items():
        text = (ROOT / "src" / "refsr" / f"{module}.py").read_text(encoding="utf-8")
        lines = text.splitlines()
        out += [f"# refsr.{module.replace('/', '.')}", ""]
        for node in definitions(ast.parse(text).body, names):
            out += entry(node, lines)
            if isinstance(node, ast.ClassDef):
                for method in definitions(node.body):
                    out += entry(method, lines, f"{node.name}.")
    return "\n".join(out)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
