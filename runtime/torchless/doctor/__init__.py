"""`torchless doctor [MODEL]`: what is wrong with this installation or with a model file, and the command that fixes it.

`examination` puts the checks in order; packages, gpu, pillow, processors and model each return Findings.
"""
