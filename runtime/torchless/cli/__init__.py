"""The programs `torchless` and `infer`: one module per verb, which parses, calls the library and prints. Nothing else
imports it.
"""
