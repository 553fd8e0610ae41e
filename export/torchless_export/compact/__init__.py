"""Smaller, faster and more self-contained artifacts.

nodes.py        ONNX nodes, written as calls
resample.py     Pillow's antialiased resize and torchvision's crop, as nodes
in_graph.py     an artifact that takes pixels: its preprocessing, and if wanted its top classes, in the graph
"""
