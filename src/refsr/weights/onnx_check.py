"""Checking an ONNX file before a runtime loads it: is it a network of refsr's kind, and safe?

ONNX is protobuf: nested fields of a number, a wire type and a value. The few that matter here are
parsed directly, since the package `onnx` is not a core dependency. A network is a program: refused
is what would read other files, loop for ever, call custom code, or ask by a constant for memory
that the file's size does not justify. What a node computes at run time cannot be checked before;
``refsr.inference.network`` checks the size of what comes out.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Generator, Mapping

from refsr.errors import ModelError

LARGEST_FILE = 128 << 20  # bytes; the shipped networks have 4 MB
LARGEST_TENSOR = 1 << 28  # elements of a constant shape: 1 GB of float32
INPUTS = {"lr": 3, "ref": 3, "validity": 1}  # channels
CONDITION = {"condition": 5}  # of a network that is told how the photo was taken
OUTPUTS = ("sr", "gate")
DOMAINS = ("", "ai.onnx")  # ONNX's own operators
# Inputs, by their position, that say how large an output is: its sides, or factors of the input's.
SIDES = {
    **dict.fromkeys(("ConstantOfShape", "HannWindow", "HammingWindow", "BlackmanWindow"), (0,)),
    **dict.fromkeys(("Expand", "CenterCropPad", "Col2Im", "AffineGrid", "DFT"), (1,)),
    **{"MaxUnpool": (2,), "Resize": (3,), "STFT": (3,), "MelWeightMatrix": (0, 1)},
    **{"Range": (0, 1, 2)},
}
FACTORS = {"Tile": (1,), "Upsample": (1,), "OneHot": (1,), "Resize": (2,)}
WIDTHS = {"Pad": (1,)}  # of what is put around the input
# The same in attributes; strides are factors where an operator enlarges.
SIDE_ATTRIBUTES, WIDTH_ATTRIBUTES = (
    ("shape", "output_shape"),
    ("pads", "paddings", "output_padding"),
)
FACTOR_ATTRIBUTES = {
    "ConvTranspose": ("strides",),
    "MaxUnpool": ("strides",),
    "Upsample": ("scales",),
}
LARGEST_GROWTH = 256  # times; refsr's networks enlarge 16 times
LARGEST_WIDTH = 1024
FLOAT, DOUBLE, INT32, INT64 = 1, 11, 6, 7
FLOATS = (1, 10)  # of inputs: float32, float16
NUMBERS = {FLOAT: "f", DOUBLE: "d", INT32: "i", INT64: "q"}  # types of sizes, as struct has them
LONGEST_SHAPE = 16  # numbers that may be a shape: two for each axis of a padding

ORT_FORMAT = b"ORTM"  # at byte 4: ONNX Runtime's own format, which it tries first

# Field numbers of onnx.proto
GRAPH, OPSET, TRAINING, FUNCTIONS = 7, 8, 20, 25  # of a model
NODE, INITIALIZER, INPUT, OUTPUT, SPARSE = 1, 5, 11, 12, 15  # of a graph
NODE_INPUT, NODE_OUTPUT, OP_TYPE, ATTRIBUTE, DOMAIN = 1, 2, 4, 5, 7  # of a node
ATTRIBUTE_NAME, ONE_FLOAT, ONE_INT, ALL_FLOATS, ALL_INTS = 1, 2, 3, 7, 8  # of an attribute
TENSORS, GRAPHS, SPARSES = (5, 10), (6, 11), (22, 23)
DIMS, TYPE, NAME, RAW, EXTERNAL, LOCATION = 1, 2, 8, 9, 13, 14  # of a tensor
TYPED_DATA = {FLOAT: 4, DOUBLE: 10, INT32: 5, INT64: 7}  # fields of a tensor

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types
Value = int | memoryview
Fields = Mapping[int, list[Value]]
Sizes = list[float]  # the numbers of a constant that may be a shape; none where it cannot be one


class Refused(Exception):
    """Why a file is refused; the words follow its name in a sentence."""


def check_onnx(data: bytes, name: str) -> None:
    """Refuse what is not a network that refsr can run safely; errors call it ``name``.

    Raises ModelError.
    """
    try:
        if data[4:8] == ORT_FORMAT:
            raise Refused("is no ONNX file")
        model = fields(memoryview(data))
        if TRAINING in model or FUNCTIONS in model:
            raise Refused("holds functions of its own")
        for opset in messages(model, OPSET):
            check_domain(text(opset, 1))
        graphs = messages(model, GRAPH)
        if not graphs or OPSET not in model:
            raise Refused("holds no network")
        if len(graphs) > 1:  # protobuf would merge them
            raise Refused("holds several networks")
        check_graph(graphs[0])
        check_signature(graphs[0])
    except Refused as problem:
        raise ModelError(f"{name} {problem}; refsr does not run it.") from problem
    except (ValueError, IndexError, UnicodeDecodeError) as problem:
        raise ModelError(f"{name} is no ONNX file, or damaged; export the model again.") from (
            problem
        )


def check_graph(graph: Fields) -> None:
    """Refuse unsafe nodes and tensors."""
    if SPARSE in graph:
        raise Refused("holds sparse tensors")
    constants: dict[str, Sizes] = {}
    for tensor in messages(graph, INITIALIZER):
        constants[text(tensor, NAME)] = check_tensor(tensor)
    nodes = messages(graph, NODE)
    given = [check_attributes(node) for node in nodes]
    for node, attributes in zip(nodes, given, strict=True):
        if text(node, OP_TYPE) == "Constant":
            for output in texts(node, NODE_OUTPUT):
                constants[output] = [one for sizes in attributes.values() for one in sizes]
    for node, attributes in zip(nodes, given, strict=True):
        inputs = [constants.get(name, []) for name in texts(node, NODE_INPUT)]
        check_sizes(text(node, OP_TYPE), inputs, attributes)


def check_attributes(node: Fields) -> dict[str, Sizes]:
    """Refuse unsafe attributes of a node; returns the numbers in each."""
    check_domain(text(node, DOMAIN))
    found: dict[str, Sizes] = {}
    for attribute in messages(node, ATTRIBUTE):
        if any(number in attribute for number in (*GRAPHS, *SPARSES)):
            raise Refused("holds loops or branches")
        sizes: Sizes = []
        for number in TENSORS:
            tensors = messages(attribute, number)
            if len(tensors) > 1:  # protobuf would merge those of the first kind
                raise Refused("holds a constant in pieces")
            sizes += [one for tensor in tensors for one in check_tensor(tensor)]
        sizes += [
            float(one) for number in (ONE_INT, ALL_INTS) for one in numbers(attribute, number)
        ]
        sizes += [one for number in (ONE_FLOAT, ALL_FLOATS) for one in floats(attribute, number)]
        name = text(attribute, ATTRIBUTE_NAME)
        found[name] = found.get(name, []) + (sizes if len(sizes) <= LONGEST_SHAPE else [])
    return found


def check_sizes(operator: str, inputs: list[Sizes], attributes: Mapping[str, Sizes]) -> None:
    """Refuse an operator whose constant inputs or attributes ask for a giant tensor."""

    def said(places: tuple[int, ...], names: tuple[str, ...]) -> list[Sizes]:
        found = [inputs[place] for place in places if place < len(inputs)]
        return found + [attributes[name] for name in names if name in attributes]

    sides = said(SIDES.get(operator, ()), SIDE_ATTRIBUTES)
    factors = said(FACTORS.get(operator, ()), FACTOR_ATTRIBUTES.get(operator, ()))
    widths = said(WIDTHS.get(operator, ()), WIDTH_ATTRIBUTES)
    giant = [product(sizes) > LARGEST_TENSOR for sizes in sides]
    giant += [product(sizes) > LARGEST_GROWTH for sizes in factors]
    giant += [abs(width) > LARGEST_WIDTH for sizes in widths for width in sizes]
    if operator == "Range" and [len(sizes) for sizes in sides] == [1, 1, 1]:
        (start,), (end,), (step,) = sides
        giant.append(step == 0 or abs(end - start) > LARGEST_TENSOR * abs(step))
    if any(giant):
        raise Refused("asks for a giant tensor")


def product(sizes: Sizes) -> float:
    """The product of sizes, of which those below 1 make nothing smaller; infinite for no number."""
    if not all(math.isfinite(one) for one in sizes):
        return math.inf
    return math.prod(max(1.0, abs(one)) for one in sizes)


def check_tensor(tensor: Fields) -> Sizes:
    """Refuse a tensor that is not wholly in the file; returns its values if it may be a shape."""
    if EXTERNAL in tensor or any(tensor.get(LOCATION, [])):
        raise Refused("keeps weights in other files")
    dims = numbers(tensor, DIMS)
    payload = sum(len(v) for values in tensor.values() for v in values if not isinstance(v, int))
    payload += sum(isinstance(v, int) for number in tensor for v in tensor[number])
    if any(dim < 0 for dim in dims) or math.prod(dims) > 2 * payload:  # 4-bit numbers: two a byte
        raise Refused("declares tensors larger than the file")
    kind = numbers(tensor, TYPE)[-1:] or [0]
    letter = NUMBERS.get(kind[0])
    if letter is None or math.prod(dims) > LONGEST_SHAPE:
        return []
    field = TYPED_DATA[kind[0]]
    values = [float(one) for one in numbers(tensor, field)] if letter in "iq" else []
    values += floats(tensor, field, letter) if letter in "fd" else []
    for raw in tensor.get(RAW, []):
        if not isinstance(raw, int):
            values += unpacked(raw, letter)
    return values


def check_signature(graph: Fields) -> None:
    """Refuse a network whose inputs or outputs differ from those of refsr's models."""
    weights = {text(tensor, NAME) for tensor in messages(graph, INITIALIZER)}
    inputs = {text(value, 1): value for value in messages(graph, INPUT)}
    inputs = {name: value for name, value in inputs.items() if name not in weights}
    outputs = {text(value, 1) for value in messages(graph, OUTPUT)}
    expected = INPUTS | (CONDITION if "condition" in inputs else {})
    if set(inputs) != set(expected) or not set(OUTPUTS) <= outputs:
        raise Refused(
            f"is another kind of network: it takes {', '.join(sorted(inputs)) or 'nothing'}"[:300]
        )
    for name, channels in expected.items():
        tensors = [t for kind in messages(inputs[name], 2) for t in messages(kind, 1)]
        for tensor in tensors:
            shape = [dim for one in messages(tensor, 2) for dim in messages(one, 1)]
            fits = len(shape) == 4 and shape[1].get(1, [channels]) == [channels]
            if tensor.get(1, [0])[-1] not in FLOATS or not fits:
                raise Refused(f"takes a {name} of another shape or type")
        if not tensors:
            raise Refused(f"takes a {name} of another shape or type")


def check_domain(domain: str) -> None:
    """Refuse operators that are not ONNX's own."""
    if domain not in DOMAINS:
        raise Refused(f"uses operators of {domain[:60]!r}")


# Protobuf


def fields(data: memoryview) -> Fields:
    """A message's values by field number. Raises ValueError or IndexError if damaged."""
    found: dict[int, list[Value]] = {}
    for number, value in iterate_fields(data):
        found.setdefault(number, []).append(value)
    return found


def iterate_fields(data: memoryview) -> Generator[tuple[int, Value]]:
    """The number and value of each field of a message, in order."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == VARINT:
            value, at = varint(data, at)
            yield number, value
            continue
        if kind == BYTES:
            length, at = varint(data, at)
        elif kind in (FIXED32, FIXED64):
            length = 4 if kind == FIXED32 else 8
        else:
            raise ValueError(f"a field of wire type {kind}")
        if length > len(data) - at:
            raise ValueError("a field is cut short")
        yield number, data[at : at + length]
        at += length


def varint(data: memoryview, at: int) -> tuple[int, int]:
    """A number in 7 bits a byte, and the position after it."""
    value = shift = 0
    while shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("a number has no end")


def messages(parent: Fields, number: int) -> list[Fields]:
    """A field's values as messages."""
    return [fields(as_bytes(value)) for value in parent.get(number, [])]


def texts(parent: Fields, number: int) -> list[str]:
    """A field's values as text."""
    return [bytes(as_bytes(value)).decode() for value in parent.get(number, [])]


def text(parent: Fields, number: int) -> str:
    """A field's last value as text; empty where there is none."""
    return (texts(parent, number) or [""])[-1]


def numbers(parent: Fields, number: int) -> list[int]:
    """A field's values as signed integers, packed or not."""
    out: list[int] = []
    for value in parent.get(number, []):
        if isinstance(value, int):
            out.append(value)
            continue
        at = 0
        while at < len(value):
            one, at = varint(value, at)
            out.append(one)
    return [one - (1 << 64) if one >= 1 << 63 else one for one in out]


def floats(parent: Fields, number: int, letter: str = "f") -> list[float]:
    """A field's values as floating point, packed or not; ``letter`` is struct's."""
    return [
        one
        for value in parent.get(number, [])
        if not isinstance(value, int)
        for one in unpacked(value, letter)
    ]


def unpacked(data: memoryview, letter: str) -> list[float]:
    """Little-endian numbers of struct's kind ``letter``; what is left of the last is ignored."""
    size = struct.calcsize(f"<{letter}")
    whole = data[: min(len(data), LONGEST_SHAPE * size) // size * size]
    return [float(one) for (one,) in struct.iter_unpack(f"<{letter}", whole)]


def as_bytes(value: Value) -> memoryview:
    """A value that must be bytes. Raises ValueError."""
    if isinstance(value, int):
        raise ValueError("a number where a message belongs")
    return value
