"""The shipped models, their cards, and the safety check of ONNX files."""
