"""Smaller and faster artifacts: int8 and float16. docs/quantize.md explains them.

reduce.py       reduce_model(request): the function that tells the story
images.py       the images that set the scales, and those that judge
int8.py         a float32 graph → int8, with scales from ranges of activations
search.py       which recipe, and which layers stay in float32
float16.py      a float32 graph → float16
decisions.py    the gate of every artifact below float32: its decisions against the float model's
pace.py         whether the file is smaller, and faster here
tune.py         which precision and settings are fastest here
command.py      `torchless quantize` and `torchless tune`
"""
