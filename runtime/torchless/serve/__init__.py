"""`torchless serve`: classification over HTTP, with the extra `serve`.

A request passes access (who may ask; logs and counters), api or oip (what it asks for), bodies (its bytes, in bounded
memory) and batcher (threads that decode, prepare and run). Only `settings` can be imported without the extra.
"""
