"""Finding models: ONNX files, each with a card (JSON) that says what a caller must know."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from refsr.errors import ModelError
from refsr.image.atomic import is_file, reason
from refsr.resize import SCALE
from refsr.weights.onnx_check import CONDITION, LARGEST_FILE, check_onnx

FOLDER = Path(__file__).parent / "shipped"
AUTO = "auto"  # CLEAN or DAMAGED, chosen for each photo
CLEAN, DAMAGED = "ssen", "ssen-robust"
SMALL = "ssen-tiny"  # the fastest
CRISP = "ssen-crisp"  # runs beside CLEAN; its result is used where a reference supports it
WITH_LOOKS = (AUTO, CLEAN)  # what has the look "crisp" besides the true one
LONGEST_NAME = 300  # characters of a name that an error quotes
LARGEST_CARD = 1 << 20  # bytes
LARGEST_GRID = 96  # LR pixels: the smallest tile is 96 x 96; the shipped networks' is 32
DETAIL_TRANSFER = "detail-transfer"  # no network, and no file


@dataclass(frozen=True)
class Model:
    """An ONNX model file and its card."""

    name: str
    path: Path
    multiple: int  # LR height and width must be a multiple of this
    card: dict[str, Any]

    @property
    def faithful(self) -> bool:
        """Whether the downscaled result should equal the small photo: not for damaged photos."""
        return bool(self.card.get("faithful", True))

    @property
    def self_reference(self) -> bool:
        """Whether a photo without a reference is its own; else it skips the reference path."""
        return bool(self.card.get("self_reference", True))

    @property
    def conditions(self) -> int:
        """How many numbers it is told of a photo; see ``refsr.degradation.condition``."""
        return int(self.card.get("conditions", 0))


def shipped() -> list[str]:
    """The names of the models in the package."""
    return sorted(path.stem for path in FOLDER.glob("*.onnx"))


def find_model(name: str | os.PathLike[str]) -> Model:
    """The shipped model of that name, or the one in an ONNX file with its card beside it.

    Raises ModelError where there is none, it is unsafe, or file and card do not belong together.
    """
    if not isinstance(cast(object, name), str | os.PathLike):
        raise ModelError(f"A model is given by its name or path, not by a {type(name).__name__}.")
    name = os.fspath(name)
    path = Path(name) if name.endswith(".onnx") else FOLDER / f"{name}.onnx"
    if not is_file(path):
        names = [AUTO, *shipped(), DETAIL_TRANSFER]
        near = difflib.get_close_matches(name, names, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(names)}."
        raise ModelError(f"There is no model {name[:LONGEST_NAME]!r}; {hint}")
    card = read_card(path.with_suffix(".json"))
    try:
        size = path.stat().st_size
        if size > LARGEST_FILE:
            raise ModelError(
                f"{path} has {size >> 20} MB, more than the {LARGEST_FILE >> 20} MB of a network."
            )
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {reason(error)}.") from error
    if hashlib.sha256(data).hexdigest() != card["sha256"]:
        raise ModelError(f"{path} is not the file its card describes; install or export it again.")
    check_onnx(data, str(path))
    return Model(path.stem, path, int(card["multiple"]), card)


def read_card(path: Path) -> dict[str, Any]:
    """Read a card; grid, scale and checksum are checked. Raises ModelError."""
    try:
        if not is_file(path):  # a pipe would never end
            raise ValueError("no file")
        with path.open("rb") as file:
            card = json.loads(file.read(LARGEST_CARD + 1))
        fits = 1 <= int(card["multiple"]) <= LARGEST_GRID and card.get("scale", SCALE) == SCALE
        fits = fits and card.get("conditions", 0) in (0, CONDITION["condition"])
        if not fits or not isinstance(card["sha256"], str):
            raise ValueError("the card of another kind of model")
    except (OSError, ValueError, LookupError, TypeError, ArithmeticError, RecursionError) as error:
        raise ModelError(
            f"The model card {path} is missing or broken; export the model again."
        ) from error
    return cast("dict[str, Any]", card)
