"""Many machines: `infer --engine ray` and `serve --engine ray`, with the extra `ray`.

They run the same Classifier and application as on one machine; Ray starts processes, moves data between them, and
reports when one has died. In a batch: cluster (connects) → shards (splits the inputs) → pool (actors that are replaced
when they die) → worker (runs in each of them) → parts (the output folder). No module imports ray until it is used.
"""
