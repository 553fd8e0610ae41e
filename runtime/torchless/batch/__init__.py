"""Many images: where they come from, where their rows go, and how a run is resumed."""
