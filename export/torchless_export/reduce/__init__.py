"""Smaller, faster artifacts: int8 and float16. docs/quantize.md explains them.

quantize.py  quantize(request): the whole way, for both
images.py    the images that set the scales, and the test images
int8.py      a float32 graph → int8
ranges.py    the range of each activation
bias.py      the mean error of each layer, which its bias makes up for
search.py    which recipe, and which layers stay in float32
float16.py   a float32 graph → float16
pace.py      whether the file is smaller, and faster here
tune.py      which precision and settings are fastest here
"""
