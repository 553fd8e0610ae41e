"""`torchless export`: parse, call export_model, print."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from torchless.cli.options import (
    ACTIVATION_HELP,
    CHANNELS_HELP,
    CROP_HELP,
    MEAN_HELP,
    RESIZE_HELP,
    STD_HELP,
    numbers,
    parsed,
)
from torchless.cli.program import as_flags
from torchless.errors import UsageError
from torchless.heaps import no_search_for_garbage
from torchless.process import say
from torchless.progress import choose_bar
from torchless_export.cli.options import NoEvidence, progress, require_torch
from torchless_export.convert.exporters import DEFAULT_OPSET, NEWEST_OPSET, OLDEST_OPSET, exporters_for
from torchless_export.sources.request import ModelRequest

_DEFAULT_FOLDER = Path("artifacts")
_PREPROCESSING: dict[str, Any] = {
    "rich_help_panel": "Preprocessing, where it differs from that of torchvision's weights",
    "show_default": False,
}
_IN_GRAPH = "For programs without torchless (docs/in-graph.md)"


class ExporterChoice(StrEnum):
    """The values of --exporter."""

    AUTO = "auto"
    DYNAMO = "dynamo"
    TORCHSCRIPT = "torchscript"


def export(
    model: Annotated[
        str,
        typer.Argument(
            help="A torchvision classifier, such as resnet50; timm:NAME, hf:NAME or hf:FOLDER (Hugging Face); with "
            "--builder, the artifact's name.",
            show_default=False,
        ),
    ],
    weights: Annotated[
        str, typer.Option(help="DEFAULT, a name such as IMAGENET1K_V1, or none: random weights, marked untrained.")
    ] = ModelRequest.weights,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            help="A state dict to load instead, from torch.save or safetensors. No code in it is run.",
            show_default=False,
        ),
    ] = None,
    builder: Annotated[
        str | None,
        typer.Option(
            help="package.module:function, which returns (nn.Module, preprocessing, labels), for any other model.",
            show_default=False,
        ),
    ] = None,
    checkpoint_key: Annotated[
        str | None,
        typer.Option(
            help="Which of several state dicts in it: ema, or checkpoint.model; by default an averaged one (EMA) "
            "if there is one.",
            show_default=False,
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(help="A file of labels: a name a line, JSON, CSV, … (docs/labels.md).", show_default=False),
    ] = None,
    num_classes: Annotated[
        int | None, typer.Option(min=1, help="By default read from the checkpoint.", show_default=False)
    ] = None,
    resize: Annotated[
        str | None, typer.Option(help=f"{RESIZE_HELP} By default in proportion to the crop.", **_PREPROCESSING)
    ] = None,
    crop: Annotated[str | None, typer.Option(help=CROP_HELP, **_PREPROCESSING)] = None,
    channels: Annotated[int | None, typer.Option(help=CHANNELS_HELP, **_PREPROCESSING)] = None,
    mean: Annotated[str | None, typer.Option(help=MEAN_HELP, **_PREPROCESSING)] = None,
    std: Annotated[str | None, typer.Option(help=STD_HELP, **_PREPROCESSING)] = None,
    interpolation: Annotated[str | None, typer.Option(help="bilinear, bicubic, ….", **_PREPROCESSING)] = None,
    expect: Annotated[
        Path | None,
        typer.Option(
            help="Your own program's answers to some images (docs/expected.md): the file appears only if it gives the "
            "same; if not, the likely cause is named.",
            show_default=False,
        ),
    ] = None,
    activation: Annotated[
        str | None, typer.Option(help=f"{ACTIVATION_HELP} By default softmax.", show_default=False)
    ] = None,
    threshold: Annotated[
        str | None,
        typer.Option(
            help="Multi-label models: the probability from which a class counts as present, one for all classes or one "
            "for each: 0.4 or 0.4,0.5,0.7. By default 0.5.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="By default artifacts/MODEL.onnx, or MODEL-in-graph.onnx.", show_default=False
        ),
    ] = None,
    opset: Annotated[
        int,
        typer.Option(
            min=OLDEST_OPSET, max=NEWEST_OPSET, help="The version of ONNX's operators to write: lower for old runtimes."
        ),
    ] = DEFAULT_OPSET,
    exporter: Annotated[
        ExporterChoice,
        typer.Option(
            metavar="NAME",
            help="Which of torch's exporters: auto, dynamo or torchscript; auto takes the second where the first one "
            "fails.",
        ),
    ] = ExporterChoice.AUTO,
    transform_input: Annotated[
        bool | None,
        typer.Option(
            "--transform-input/--no-transform-input",
            help="Whether the network normalises its input once more, as torchvision's pretrained ones do (the "
            "default).",
            rich_help_panel="Checkpoints of GoogLeNet and Inception",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="With --weights none: seeds the random weights.")
    ] = ModelRequest.seed,
    no_evidence: NoEvidence = False,
    preprocess_in_graph: Annotated[
        bool,
        typer.Option(
            "--preprocess-in-graph",
            help="Take an image's pixels, uint8 (height, width, 3), and resize, crop and normalise inside ONNX: "
            "for C++, C#, Java, JavaScript.",
            rich_help_panel=_IN_GRAPH,
        ),
    ] = False,
    topk_in_graph: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Also give that many of the best classes: probabilities, numbers and labels.",
            rich_help_panel=_IN_GRAPH,
            show_default=False,
        ),
    ] = None,
) -> None:
    """Export a classifier to one ONNX file, and prove that the file gives PyTorch's answers.

    Examples:
      torchless export resnet50
      torchless export resnet18 --checkpoint mine.pth --labels mine.txt --crop 64

    The file appears only if it passes every check of the parity gate. Exit code 0 when it did, 2 for wrong usage, 5
    when it does not give PyTorch's answers, 6 when the weights are not available.
    """
    require_torch()
    from torchless.model.manifest import parse_activation
    from torchless.model.preprocessing import (
        PreprocessChanges,
        parse_channels,
        parse_crop,
        parse_interpolation,
        parse_resize,
    )
    from torchless_export.sources.ahead import check_export
    from torchless_export.sources.request import stem

    changes = PreprocessChanges(
        resize=parsed(parse_resize, resize),
        crop=parsed(parse_crop, crop),
        channels=parsed(parse_channels, channels),
        mean=numbers("--mean", mean),
        std=numbers("--std", std),
        interpolation=parsed(parse_interpolation, interpolation),
    )
    request = ModelRequest(
        model=model,
        weights=weights,
        checkpoint=checkpoint,
        checkpoint_key=checkpoint_key,
        builder=builder,
        labels=labels,
        num_classes=num_classes,
        activation=parsed(parse_activation, activation),
        threshold=parsed(_thresholds, threshold),
        transform_input=transform_input,
        changes=changes,
        seed=seed,
    )
    if topk_in_graph is not None and not preprocess_in_graph:
        raise UsageError("--topk-in-graph goes with --preprocess-in-graph")
    path = output or _DEFAULT_FOLDER / f"{stem(model)}{'-in-graph' * preprocess_in_graph}.onnx"
    exporters_for(opset, exporter.value)
    check_export(request, path, expect)
    told = progress()
    told("starting PyTorch")
    with no_search_for_garbage():
        from torchless_export.export import export_model
        from torchless_export.in_graph.build import InGraph

    exported = export_model(
        request,
        output=path,
        expect=expect,
        exporter=exporter.value,
        opset=opset,
        in_graph=InGraph(top_k=topk_in_graph) if preprocess_in_graph else None,
        evidence=not no_evidence,
        progress=told,
        bars=choose_bar,
    )
    say(as_flags(str(exported)))


def _thresholds(text: str) -> float | tuple[float, ...]:
    """One number, or one for each class. Raises UsageError."""
    try:
        values = tuple(float(part) for part in text.replace(",", " ").split())
    except ValueError:
        values = ()
    if not values:
        raise UsageError(f"--threshold takes a probability, or one for each class, such as 0.4,0.5,0.7; got {text!r}")
    return values if len(values) > 1 else values[0]
