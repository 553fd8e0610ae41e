"""The verb `torchless inspect`, and an Inspection as text."""

from collections.abc import Iterator
from typing import Annotated

import typer

from torchless.cli.options import AsJson, ModelFile, placed, print_json
from torchless.cli.program import as_flags
from torchless.model.explanation import NAME_WIDTH, explained
from torchless.model.inspection import Inspection, Layer
from torchless.model.manifest import Manifest, Parity, Reduction
from torchless.model.seal import Seal
from torchless.process import say
from torchless.text import UNTRAINED, columns, megabytes, printable

_SEALS = {
    Seal.INTACT: "intact: this file is unchanged since it was exported",
    Seal.CHANGED: "BROKEN: the file was changed after it was sealed, so its verdict no longer holds",
    Seal.MISSING: "none: whether this is the file that was proved is unknown",
}


def inspect(
    model: ModelFile,
    device: Annotated[
        str | None,
        typer.Option(
            "--device", "-d", help="Load it on this device, and show how much of it runs there.", show_default=False
        ),
    ] = None,
    layers: Annotated[bool, typer.Option("--layers", help="List the layers too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what is in a model file: manifest, inputs, outputs, operators, parameters and, with --layers, its layers.

    The JSON has the layers in any case. Nothing is run, but with --device the model is loaded on that device; exit code
    4 when it is not available.
    """
    from torchless.model.inspection import inspect_model

    inspection = inspect_model(model)
    found = placed(inspection.file, device) if device is not None else None
    if as_json:
        print_json(inspection.to_dict() | ({"device": found} if found is not None else {}))
    else:
        say(inspection_text(inspection, with_layers=layers))
        if found is not None:
            say(_line("device", f"{found['used']}: {found['nodes']}"))


def register(app: typer.Typer) -> None:
    """Adds the verb to the program `torchless`."""
    app.command(no_args_is_help=True)(inspect)


def inspection_text(inspection: Inspection, *, with_layers: bool) -> str:
    """The lines of `torchless inspect`."""
    return "\n".join(
        [
            *_header(inspection),
            *(_line(*pair) for pair in _manifest(inspection.manifest, inspection.seal)),
            *_operators(inspection),
            _layer_count(inspection, with_layers=with_layers),
            *(_layers(inspection) if with_layers else ()),
        ]
    )


def _line(name: str, text: str) -> str:
    return f"{name:<{NAME_WIDTH}} {printable(text)}"


def _header(inspection: Inspection) -> Iterator[str]:
    file = inspection.file
    opsets = ", ".join(f"{domain} {version}" for domain, version in file.opsets.items())
    yield printable(
        f"{file.path}  {megabytes(file.file_size)}  opset {opsets}, IR version {file.ir_version}, by "
        f"{file.producer or 'unknown'}"
    )
    yield from (_line("input", f"{tensor.name}  {shape_text(tensor.shape)}") for tensor in inspection.inputs)
    yield from (_line("output", f"{tensor.name}  {shape_text(tensor.shape)}") for tensor in inspection.outputs)


def _manifest(manifest: Manifest | None, seal: Seal) -> Iterator[tuple[str, str]]:
    if manifest is None:
        yield "manifest", "none: this file does not say how its images are prepared (see: infer --help)"
        return
    model = manifest.model
    yield "model", model.name
    if not manifest.is_trained:
        yield "", UNTRAINED
    yield from ((name, as_flags(text)) for name, text in explained(manifest))
    yield from ((name, value) for name, value in (("url", model.url), ("sha256", model.sha256)) if value)
    if manifest.published is not None and manifest.published.acc1 is not None:
        found = manifest.published
        yield "published", f"top-1 {found.acc1} %, top-5 {found.acc5} % on {found.dataset}"
    yield "parity", _verdict(manifest.parity)
    if manifest.reduction is not None:
        source = f"{manifest.reduction.float_file} (SHA-256 {manifest.reduction.float_sha256[:16]}…)"
        yield "precision", f"{manifest.precision}, made from {source}"
        yield from (("", line) for line in _reduction(manifest.reduction))
    if manifest.recommended is not None:
        best = manifest.recommended
        device = f"--device {best.device} " if best.device != "cpu" else ""
        flags = f"{device}--threads {best.threads} --batch-size {best.batch_size}"
        yield "tuned", f"for {best.goal}: {flags} ({best.ms:.2f} ms a batch on {best.processor})"
    yield "seal", _SEALS[seal]
    if manifest.produced_by is not None:
        by = manifest.produced_by
        versions = f"torchless {by.torchless}, torch {by.torch}, torchvision {by.torchvision}"
        yield "made by", f"{versions}, exporter {by.exporter}"


def _verdict(parity: Parity | None) -> str:
    if parity is None:
        return "not proved: this file has no verdict of the parity gate"
    verdict = "passed" if parity.passed else "FAILED"
    if parity.rule == "decisions":
        told = next((check.detail for check in parity.checks if check.name == "decision"), f"{parity.images} images")
        return f"{verdict} on decisions: {told}"
    units = max((row.units for row in parity.metrics if row.units is not None), default=None)
    own = f" ({units:.2f} times PyTorch's own)" if units is not None else ""
    return (
        f"{verdict}, {len(parity.checks)} checks on {parity.images} images, largest logit error "
        f"{parity.max_abs_error:.2g}{own}"
    )


def _reduction(made: Reduction) -> Iterator[str]:
    if made.calibration is not None:
        kept = ", ".join(made.kept_float) or "none"
        weights = f"weights of {made.weight_bits} bits"
        yield f"{made.calibration.images} images calibrated, {weights}; nodes in float32: {kept}"
    if made.pace is not None:
        yield (
            f"{made.pace.ms:.2f} ms an image for {made.pace.float_ms:.2f} ms, with {made.pace.threads} threads "
            f"of {made.pace.processor}"
        )


def _operators(inspection: Inspection) -> Iterator[str]:
    yield _line("parameters", f"{inspection.parameters:,} in the graph{_trained_parameters(inspection.manifest)}")
    yield _line("operators", ", ".join(f"{kind} {count}" for kind, count in inspection.operators.items()))


def _trained_parameters(manifest: Manifest | None) -> str:
    count = manifest.model.num_params if manifest is not None else None
    return f", {count:,} in PyTorch (batch norms are folded into convolutions)" if count else ""


def _layer_count(inspection: Inspection, *, with_layers: bool) -> str:
    count = f"{len(inspection.layers)}{'' if with_layers else ': --layers lists them'}"
    return _line("layers", count if inspection.layers else "not listed in this file")


def _layers(inspection: Inspection) -> Iterator[str]:
    if not inspection.layers:
        return
    yield ""
    rows = [
        (_indented(layer), shape_text(layer.output_shape), f"{layer.parameters:,}" * bool(layer.parameters))
        for layer in inspection.layers
    ]
    rows.insert(0, ("layer", "output for one image", "parameters"))
    yield from columns(rows, "<<>")


def _indented(layer: Layer) -> str:
    name = layer.path.rsplit(".", 1)[-1]
    return f"{'  ' * layer.depth}{f'{name}: ' if name else ''}{layer.type}({layer.arguments})"


def shape_text(shape: tuple[int | str | None, ...] | None) -> str:
    return "×".join("?" if size is None else str(size) for size in shape) if shape is not None else ""


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.4g}" for value in values)
