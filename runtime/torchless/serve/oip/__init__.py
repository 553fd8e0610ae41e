"""The Open Inference Protocol v2 over HTTP: requests parsed, tensors in JSON and in binary, and the handlers."""
