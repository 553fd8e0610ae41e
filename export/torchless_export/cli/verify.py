"""`torchless verify`: parse, call verify, print."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from torchless.cli.options import AsJson, print_json
from torchless.cli.program import as_flags
from torchless.errors import UsageError
from torchless_export.cli.options import Recursive, require_torch

if TYPE_CHECKING:
    from torchless_export.verification import Verification


def verify(
    model: Annotated[Path, typer.Argument(help="An .onnx file that torchless exported.", show_default=False)],
    images: Annotated[
        list[str] | None,
        typer.Option(help="Your own images, as infer takes them. Can be given several times.", show_default=False),
    ] = None,
    recursive: Recursive = False,
    device: Annotated[
        str,
        typer.Option(
            "--device", "-d", help="Where ONNX Runtime runs: cpu, cuda, cuda:N or auto. PyTorch runs on the CPU."
        ),
    ] = "cpu",
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            help="The checkpoint it was exported from; by default looked up by its name beside MODEL and in the "
            "current folder.",
            show_default=False,
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(help="The labels file it was exported with; found in the same way.", show_default=False),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            help="Write an HTML report to this file: figures, limits, every image's answers.", show_default=False
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Prove an exported file again: build the PyTorch model again, and run the whole gate, on your own images too.

    Examples:  torchless verify resnet50.onnx --images photos/  ·  torchless verify resnet50.onnx --report report.html

    It calls the builder that the file names, if one made it: do not verify files of people you do not trust.

    Exit code 0 when the file gives PyTorch's answers, 1 when it does but some of your images could not be read, 2 for
    wrong usage, 3 when the file is missing or damaged, 4 when the device is not available, 5 when it fails a check, 6
    when the weights are not available again.
    """
    require_torch()
    from torchless_export.verification import verify as run

    if report is not None and not os.path.isdir(report.parent):
        raise UsageError(f"cannot write {report}: there is no folder {report.parent}")
    found = run(
        model,
        images=images or (),
        recursive=recursive,
        device=device,
        checkpoint=checkpoint,
        labels=labels,
        thumbnails=report is not None,
    )
    for line in (*found.notes, *(f"not read: {line}" for line in found.unreadable)):
        typer.echo(as_flags(line), err=True)
    if as_json:
        print_json(_document(found))
    else:
        typer.echo(_text(found))
    if report is not None:
        from torchless.files import atomic_path
        from torchless_export.gate.page import render

        page = render(
            found.artifact,
            found.verdict,
            labels=found.loaded.labels,
            tf32_metrics=found.tf32_metrics,
            unreadable=found.unreadable,
        )
        with atomic_path(report) as temporary:
            temporary.write_text(page, encoding="utf-8", errors="backslashreplace")  # a file name need not be UTF-8
    if not found.verdict.passed:
        raise typer.Exit(5)
    if found.unreadable:
        raise typer.Exit(1)


def _text(found: "Verification") -> str:
    from torchless.text import UNTRAINED
    from torchless_export.gate.text import explain, metrics_table

    parity, manifest = found.verdict.parity, found.artifact.manifest
    lines = [
        f"{found.artifact.path}: parity {'passed' if parity.passed else 'FAILED'} on {parity.images} images",
        explain(found.verdict),
        *([metrics_table(parity.metrics)] if parity.metrics else []),
    ]
    if parity.reason is not None:
        lines.append(f"compared without float64: {parity.reason}")
    if found.tf32_metrics:
        lines += ["with TF32, which is off for the verdict:", metrics_table(found.tf32_metrics)]
    return "\n".join([*lines, f"note: {manifest.model.name} is {UNTRAINED}"] if not manifest.is_trained else lines)


def _document(found: "Verification") -> dict[str, Any]:
    from torchless.codec import encode

    departure = found.verdict.departure
    return {
        "file": str(found.artifact.path),
        "parity": encode(found.verdict.parity),
        "departure": encode(departure) if departure is not None else None,
        "tf32_metrics": encode(found.tf32_metrics),
        "unreadable": found.unreadable,
    }
