"""The models in the package: ONNX files, each with a card (JSON): what a caller must know."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from refsr.errors import ModelError

FOLDER = Path(__file__).parent / "shipped"
AUTO = "auto"  # CLEAN or DAMAGED, whichever suits a photo
CLEAN, DAMAGED = "ssen", "ssen-robust"
CRISP = "ssen-crisp"  # beside CLEAN: what it draws counts where a reference supports it
DETAIL_TRANSFER = "detail-transfer"  # the model that is no network, and no file


@dataclass(frozen=True)
class Model:
    """An ONNX model file and its card."""

    name: str
    path: Path
    multiple: int  # LR height and width must be a multiple of this
    card: dict[str, Any]

    @property
    def faithful(self) -> bool:
        """Whether its result, shrunk again, should be the small photo: where that is clean."""
        return bool(self.card.get("faithful", True))


def shipped() -> list[str]:
    """Names of the models in the package."""
    return sorted(path.stem for path in FOLDER.glob("*.onnx"))


def find_model(name: str | os.PathLike[str]) -> Model:
    """The shipped model of that name, or an ONNX file with its card beside it.

    Raises ModelError where there is none, or where file and card do not belong together.
    """
    if not isinstance(cast(object, name), str | os.PathLike):
        raise ModelError(f"A {type(name).__name__} names no model; give a name or a path.")
    name = os.fspath(name)
    path = Path(name) if name.endswith(".onnx") else FOLDER / f"{name}.onnx"
    if not path.is_file():
        names = [AUTO, *shipped(), DETAIL_TRANSFER]
        near = difflib.get_close_matches(name, names, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(names)}."
        raise ModelError(f"There is no model {name!r}; {hint}")
    card_path = path.with_suffix(".json")
    try:
        card = json.loads(card_path.read_text(encoding="utf-8"))
        multiple, digest = int(card["multiple"]), str(card["sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"The model card {card_path} is missing or broken; export the model again."
        ) from error
    if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
        raise ModelError(f"{path} is not the file its card describes; install or export it again.")
    return Model(path.stem, path, multiple, card)
