"""The export side of torchless: from a torchvision model to a proved ONNX artifact. Needs the extra `export`."""
