"""Training configurations: what is read, and the error for each mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from refsr.errors import DataError
from refsr.model.config import SSENConfig
from refsr.train.config import load_config
from refsr.train.distributed import Ranks
from refsr.train.loop import check_config


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_configuration_is_read_with_its_folders(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    path = write(
        tmp_path / "configs" / "a.toml",
        'out = "../runs/a"\n[model]\nchannels = 8\n[data]\nphotos = ["p", "q"]\n'
        "[train]\nlearning_rate = 1\n",
    )
    config = load_config(path)
    assert config.out == str(tmp_path / "runs" / "a")
    assert config.data.photos == tuple(str(tmp_path / "configs" / name) for name in "pq")
    assert config.data.pairs == ""  # what is not given stays so
    assert config.model == SSENConfig(channels=8)
    assert config.train.learning_rate == 1.0
    assert isinstance(config.train.learning_rate, float)


CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.toml"))


@pytest.mark.parametrize("path", CONFIGS, ids=[path.stem for path in CONFIGS])
def test_the_repositorys_configurations_fit(path: Path) -> None:
    check_config(load_config(path), Ranks())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[train]\nlearnin_rate = 1e-4", r"Unknown key 'learnin_rate' .*did you mean 'learning_r"),
        ("[data]\nforeign = 0.1", r"Unknown key 'foreign' .*did you mean 'mismatched'"),
        ("[train]\nzzz = 1", r"Unknown key 'zzz' .*known: steps, "),
        ("[trian]\nsteps = 3", r"Unknown key 'trian' .*did you mean 'train'"),
        ("[train]\nsteps = 2.5", r"'steps' .*must be of type int, not 2.5"),
        ("[train]\nsteps = true", r"'steps' .*must be of type int, not True"),
        ('[train]\nbf16 = "yes"', r"'bf16' .*must be of type bool, not 'yes'"),
        ("out = 3", r"'out' .*must be of type str, not 3"),
        ("train = 3", r"'train' .*must be a table"),
        ('[data]\nphotos = "folder"', r"'photos' .*must be a list of str"),
        ('[model]\nskip = "both"', r"'skip' .*must be one of 'add', 'concat'"),
        ("steps = ", r"not valid TOML"),
    ],
)
def test_what_is_wrong_with_a_configuration_is_said(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        load_config(write(tmp_path / "bad.toml", text))


def test_a_missing_configuration_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Cannot read the configuration"):
        load_config(tmp_path / "none.toml")
