"""From an nn.Module to an ONNX file that is complete: graph, layers, manifest, seal."""
