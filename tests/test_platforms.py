"""Every module imports where Python lacks what only POSIX has, as on Windows."""

from __future__ import annotations

import subprocess
import sys

WITHOUT = """
import builtins, importlib, pkgutil

POSIX = ("fcntl", "grp", "pty", "pwd", "resource", "termios")
original = builtins.__import__

def without_posix(name, globals=None, *rest):
    '''Libraries import what this system has; refsr does not.'''
    if name in POSIX and ((globals or {}).get("__name__") or "").startswith("refsr"):
        raise ModuleNotFoundError(name, name=name)
    return original(name, globals, *rest)

builtins.__import__ = without_posix
import refsr

for name in [module.name for module in pkgutil.walk_packages(refsr.__path__, "refsr.")]:
    if not name.endswith("__main__"):
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name in POSIX or (error.name or "").startswith("refsr"):
                raise
"""


def test_every_module_imports_without_posix() -> None:
    """A package of an extra may be absent; that is another matter."""
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
