"""`python -m torchless`."""

from torchless.cli import main

main()
