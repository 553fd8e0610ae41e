"""Where a network comes from: the catalogue, weights, checkpoints, builders, and the test images."""
