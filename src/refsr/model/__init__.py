"""The network, in torch: training and export only. Inference runs the exported ONNX file."""
