"""`torchless compare`: parse, call compare, print."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from torchless.cli.by_name import BY_NAME
from torchless.cli.options import AsJson, print_json
from torchless.cli.program import as_flags, flag_of
from torchless.errors import UsageError
from torchless.process import say, tell
from torchless_export.cli.options import require_torch
from torchless_export.compare.recommend import Limits
from torchless_export.compare.request import Request, Settings

if TYPE_CHECKING:
    from torchless_export.compare.compare import Compared

_MODELS = (
    "Artifacts (.onnx files, or where they are: docs/names.md), names of torchvision classifiers, tutorial (35 of "
    "them, a few of each family) or all."
)
_ERRORS: dict[str, Any] = {"rich_help_panel": "Errors", "show_default": False}
_LIMITS: dict[str, Any] = {"rich_help_panel": "Limits for the recommended model", "show_default": False, "min": 0}


def compare(
    models: Annotated[list[str], typer.Argument(metavar="MODEL...", help=_MODELS, show_default=False), BY_NAME],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="The folder for comparison.json, charts (PNG and SVG), report.html and all measurements.",
        ),
    ] = Path("comparison"),
    weights: Annotated[
        str,
        typer.Option(
            help="For names that have no file yet: DEFAULT, a name such as IMAGENET1K_V1, or none (time and size "
            "do not depend on them)."
        ),
    ] = Request.weights,
    artifacts: Annotated[
        Path, typer.Option(metavar="FOLDER", help="The folder of exported files, for names.")
    ] = Request.artifacts,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="Measure the errors on these labelled images (as evaluate takes them); by default torchvision's "
            "published errors are shown.",
            **_ERRORS,
        ),
    ] = None,
    class_map: Annotated[
        Path | None, typer.Option(help="With --data: which folder or name is which class, as for evaluate.", **_ERRORS)
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="With --data: only this many images, drawn at random.", **_ERRORS)
    ] = None,
    published: Annotated[
        str,
        typer.Option(help="For models without weights: show the errors published for these.", rich_help_panel="Errors"),
    ] = Request.published,
    device: Annotated[
        str,
        typer.Option("--device", "-d", help="auto: the CPU, and the GPU if there is one; or only cpu, cuda or cuda:N."),
    ] = Settings.device,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads per forward pass; by default all.", show_default=False)
    ] = None,
    measurements: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Take the GPU times from this measurements.json, which compare wrote on a machine with a GPU.",
            show_default=False,
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How many times to measure each model.")] = Settings.rounds,
    seconds: Annotated[float, typer.Option(help="How long to run single images, each time.")] = Settings.seconds,
    max_latency_ms: Annotated[
        float | None,
        typer.Option(help="Milliseconds for one image, on the CPU (with --device cuda on the GPU).", **_LIMITS),
    ] = None,
    max_size_mb: Annotated[float | None, typer.Option(help="Megabytes (10⁶ bytes) of the file.", **_LIMITS)] = None,
    min_acc1: Annotated[float | None, typer.Option(help="Percent of top-1 accuracy.", max=100, **_LIMITS)] = None,
    as_json: AsJson = False,
) -> None:
    """Compare models by error, time on this machine and size, with charts and a report, and recommend one.

    Examples:
      torchless compare resnet50 mobilenet_v2 --max-latency-ms 20
      torchless compare artifacts/*.onnx --data val/ -o comparison

    Leave the machine alone while it runs. If it is interrupted, the same command goes on from there.

    Exit code 0 when all is well, 1 when a model could not be measured, 2 for wrong usage, 3 when a file is missing or
    damaged, 4 when the device is not available, 5 and 6 as for export, 130 after Ctrl-C.
    """
    from torchless_export.compare.compare import compare as run
    from torchless_export.compare.subjects import SETS, is_file
    from torchless_export.sources.ahead import check_names

    if names := [model for model in models if not is_file(model)]:
        require_torch()
        check_names(set(names) - SETS, weights)
    if data is None and (class_map is not None or limit is not None):
        raise UsageError("--class-map and --limit go with --data")
    request = Request(
        models=models,
        weights=weights,
        published=published,
        artifacts=artifacts,
        data=data,
        class_map=class_map,
        limit=limit,
        measurements=measurements,
        settings=Settings(device=device, threads=threads, rounds=rounds, seconds=seconds),
        limits=Limits(max_latency_ms=max_latency_ms, max_size_mb=max_size_mb, min_acc1=min_acc1),
    )
    try:
        found = run(request, output, progress=lambda line: tell(as_flags(line)))
    except KeyboardInterrupt:
        tell(f"interrupted; the same command continues from what is in {output}")
        raise typer.Exit(130) from None
    _show(found, output, as_json=as_json)
    if found.comparison.failures:
        raise typer.Exit(1)


def _show(found: "Compared", output: Path, *, as_json: bool) -> None:
    from torchless.codec import encode
    from torchless_export.compare.text import comparison_text, recommendation_lines

    if as_json:
        print_json({"comparison": found.comparison.to_dict(), "recommendation": encode(found.recommendation)})
    else:
        say(
            "\n".join(
                [
                    comparison_text(found.comparison),
                    "",
                    *recommendation_lines(found.recommendation, found.where, spelled=flag_of),
                ]
            )
        )
    tell(f"written to {output}: report.html, comparison.json, charts as PNG and SVG")
