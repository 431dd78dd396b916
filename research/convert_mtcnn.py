"""Converts MTCNN's weights (refsr/inference/faces.py) to ONNX files with weights in 16 bits.

    pip download --no-deps facenet-pytorch==2.6.0 && unzip facenet_pytorch-*.whl -d unpacked
    python research/convert_mtcnn.py unpacked/facenet_pytorch/data src/refsr/weights/estimators

That package carries them as pnet.pt, rnet.pt and onet.pt (MIT licence, as the original's).
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from refsr.model.export import OPSET, store_half, strip_metadata

# Of each network: its convolutions' channels and kernels, and the poolings behind them; its dense
# layer's size; the names of its outputs, the face's probability last
CONVOLUTIONS = {
    "pnet": ((10, 3, 2), (16, 3, 0), (32, 3, 0)),
    "rnet": ((28, 3, 3), (48, 3, 3), (64, 2, 0)),
    "onet": ((32, 3, 3), (64, 3, 3), (64, 3, 2), (128, 2, 0)),
}
DENSE = {"rnet": (576, 128), "onet": (1152, 256)}
OUTPUTS = {
    "pnet": {"conv4_2": 4, "conv4_1": 2},
    "rnet": {"dense5_2": 4, "dense5_1": 2},
    "onet": {"dense6_2": 4, "dense6_3": 10, "dense6_1": 2},
}
SIDES = {"pnet": 64, "rnet": 24, "onet": 48}


class Cascade(nn.Module):
    """One of the three networks, with the parameters' names of the source."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        channels = 3
        for number, (width, kernel, _) in enumerate(CONVOLUTIONS[name], start=1):
            self.add_module(f"conv{number}", nn.Conv2d(channels, width, kernel))
            self.add_module(f"prelu{number}", nn.PReLU(width))
            channels = width
        if name in DENSE:
            number = len(CONVOLUTIONS[name]) + 1
            self.add_module(f"dense{number}", nn.Linear(*DENSE[name]))
            self.add_module(f"prelu{number}", nn.PReLU(DENSE[name][1]))
        for output, count in OUTPUTS[name].items():
            layer = nn.Linear(DENSE[name][1], count) if name in DENSE else nn.Conv2d(32, count, 1)
            self.add_module(output, layer)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Images (N, 3, h, w), -1 to 1, to the outputs in OUTPUTS' order."""
        layers = dict(self.named_children())
        for number, (_, _, pool) in enumerate(CONVOLUTIONS[self.name], start=1):
            images = layers[f"prelu{number}"](layers[f"conv{number}"](images))
            if pool:
                images = nn.functional.max_pool2d(images, pool, 2, ceil_mode=True)
        if self.name in DENSE:
            number = len(CONVOLUTIONS[self.name]) + 1
            flat = images.permute(0, 3, 2, 1).flatten(1)  # column by column, as in the original
            images = layers[f"prelu{number}"](layers[f"dense{number}"](flat))
        *others, face = (layers[name](images) for name in OUTPUTS[self.name])
        return (*others, face.softmax(1))


def convert(name: str, source: Path, folder: Path) -> None:
    """Convert one network, and compare the two."""
    network = Cascade(name).eval()
    network.load_state_dict(torch.load(source, weights_only=True))
    with torch.no_grad():
        for value in network.parameters():
            value.copy_(value.half())
    side = SIDES[name]
    images = torch.rand(3 if name in DENSE else 1, 3, side, side) * 2 - 1
    count, height, width = (torch.export.Dim(axis, min=1) for axis in "nhw")
    program = torch.onnx.export(
        network,
        (images,),
        dynamo=True,
        opset_version=OPSET,
        input_names=["images"],
        output_names=list(OUTPUTS[name]),
        dynamic_shapes={"images": {0: count} if name in DENSE else {2: height, 3: width}},
        verbose=False,
    )
    assert program is not None
    path = folder / f"mtcnn_{name}.onnx"
    onnx.save(store_half(strip_metadata(program.model_proto)), path)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected = network(images)
    found = session.run(None, {"images": images.numpy()})
    worst = max(
        float((torch.from_numpy(a) - b).abs().max()) for a, b in zip(found, expected, strict=True)
    )
    assert worst < 1e-4, worst
    print(f"{path}: {path.stat().st_size} bytes, differs from torch by {worst:.1e}")


def main() -> None:
    """Convert all three and write their card."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    for name in CONVOLUTIONS:
        convert(name, options.data / f"{name}.pt", options.out)
    files = [options.out / f"mtcnn_{name}.onnx" for name in CONVOLUTIONS]
    card = {
        "name": "mtcnn",
        "note": "Finds faces; not a network that enlarges",
        "license": "MIT",
        "sha256": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files},
    }
    (options.out / "mtcnn.json").write_text(json.dumps(card, indent=1) + "\n")


if __name__ == "__main__":
    main()
