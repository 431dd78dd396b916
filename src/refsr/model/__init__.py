"""The network in torch, for training and export. Inference runs the exported ONNX file."""
