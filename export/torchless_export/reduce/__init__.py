"""Smaller, faster and more self-contained artifacts. docs/quantize.md and docs/in-graph.md explain them.

reduce.py       reduce_model(request): the function that tells the story of int8 and float16
images.py       the images that set the scales, and those that judge
int8.py         a float32 graph → int8, with scales from ranges of activations
search.py       which recipe, and which layers stay in float32
float16.py      a float32 graph → float16
decisions.py    the gate of every artifact below float32: its decisions against the float model's
pace.py         whether the file is smaller, and faster here
tune.py         which precision and settings are fastest here
command.py      `torchless quantize` and `torchless tune`
in_graph.py     an artifact that takes pixels: its preprocessing, and if wanted its top classes, in the graph
resample.py     Pillow's antialiased resize and torchvision's crop, as nodes
nodes.py        ONNX nodes, written as calls
"""
