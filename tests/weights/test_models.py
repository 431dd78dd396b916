"""Model files from anywhere: what is no network of ours, or no harmless one, is refused unrun."""

from __future__ import annotations

import hashlib
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from refsr.errors import ModelError
from refsr.inference.network import Network
from refsr.upscaler import Upscaler
from refsr.weights.models import find_model, shipped
from refsr.weights.onnx_check import LARGEST_FILE, check_onnx

SIZES = {"lr": (3, 1), "ref": (3, 4), "validity": (1, 4)}


def network(scale: float = 4.0) -> onnx.ModelProto:
    """A network of the right kind: nearest neighbours of the small photo."""
    ends = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, "h", "w"])
        for name, (channels, _) in (SIZES | {"sr": (3, 4), "gate": (1, 4)}).items()
    }
    factors = numpy_helper.from_array(np.array([1, 1, scale, scale], np.float32), "factors")
    nodes = [
        helper.make_node("Resize", ["lr", "", "factors"], ["sr"], mode="nearest"),
        helper.make_node("Mul", ["validity", "half"], ["gate"]),
    ]
    half = numpy_helper.from_array(np.float32(0.5), "half")
    inputs, outputs = [ends[n] for n in SIZES], [ends["sr"], ends["gate"]]
    graph = helper.make_graph(nodes, "any", inputs, outputs, [factors, half])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def kept(model: onnx.ModelProto | bytes, folder: Path, **card: Any) -> Path:
    """A file with a card that vouches for it."""
    data = model if isinstance(model, bytes) else model.SerializeToString()
    (folder / "my.onnx").write_bytes(data)
    facts = {"multiple": 8, "sha256": hashlib.sha256(data).hexdigest()} | card
    (folder / "my.json").write_text(json.dumps(facts))
    return folder / "my.onnx"


def test_a_network_of_ones_own_runs(tmp_path: Path) -> None:
    path = kept(network(), tmp_path, faithful=False)
    small = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    result = Upscaler.load(str(path), threads=1).upscale(small)
    np.testing.assert_array_equal(result.image, np.repeat(np.repeat(small, 4, 0), 4, 1))


def told(channels: int) -> onnx.ModelProto:
    """The same network, with the small photo's brightness as it is told."""
    model = network()
    value = helper.make_tensor_value_info("condition", TensorProto.FLOAT, [1, channels, 1, 1])
    model.graph.input.append(value)
    model.graph.node[0].output[0] = "enlarged"
    axes = numpy_helper.from_array(np.array([1], np.int64), "axes")
    model.graph.initializer.append(axes)
    model.graph.node.extend(
        [
            helper.make_node("ReduceSum", ["condition", "axes"], ["sum"], keepdims=1),
            helper.make_node("Mul", ["enlarged", "sum"], ["sr"]),
        ]
    )
    return model


def test_a_network_is_told_how_the_photo_was_taken(tmp_path: Path) -> None:
    loaded = Network(find_model(kept(told(5), tmp_path, conditions=5)), "cpu", 1, "onnx")
    lr, ref = np.ones((8, 8, 3), np.float32), np.ones((32, 32, 3), np.float32)
    condition = np.array([0.1, 0, 0, 0.3, 0], np.float32)
    sr, _ = loaded.run(lr, ref, ref[..., 0], condition=condition)
    np.testing.assert_allclose(sr, 0.4, rtol=1e-6)
    assert not loaded.run(lr, ref, ref[..., 0])[0].any()  # nothing is known: zeros


def test_another_condition_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="condition"):
        find_model(kept(told(4), tmp_path, conditions=5))
    with pytest.raises(ModelError, match="card"):
        find_model(kept(told(5), tmp_path, conditions=4))


def external(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[1]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "../../../etc/passwd"), ("length", "4")):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value


def external_by_halves(model: onnx.ModelProto) -> None:
    entry = model.graph.initializer[1].external_data.add()
    entry.key, entry.value = "location", "/dev/zero"


def external_in_a_node(model: onnx.ModelProto) -> None:
    external(model)
    tensor = model.graph.initializer.pop(1)
    model.graph.node.insert(0, helper.make_node("Constant", [], ["half"], value=tensor))


def giant(model: onnx.ModelProto) -> None:
    model.graph.initializer[1].dims.extend([1 << 20, 1 << 20])


def negative(model: onnx.ModelProto) -> None:
    model.graph.initializer[1].dims.extend([-1])


def giant_shape(model: onnx.ModelProto) -> None:
    shape = numpy_helper.from_array(np.array([1 << 16, 1 << 16], np.int64), "shape")
    model.graph.initializer.append(shape)
    model.graph.node.insert(0, helper.make_node("ConstantOfShape", ["shape"], ["big"]))


def giant_tile(model: onnx.ModelProto) -> None:
    times = helper.make_tensor("times", TensorProto.INT64, [4], [1, 1, 1 << 15, 1 << 15])
    constant = helper.make_node("Constant", [], ["times"], value=times)
    model.graph.node.insert(0, helper.make_node("Tile", ["lr", "times"], ["big"]))
    model.graph.node.insert(0, constant)


def giant_constant(model: onnx.ModelProto) -> None:
    """A shape among the integers of a node, not in a tensor."""
    model.graph.node.insert(0, helper.make_node("ConstantOfShape", ["shape"], ["big"]))
    shape = helper.make_node("Constant", [], ["shape"], value_ints=[1 << 16, 1 << 16])
    model.graph.node.insert(0, shape)


def giant_constant_behind(model: onnx.ModelProto) -> None:
    giant_constant(model)
    model.graph.node.append(model.graph.node.pop(0))


def with_constant(model: onnx.ModelProto, values: Any, operator: str, *inputs: str) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array(values), "sizes"))
    model.graph.node.insert(0, helper.make_node(operator, inputs, ["big"]))


def giant_range(model: onnx.ModelProto) -> None:
    for name, value in (("start", 0), ("end", 1 << 40), ("step", 1)):
        model.graph.initializer.append(numpy_helper.from_array(np.array(value, np.int64), name))
    model.graph.node.insert(0, helper.make_node("Range", ["start", "end", "step"], ["big"]))


def fine_range(model: onnx.ModelProto) -> None:
    for name, value in (("start", 0.0), ("end", 1.0), ("step", 1e-12)):
        node = helper.make_node("Constant", [], [name], value_float=value)
        model.graph.node.insert(0, node)
    model.graph.node.append(helper.make_node("Range", ["start", "end", "step"], ["big"]))


def giant_padding(model: onnx.ModelProto) -> None:
    pads = [0, 0, 1 << 20, 1 << 20, 0, 0, 0, 0]
    with_constant(model, np.array(pads, np.int64), "Pad", "lr", "sizes")


def giant_sizes(model: onnx.ModelProto) -> None:
    sizes = np.array([1, 3, 1 << 17, 1 << 17], np.int64)
    with_constant(model, sizes, "Resize", "lr", "", "", "sizes")


def giant_scales(model: onnx.ModelProto) -> None:
    scales = np.array([1, 1, 1000, 1000], np.float32)
    with_constant(model, scales, "Resize", "lr", "", "sizes")


def giant_strides(model: onnx.ModelProto) -> None:
    node = helper.make_node("ConvTranspose", ["lr", "half"], ["big"], strides=[4096, 4096])
    model.graph.node.append(node)


def giant_border(model: onnx.ModelProto) -> None:
    node = helper.make_node("Conv", ["lr", "half"], ["big"], pads=[1 << 20] * 4)
    model.graph.node.append(node)


def random_numbers(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("RandomNormal", [], ["big"], shape=[1 << 15] * 2))


def for_ever(model: onnx.ModelProto) -> None:
    body = helper.make_graph([], "body", [], [])
    model.graph.node.append(helper.make_node("Loop", ["", ""], ["x"], body=body))


def foreign_operators(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Exec", ["lr"], ["x"], domain="com.evil"))


def foreign_opset(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("ai.onnx.contrib", 1))


def own_functions(model: onnx.ModelProto) -> None:
    model.functions.append(
        helper.make_function("mine", "f", [], [], [], [helper.make_opsetid("", 20)])
    )


def another_input(model: onnx.ModelProto) -> None:
    extra = helper.make_tensor_value_info("password", TensorProto.FLOAT, [1])
    model.graph.input.append(extra)


def no_gate(model: onnx.ModelProto) -> None:
    del model.graph.output[1]


def gray_only(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 1


def flat(model: onnx.ModelProto) -> None:
    del model.graph.input[1].type.tensor_type.shape.dim[2:]


def whole_numbers(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT32


def untyped(model: onnx.ModelProto) -> None:
    model.graph.input[0].ClearField("type")


def empty(model: onnx.ModelProto) -> None:
    model.ClearField("graph")


def sparse(model: onnx.ModelProto) -> None:
    model.graph.sparse_initializer.add()


HOSTILE: list[tuple[Callable[[onnx.ModelProto], None], str]] = [
    (external, "keeps weights in other files"),
    (external_by_halves, "keeps weights in other files"),
    (external_in_a_node, "keeps weights in other files"),
    (giant, "larger than the file"),
    (negative, "larger than the file"),
    (giant_shape, "giant tensor"),
    (giant_tile, "giant tensor"),
    (giant_constant, "giant tensor"),
    (giant_constant_behind, "giant tensor"),
    (giant_range, "giant tensor"),
    (fine_range, "giant tensor"),
    (giant_padding, "giant tensor"),
    (giant_sizes, "giant tensor"),
    (giant_scales, "giant tensor"),
    (giant_strides, "giant tensor"),
    (giant_border, "giant tensor"),
    (random_numbers, "giant tensor"),
    (for_ever, "loops or branches"),
    (foreign_operators, "operators of 'com.evil'"),
    (foreign_opset, "operators of 'ai.onnx.contrib'"),
    (own_functions, "functions of its own"),
    (another_input, "it takes lr, password, ref, validity"),
    (no_gate, "another kind of network"),
    (gray_only, "a lr of another shape"),
    (flat, "a ref of another shape"),
    (whole_numbers, "a lr of another shape or type"),
    (untyped, "a lr of another shape or type"),
    (empty, "holds no network"),
    (sparse, "sparse tensors"),
]


@pytest.mark.parametrize(("change", "words"), HOSTILE, ids=lambda one: getattr(one, "__name__", ""))
def test_hostile_networks_are_refused_unrun(
    change: Callable[[onnx.ModelProto], None],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "onnxruntime.InferenceSession", lambda *_, **__: pytest.fail("the runtime has seen it")
    )
    model = network()
    change(model)
    with pytest.raises(ModelError) as error:
        Upscaler.load(str(kept(model, tmp_path)))
    assert words in str(error.value)
    assert str(error.value).endswith(".")


def test_pieces_that_protobuf_would_merge_are_refused() -> None:
    """The shape in one piece of the network, the operator that takes it in another."""
    shape, rest = network(), network()
    sizes = numpy_helper.from_array(np.array([1 << 16, 1 << 16], np.int64), "shape")
    shape.ClearField("graph")
    shape.graph.initializer.append(sizes)
    rest.graph.node.append(helper.make_node("ConstantOfShape", ["shape"], ["big"]))
    both = rest.SerializeToString() + shape.SerializeToString()
    assert len(onnx.load_from_string(both).graph.node) == 3
    with pytest.raises(ModelError, match="several networks"):
        check_onnx(both, "my.onnx")

    model = network()
    node = helper.make_node("Constant", [], ["shape"], value=sizes)
    model.graph.node.append(node)
    attribute = node.attribute[0].SerializeToString()
    twice = attribute + attribute[attribute.index(b"*") :]  # the tensor's field again
    data = model.SerializeToString()
    with pytest.raises(ModelError):
        check_onnx(data.replace(attribute, twice), "my.onnx")


def test_growth_that_a_network_may_have_is_allowed() -> None:
    for name in shipped():
        find_model(name)
    model = network()
    sizes = numpy_helper.from_array(np.array([0, 0, 8, 8, 0, 0, 8, 8], np.int64), "pads")
    model.graph.initializer.append(sizes)
    far = numpy_helper.from_array(np.float32(-1e9), "far")
    bias = numpy_helper.from_array(np.full(4, 50, np.float32), "bias")
    model.graph.initializer.extend([far, bias])
    model.graph.node.append(helper.make_node("Pad", ["lr", "pads", "far"], ["padded"]))
    inputs = ["lr", "kernel", "bias"]  # a bias is no size
    model.graph.node.append(helper.make_node("ConvTranspose", inputs, ["up"], strides=[4, 4]))
    check_onnx(model.SerializeToString(), "my.onnx")


@pytest.mark.parametrize("scale", [2.0, 8.0])
def test_a_network_of_another_scale_is_refused_in_words(scale: float, tmp_path: Path) -> None:
    """Of eight times the size the upper left quarter would look like a result."""
    upscaler = Upscaler.load(str(kept(network(scale), tmp_path)), threads=1)
    with pytest.raises(ModelError, match="no network that enlarges 4 times"):
        upscaler.upscale(np.zeros((9, 9, 3), np.uint8))


def test_a_gate_of_another_shape_is_refused_in_words(tmp_path: Path) -> None:
    model = network()
    model.graph.node[1].input[0] = "ref"  # three channels
    upscaler = Upscaler.load(str(kept(model, tmp_path)), threads=1)
    with pytest.raises(ModelError, match=r"gives gate as \(1, 3, 64, 64\)"):
        upscaler.upscale(np.zeros((9, 9, 3), np.uint8))


@pytest.mark.posix
def test_a_pipe_is_no_card(tmp_path: Path) -> None:
    path = kept(network(), tmp_path)
    path.with_suffix(".json").unlink()
    os.mkfifo(path.with_suffix(".json"))
    with pytest.raises(ModelError, match="missing or broken"):
        find_model(path)


def test_every_cut_of_a_network_is_refused_in_words() -> None:
    data = network().SerializeToString()
    for length in range(len(data)):
        with pytest.raises(ModelError, match=r"my\.onnx"):
            check_onnx(data[:length], "my.onnx")


def test_what_the_runtime_would_take_for_its_own_format_is_refused() -> None:
    named = b"\x12\x06\0\0ORTM" + network().SerializeToString()  # a producer's name of six letters
    assert onnx.load_from_string(named).graph.node
    with pytest.raises(ModelError, match="no ONNX file"):
        check_onnx(named, "my.onnx")


def test_what_no_checksum_can_save(tmp_path: Path) -> None:
    """A sparse file of any size costs nothing to make."""
    path = kept(network(), tmp_path)
    with path.open("ab") as file:
        file.truncate(LARGEST_FILE + 1)
    with pytest.raises(ModelError, match="more than the 128 MB of a network"):
        find_model(path)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "no.onnx"))
    with pytest.raises(ModelError, match="no model"):
        find_model(tmp_path / "no.onnx")


@pytest.mark.parametrize(
    "facts",
    [
        {"multiple": 0},
        {"multiple": -8},
        {"multiple": 97},
        {"multiple": 10**9},
        {"multiple": float("inf")},
        {"multiple": [8]},
        {"sha256": None},
        {"scale": 2},
    ],
    ids=str,
)
def test_a_card_of_something_else_is_refused(facts: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"card .*my\.json is missing or broken"):
        find_model(kept(network(), tmp_path, **facts))


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", "5", '"' + "x" * (1 << 20) + '"', "\0", ""])
def test_a_card_that_is_no_card_is_refused(text: str, tmp_path: Path) -> None:
    path = kept(network(), tmp_path)
    path.with_suffix(".json").write_text(text)
    with pytest.raises(ModelError, match="missing or broken"):
        find_model(path)


def test_the_shipped_networks_are_theirs_and_small() -> None:
    for name in shipped():
        model = find_model(name)
        assert model.card["sha256"] == hashlib.sha256(model.path.read_bytes()).hexdigest()
        assert model.path.stat().st_size < 10_000_000


def test_a_model_that_gives_no_numbers_is_an_error(tmp_path: Path) -> None:
    """As half precision may: 0/0 is no number."""
    model = network()
    model.graph.node[1].CopyFrom(helper.make_node("Div", ["validity", "validity"], ["gate"]))
    with pytest.raises(ModelError, match="produced NaN or infinity in a part of the photo"):
        Upscaler.load(str(kept(model, tmp_path)), threads=1).upscale(np.zeros((9, 9, 3), np.uint8))


def test_what_loads_and_does_not_run_is_an_error(tmp_path: Path) -> None:
    model = network()
    model.graph.node[1].op_type = "Sum"
    model.graph.node[1].input.append("lr")  # 1 and 3 channels of other sizes
    loaded = Network(find_model(kept(model, tmp_path)), threads=1)
    lr, ref = np.zeros((8, 8, 3), np.float32), np.zeros((32, 32, 3), np.float32)
    with pytest.raises(ModelError, match="The model my failed"):
        loaded.run(lr, ref, ref[..., 0])
