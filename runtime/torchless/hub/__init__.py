"""Models by name: `https://…/resnet50.onnx`, `hf:OWNER/REPO`, `s3://…`. Fetched once, checked, kept in a folder."""
