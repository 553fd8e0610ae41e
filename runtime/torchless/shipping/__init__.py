"""A model to take along: one executable file, a folder of wheels, or a container.

All contain torchless itself, its dependencies and one ONNX Runtime, in the versions installed here.
"""
