"""The verbs `torchless keygen`, `sign` and `verify-signature`: parse, call the library, print."""

from pathlib import Path
from typing import Annotated

import typer

from torchless.cli.options import ModelFile
from torchless.process import say
from torchless.text import printable


def keygen(
    key: Annotated[
        Path, typer.Argument(help="The file for the private key; the public one is KEY.pub.", show_default=False)
    ],
) -> None:
    """Make a pair of Ed25519 keys: KEY, to sign with, which you keep; and KEY.pub, to check with, for everybody.

    openssl makes the same files:
      openssl genpkey -algorithm ed25519 -out KEY
      openssl pkey -in KEY -pubout -out KEY.pub

    With a passphrase in TORCHLESS_KEY_PASSPHRASE the private key is encrypted.
    """
    from torchless.model.signing import make_key

    say(f"{key}, {key}.pub  {make_key(key)}")


def sign(
    model: Annotated[Path, typer.Argument(help="An .onnx file.", show_default=False)],
    key: Annotated[Path, typer.Option(help="The private key, a PEM file: torchless keygen.", show_default=False)],
) -> None:
    """Sign a model file, and the data file that belongs to it: the signature is MODEL.onnx.sig, beside it.

    infer and serve check it with --require-signature KEY.pub, and refuse a model that was altered, renamed, or signed
    by another key.
    """
    from torchless.model.signing import sign as sign_model

    say(printable(str(sign_model(model, key))))


def verify_signature(
    model: ModelFile,
    key: Annotated[Path, typer.Option(help="The public key, a PEM file.", show_default=False)],
) -> None:
    """Check that a model file, with its data file, is what the holder of the key signed. Exit code 0 if so, 3 if
    not.
    """
    from torchless.model.signing import fingerprint, public_key, read_signed

    file = read_signed(model, key)
    names = printable(", ".join([model.name, *file.data_files]))
    say(f"{names}: signed with {fingerprint(public_key(key))}, and unchanged since")


def register(app: typer.Typer) -> None:
    """Adds the verbs to the program `torchless`."""
    app.command(no_args_is_help=True)(keygen)
    app.command(no_args_is_help=True)(sign)
    app.command("verify-signature", no_args_is_help=True)(verify_signature)
