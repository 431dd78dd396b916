"""Checking an ONNX file before a runtime loads it: is it a network of refsr's kind, and safe?

ONNX is protobuf: nested fields of a number, a wire type and a value. The few that matter here are
parsed directly, since the package `onnx` is not a core dependency. A network is a program: refused
is what would read other files, loop for ever, call custom code, or allocate memory that the file's
own size does not justify. What a node computes at run time cannot be checked beforehand.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping

from refsr.errors import ModelError

LARGEST_FILE = 128 << 20  # bytes; the shipped networks have 4 MB
LARGEST_TENSOR = 1 << 28  # elements of a constant shape: 1 GB of float32
INPUTS = {"lr": 3, "ref": 3, "validity": 1}  # channels
CONDITION = {"condition": 5}  # of a network that is told how the photo was taken
OUTPUTS = ("sr", "gate")
DOMAINS = ("", "ai.onnx")  # ONNX's own operators
SHAPED = ("ConstantOfShape", "Expand", "Tile")  # an input gives the shape of their output
FLOATS = (1, 10)  # float32, float16
INT64 = 7
LONGEST_SHAPE = 64  # bytes of an int64 tensor that may be a shape
ORT_FORMAT = b"ORTM"  # at byte 4: ONNX Runtime's own format, which it tries first

# Field numbers of onnx.proto
GRAPH, OPSET, TRAINING, FUNCTIONS = 7, 8, 20, 25  # of a model
NODE, INITIALIZER, INPUT, OUTPUT, SPARSE = 1, 5, 11, 12, 15  # of a graph
NODE_INPUT, NODE_OUTPUT, OP_TYPE, ATTRIBUTE, DOMAIN = 1, 2, 4, 5, 7  # of a node
TENSORS, GRAPHS, SPARSES = (5, 10), (6, 11), (22, 23)  # of an attribute
DIMS, TYPE, INT64_DATA, NAME, RAW, EXTERNAL, LOCATION = 1, 2, 7, 8, 9, 13, 14  # of a tensor

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types
Value = int | memoryview
Fields = Mapping[int, list[Value]]


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
        for graph in graphs:
            check_graph(graph)
        check_signature(graphs)
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
    shapes: dict[str, list[int]] = {}
    for tensor in messages(graph, INITIALIZER):
        shapes[text(tensor, NAME)] = check_tensor(tensor)
    for node in messages(graph, NODE):
        check_domain(text(node, DOMAIN))
        for attribute in messages(node, ATTRIBUTE):
            if any(number in attribute for number in (*GRAPHS, *SPARSES)):
                raise Refused("holds loops or branches")
            for number in TENSORS:
                for tensor in messages(attribute, number):
                    for output in texts(node, NODE_OUTPUT):
                        shapes[output] = check_tensor(tensor)
        if text(node, OP_TYPE) in SHAPED:
            for source in texts(node, NODE_INPUT):
                if abs(math.prod(shapes.get(source, []))) > LARGEST_TENSOR:
                    raise Refused("asks for a giant tensor")


def check_tensor(tensor: Fields) -> list[int]:
    """Refuse a tensor that is not wholly in the file; returns its values if it may be a shape."""
    if EXTERNAL in tensor or any(tensor.get(LOCATION, [])):
        raise Refused("keeps weights in other files")
    dims = numbers(tensor, DIMS)
    payload = sum(len(v) for values in tensor.values() for v in values if not isinstance(v, int))
    payload += sum(isinstance(v, int) for number in tensor for v in tensor[number])
    if any(dim < 0 for dim in dims) or math.prod(dims) > 2 * payload:  # 4-bit numbers: two a byte
        raise Refused("declares tensors larger than the file")
    if tensor.get(TYPE, [0])[-1] != INT64:
        return []
    values = numbers(tensor, INT64_DATA)
    for raw in tensor.get(RAW, []):
        if not isinstance(raw, int) and len(raw) <= LONGEST_SHAPE:
            whole = range(0, len(raw) - 7, 8)
            values += [int.from_bytes(raw[at : at + 8], "little", signed=True) for at in whole]
    return values


def check_signature(graphs: list[Fields]) -> None:
    """Refuse a network whose inputs or outputs differ from those of refsr's models."""
    weights = {text(t, NAME) for graph in graphs for t in messages(graph, INITIALIZER)}
    inputs = {text(v, 1): v for graph in graphs for v in messages(graph, INPUT)}
    inputs = {name: value for name, value in inputs.items() if name not in weights}
    outputs = {text(v, 1) for graph in graphs for v in messages(graph, OUTPUT)}
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


def as_bytes(value: Value) -> memoryview:
    """A value that must be bytes. Raises ValueError."""
    if isinstance(value, int):
        raise ValueError("a number where a message belongs")
    return value
