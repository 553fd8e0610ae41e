"""`torchless serve`: classification over HTTP, with the extra `serve`.

A request's way: gate (who may, and what is counted) → api or protocol (what it says) → bodies → batcher (threads that decode, prepare and run)
→ answer. Only `command` and `settings` may be imported without the extra.
"""
