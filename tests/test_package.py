"""What the package promises: its public names, its version, and what its wheel carries."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import entry_points, metadata
from pathlib import Path

import pytest

import refsr

ROOT = Path(__file__).parents[1]


def test_the_public_names() -> None:
    assert dir(refsr) == sorted(refsr.__all__)
    for name in dir(refsr):
        assert getattr(refsr, name) is not None
    assert refsr.Upscaler.__module__ == "refsr.upscaler"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = refsr.nothing


def test_every_error_is_a_refsr_error() -> None:
    from refsr import errors

    own = [value for value in vars(errors).values() if isinstance(value, type)]
    assert len(own) >= 4
    assert all(issubclass(error, refsr.RefsrError) for error in own)


def test_version_and_command_are_installed() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", refsr.__version__)
    assert metadata("refsr")["Version"] == refsr.__version__
    (command,) = entry_points(group="console_scripts", name="refsr")
    assert command.value == "refsr.__main__:main"
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"[{refsr.__version__}]" in changelog or "[Unreleased]" in changelog


def test_the_core_is_light() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    core = {re.split(r"[<>=\[ ]", name)[0] for name in project["dependencies"]}
    light = {"numpy", "onnxruntime", "opencv-python-headless", "pillow", "psutil", "tqdm", "tyro"}
    assert core == light
    # It does not import beside a CPU torch.
    assert "torchvision" not in str(project["optional-dependencies"])


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    # Built from a copy of what git would ship, so that no build folder is left in the repository.
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (source / name).write_bytes((ROOT / name).read_bytes())
    for path in (ROOT / "src" / "refsr").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            copy = source / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    command += ["--no-build-isolation", "--wheel-dir", str(folder), str(source)]
    subprocess.run(command, check=True, timeout=600)
    return zipfile.ZipFile(next(folder.glob("refsr-*.whl")))


def test_the_wheel_carries_code_types_and_models(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    package = ROOT / "src" / "refsr"
    shipped = [
        *package.rglob("*.py"),
        *(package / "weights" / "shipped").iterdir(),
        *(package / "weights" / "estimators").iterdir(),
        package / "py.typed",
    ]
    shipped += (package / "web" / "page").iterdir()
    missing = {path.relative_to(package.parent).as_posix() for path in shipped} - names
    assert not missing
    assert any(name.endswith(".onnx") for name in names)
    assert not [name for name in names if name.startswith("tests")]


def test_the_wheel_names_its_licence(wheel: zipfile.ZipFile) -> None:
    licence = next(name for name in wheel.namelist() if name.endswith("licenses/LICENSE"))
    assert b"Apache License" in wheel.read(licence)
