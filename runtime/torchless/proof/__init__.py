"""The proof that travels: an artifact against PyTorch's answers inside it, without PyTorch (docs/verify.md)."""
