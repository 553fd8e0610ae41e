"""A model file: what is inside it, whether it is whole, and what can be said of it without running it."""
