"""Preprocessing as nodes of the graph, bit for bit what the runtime does."""
