"""A model file: what is inside it, whether it is intact, and what is known about it without running it."""
