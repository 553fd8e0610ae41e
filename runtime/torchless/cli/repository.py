"""The verb `torchless repository`."""

import shlex
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from torchless.cli.by_name import BY_NAME
from torchless.cli.options import print_json
from torchless.errors import UsageError
from torchless.triton.options import TritonOptions

_KSERVE: dict[str, Any] = {"rich_help_panel": "KServe"}


class RepositoryDevice(StrEnum):
    """--device: what Triton calls the kind of an instance group."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


def repository(
    models_and_repository: Annotated[
        list[Path],
        typer.Argument(
            metavar="MODEL... REPO",
            help="Exported .onnx files, or where they are (docs/names.md), and last the repository folder.",
            show_default=False,
        ),
        BY_NAME,
    ],
    max_batch_size: Annotated[
        int, typer.Option(min=1, help="At most this many images run through a model at once.")
    ] = TritonOptions.max_batch_size,
    delay_us: Annotated[
        int, typer.Option(min=0, help="Microseconds that a request may wait to be batched with others.")
    ] = TritonOptions.delay_us,
    instances: Annotated[
        int, typer.Option(min=1, help="Copies of each model that run at once, on each GPU or on the processors.")
    ] = TritonOptions.instances,
    device: Annotated[
        RepositoryDevice | None,
        typer.Option(
            "--device", "-d", help="cpu, cuda, or auto (the default): the GPUs if there are any.", show_default=False
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Threads of each instance on the processors; by default this machine's processors, or with --kserve "
            "those of a replica, shared among the instances.",
            show_default=False,
        ),
    ] = None,
    tensorrt: Annotated[
        bool,
        typer.Option(
            "--tensorrt", help="Run with TensorRT on the GPUs; the first start takes minutes, and the answers differ."
        ),
    ] = TritonOptions.tensorrt,
    kserve: Annotated[
        str | None,
        typer.Option(
            help="Where REPO will be copied to (s3://…, gs://…, pvc://…): prints an InferenceService for it.",
            show_default=False,
            **_KSERVE,
        ),
    ] = None,
) -> None:
    """Put models into a model repository of NVIDIA's Triton Inference Server: versions, configuration, labels, batches,
    warm-up.

    Examples:
      torchless repository resnet50.onnx models/
      tritonserver --model-repository=models/
      torchless repository a.onnx models/ --kserve s3://bucket/models > s.json

    A model that already exists gets its next version, unless it is the same file (docs/scaling.md).
    """
    from torchless.process import tell
    from torchless.triton.kserve import REPLICA_CPUS, inference_service, service_name
    from torchless.triton.repository import write_repository

    *models, folder = models_and_repository
    if not models:
        raise UsageError(
            "name at least one model, and then the folder to put it in: torchless repository resnet50.onnx models/"
        )
    if folder.suffix == ".onnx" and models[0].suffix != ".onnx":
        raise UsageError(
            f"the folder comes last: {shlex.join(['torchless', 'repository', str(folder), str(models[0])])}"
        )
    place = device.value if device is not None else TritonOptions.device
    service = (
        inference_service(service_name(folder.resolve().name), kserve, device=place) if kserve is not None else None
    )
    if threads is None and kserve is not None:
        threads = max(1, REPLICA_CPUS // instances)
    options = TritonOptions(
        max_batch_size=max_batch_size,
        delay_us=delay_us,
        instances=instances,
        device=place,
        threads=threads,
        tensorrt=tensorrt,
    )
    for placed in write_repository(models, folder, options):
        batches = (
            f"batches up to {max_batch_size}"
            if placed.interface.batched
            else "one image at a time: the graph has no batch axis"
        )
        tell(f"{folder / placed.name / str(placed.version)}  {'' if placed.is_new else 'unchanged, '}{batches}")
    if service is not None:
        print_json(service)


def register(app: typer.Typer) -> None:
    """Adds the verb to the program `torchless`."""
    app.command(no_args_is_help=True)(repository)
