"""Many machines: `infer --engine ray` and `serve --engine ray`, with the extra `ray`. What runs there is the Classifier and the application of
one machine; Ray starts processes, moves data between them, and tells when one has died.

Batch: cluster (connect) → shards (inputs, a part at a time) → pool (actors that die and are replaced) → worker (in each of them) → parts (the
output folder). No module imports ray until it is used.
"""
