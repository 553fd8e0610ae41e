"""`torchless verify`: parse, prove by the evidence in the file or call verify, print. The former needs no torch."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from torchless.cli.options import AsJson, Device, ModelFile, print_json
from torchless.cli.program import as_flags
from torchless.engine.options import ModelOptions
from torchless.errors import UsageError
from torchless.heaps import no_search_for_garbage
from torchless.process import say, tell
from torchless.progress import choose_bar
from torchless.text import printable
from torchless_export.cli.options import progress, require_torch

if TYPE_CHECKING:
    from torchless_export.verification import Verification

_REBUILDING: dict[str, Any] = {"rich_help_panel": "With PyTorch: against its model, built again", "show_default": False}


def verify(
    model: ModelFile,
    device: Device = ModelOptions.device,
    expect: Annotated[
        Path | None,
        typer.Option(
            help="Your own program's answers to some images (docs/expected.md), to compare with too.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Build the PyTorch model again and run the whole gate.", **_REBUILDING)
    ] = False,
    images: Annotated[
        list[str] | None,
        typer.Option(
            metavar="IMAGE", help="Your own images, as infer takes them. Can be given several times.", **_REBUILDING
        ),
    ] = None,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="With --images: include subfolders.", **_REBUILDING)
    ] = False,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            help="The checkpoint it was exported from; by default looked up by its name beside MODEL and in the "
            "current folder.",
            **_REBUILDING,
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(help="The labels file it was exported with; found in the same way.", **_REBUILDING),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="Write an HTML report to this file: figures, limits, every image's answers.", **_REBUILDING),
    ] = None,
) -> None:
    """Prove that an exported file gives PyTorch's answers here: on this machine, device and ONNX Runtime.

    Examples:
      torchless verify resnet50.onnx
      torchless verify resnet50.onnx --images photos/ --report report.html

    The file carries test images and PyTorch's answers to them, so this needs no PyTorch. With --rebuild, --images,
    --checkpoint, --labels or --report, PyTorch's model is built again and runs on this machine's CPU, which calls the
    builder that the file names, if one made it: do not rebuild files of people you do not trust.

    Exit code 0 when the file gives PyTorch's answers, 1 when it does but some of your images could not be read, 2 for
    wrong usage, 3 when the file is missing, damaged or carries no evidence, 4 when the device is not available, 5 when
    it fails a check, 6 when the weights are not available again.
    """
    if rebuild or images or checkpoint is not None or labels is not None or report is not None:
        _rebuilt(model, images or (), recursive, device, expect, checkpoint, labels, report, as_json)
        return
    if recursive:
        raise UsageError("--recursive goes with --images")
    from torchless.proof.run import verify as prove
    from torchless.proof.text import proof_text

    proof = prove(model, device=device, expect=expect)
    if as_json:
        print_json(proof.to_dict())
    else:
        say(as_flags(proof_text(proof)))
    if not proof.passed:
        raise typer.Exit(5)


def _rebuilt(
    model: Path,
    images: Sequence[str],
    recursive: bool,
    device: str,
    expect: Path | None,
    checkpoint: Path | None,
    labels: Path | None,
    report: Path | None,
    as_json: bool,
) -> None:
    require_torch()
    from torchless.batch import inputs
    from torchless_export.sources.ahead import check_rebuild

    inputs.check(images)
    check_rebuild(model, checkpoint=checkpoint, labels=labels, expect=expect, report=report)
    told = progress()
    told("starting PyTorch")
    with no_search_for_garbage():
        from torchless_export.verification import verify as run

    found = run(
        model,
        images=images,
        recursive=recursive,
        device=device,
        expect=expect,
        checkpoint=checkpoint,
        labels=labels,
        thumbnails=report is not None,
        progress=told,
        bars=choose_bar,
    )
    for line in (*found.notes, *(f"not read: {line}" for line in found.unreadable)):
        tell(as_flags(printable(line)))
    if as_json:
        print_json(_document(found))
    else:
        say(as_flags(_text(found)))
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
    verdict = "passed" if parity.passed else "FAILED"
    lines = [
        f"{found.artifact.path}: parity {verdict} on {parity.images} images, against PyTorch's model, built again",
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
        "proof": "rebuilt",
        "parity": encode(found.verdict.parity),
        "departure": encode(departure) if departure is not None else None,
        "tf32_metrics": encode(found.tf32_metrics),
        "unreadable": found.unreadable,
    }
