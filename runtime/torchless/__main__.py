"""`python -m torchless`."""

from torchless.cli.main import main

main()
