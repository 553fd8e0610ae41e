"""The verb `torchless serve`: its options, in words. Everything heavy is imported when it runs."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from torchless.cli.by_name import BY_NAME
from torchless.cli.options import (
    Activation,
    Address,
    Background,
    Channels,
    Crop,
    DecodeOption,
    Device,
    Engine,
    EngineOption,
    Exif,
    Interpolation,
    Labels,
    ManifestFile,
    MaxMegapixels,
    Mean,
    ModelFlags,
    RequireSignature,
    Resize,
    Std,
    Threads,
    Threshold,
    Truncated,
    ValueRange,
)
from torchless.errors import UsageError, extra
from torchless.image.options import ImageOptions
from torchless.serve.settings import MEGA, Settings, read_keys

_LIMITS: dict[str, Any] = {"rich_help_panel": "Limits"}
_SECURITY: dict[str, Any] = {"rich_help_panel": "Security"}
_PROCESSORS: dict[str, Any] = {"rich_help_panel": "Processors and batches"}


class Versions(StrEnum):
    """The values of --versions."""

    LATEST = "latest"
    ALL = "all"


class LogFormat(StrEnum):
    """The values of --log-format."""

    TEXT = "text"
    JSON = "json"


def serve(
    models: Annotated[
        list[Path],
        typer.Argument(
            help="Exported .onnx files, folders of them, folders of versions (NAME/1/…), or where models are: "
            "https://…, hf:OWNER/REPO, s3://… (docs/names.md); the first is the default.",
            show_default=False,
        ),
        BY_NAME,
    ],
    host: Annotated[
        str, typer.Option(help="The address to listen on; 0.0.0.0 means every address of this machine.")
    ] = Settings.host,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 picks a free one.")] = Settings.port,
    grpc_port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, help="Serve the Open Inference Protocol over gRPC too, on this port.", show_default=False
        ),
    ] = None,
    device: Device = Settings.opening.device,
    threads: Threads = Settings.opening.threads,
    labels: Labels = None,
    exif: Exif = Settings.opening.image_options.apply_exif,
    decode: DecodeOption = None,
    max_megapixels: MaxMegapixels = Settings.opening.image_options.max_pixels / 1e6,
    truncated: Truncated = ImageOptions.truncated,
    value_range: ValueRange = None,
    background: Background = None,
    threshold: Threshold = None,
    require_signature: RequireSignature = None,
    workers: Annotated[
        int,
        typer.Option(
            min=1, help="Whole servers that share the port and the processors; one is usually best.", **_PROCESSORS
        ),
    ] = Settings.workers,
    processes: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Processes of each server that work on images, apart from it; with 0 its threads do. By default one "
            "for each processor, for models of up to 64 MB on a CPU.",
            show_default=False,
            **_PROCESSORS,
        ),
    ] = None,
    max_batch_size: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="At most this many images run through a model at once. By default 8 on a GPU and 1 on a CPU, where "
            "batches are slower.",
            show_default=False,
            **_PROCESSORS,
        ),
    ] = None,
    batch_delay_ms: Annotated[
        float,
        typer.Option(
            min=0,
            help="How long a batch may wait for images that are being decoded. A lone one never waits.",
            **_PROCESSORS,
        ),
    ] = Settings.batch_delay_ms,
    max_queue: Annotated[
        int, typer.Option(min=1, help="Images that may wait; more are refused with 503.", **_LIMITS)
    ] = Settings.max_queue,
    deadline_s: Annotated[
        float, typer.Option(min=0.001, help="A request that takes longer gets 504.", **_LIMITS)
    ] = Settings.deadline_s,
    max_body_mb: Annotated[
        float, typer.Option(min=0.001, help="The largest body of one request, in MB (10⁶ bytes).", **_LIMITS)
    ] = Settings.max_body_bytes / MEGA,
    max_bodies_mb: Annotated[
        float,
        typer.Option(min=0.001, help="The most that all requests together may hold, in MB (10⁶ bytes).", **_LIMITS),
    ] = Settings.max_bodies_bytes / MEGA,
    max_gpu_mb: Annotated[
        float | None,
        typer.Option(
            min=1,
            help="The most of a CUDA GPU's memory that ONNX Runtime holds for each model, in MB (10⁶ bytes).",
            show_default=False,
            **_LIMITS,
        ),
    ] = None,
    max_connections: Annotated[
        int,
        typer.Option(
            min=1, help="Connections of each process; for more, those that wait for their client are closed.", **_LIMITS
        ),
    ] = Settings.max_connections,
    body_timeout_s: Annotated[
        float, typer.Option(min=0.001, help="A body that takes longer to arrive gets 408.", **_LIMITS)
    ] = Settings.body_timeout_s,
    header_timeout_s: Annotated[
        float, typer.Option(min=0.001, help="A client that takes longer to send its headers is cut off.", **_LIMITS)
    ] = Settings.header_timeout_s,
    drain_delay_s: Annotated[
        float,
        typer.Option(
            min=0,
            help="After SIGTERM: how long to keep serving while not ready, so that load balancers notice.",
            **_LIMITS,
        ),
    ] = Settings.drain_delay_s,
    api_key_file: Annotated[
        Path | None,
        typer.Option(
            help="Require one of the keys in this file, one per line, as a bearer token.",
            show_default=False,
            **_SECURITY,
        ),
    ] = None,
    cors_origin: Annotated[
        list[str] | None,
        typer.Option(help="Let pages of this origin use the server; may be repeated.", show_default=False, **_SECURITY),
    ] = None,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(
            help="Answer to this name too, such as example.org or *.example.org; may be repeated. Without API keys "
            "the server answers only to localhost and its own address.",
            show_default=False,
            **_SECURITY,
        ),
    ] = None,
    root_path: Annotated[
        str, typer.Option(help="The path under which a proxy shows the server, such as /cats.", show_default=False)
    ] = Settings.root_path,
    trusted_proxy: Annotated[
        list[str] | None,
        typer.Option(
            help="Believe the header X-Forwarded-Prefix of this address or network; may be repeated. By default that "
            "of this machine.",
            show_default=False,
            **_SECURITY,
        ),
    ] = None,
    versions: Annotated[
        Versions | None,
        typer.Option(
            help="Of a model that has several (NAME/1/…, NAME/2/…): latest (the default) or all.", show_default=False
        ),
    ] = None,
    poll_s: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            help="Look this often for files that are new, changed or gone. A new one serves once it has given here the "
            "answers of PyTorch that it carries. Off by default.",
            show_default=False,
        ),
    ] = None,
    allow_model_control: Annotated[
        bool,
        typer.Option("--allow-model-control", help="Let requests load and unload the models given here.", **_SECURITY),
    ] = False,
    self_test: Annotated[
        bool,
        typer.Option(
            "--self-test",
            help="Serve a model only if it gives here the answers of PyTorch that it carries: otherwise exit code 5.",
            **_SECURITY,
        ),
    ] = False,
    log_format: Annotated[
        LogFormat | None,
        typer.Option(help="text (the default), or json: one object per line. Logs go to stderr.", show_default=False),
    ] = None,
    manifest: ManifestFile = None,
    resize: Resize = None,
    crop: Crop = None,
    channels: Channels = None,
    mean: Mean = None,
    std: Std = None,
    interpolation: Interpolation = None,
    activation: Activation = None,
    engine: EngineOption = None,
    address: Address = None,
) -> None:
    """Serve models over HTTP: images in, labels out.

    Examples:
      torchless serve resnet50.onnx
      torchless serve artifacts/ --port 9000 --api-key-file keys.txt
      curl --data-binary @cat.jpg http://127.0.0.1:8000/classify

    It also speaks the Open Inference Protocol (KServe, Triton), and has metrics and a page to try it at /
    (docs/serving.md).
    """
    flags = ModelFlags(
        device=device,
        threads=threads,
        labels=labels,
        exif=exif,
        decode=decode,
        max_megapixels=max_megapixels,
        truncated=truncated,
        value_range=value_range,
        background=background,
        threshold=threshold,
        require_signature=require_signature,
        max_gpu_mb=max_gpu_mb,
        manifest=manifest,
        resize=resize,
        crop=crop,
        channels=channels,
        mean=mean,
        std=std,
        interpolation=interpolation,
        activation=activation,
    )
    settings = Settings(
        models=tuple(models),
        host=host,
        port=port,
        grpc_port=grpc_port,
        workers=workers,
        opening=flags.parse(),
        processes=processes,
        max_batch_size=max_batch_size,
        batch_delay_ms=batch_delay_ms,
        max_queue=max_queue,
        deadline_s=deadline_s,
        body_timeout_s=body_timeout_s,
        header_timeout_s=header_timeout_s,
        drain_delay_s=drain_delay_s,
        max_body_bytes=int(max_body_mb * MEGA),
        max_bodies_bytes=int(max_bodies_mb * MEGA),
        max_connections=max_connections,
        api_keys=read_keys(api_key_file) if api_key_file is not None else (),
        cors_origins=tuple(cors_origin or ()),
        allowed_hosts=tuple(allowed_host or ()),
        root_path=root_path,
        trusted_proxies=tuple(trusted_proxy or Settings.trusted_proxies),
        versions=(versions or Versions.LATEST).value,
        poll_s=poll_s,
        allow_model_control=allow_model_control,
        self_test=self_test,
        log_format=(log_format or LogFormat.TEXT).value,
    )
    if address is not None and engine is not Engine.RAY:
        raise UsageError("--address names a Ray cluster: add --engine ray")
    with extra("serve", "torchless serve"):
        from torchless.serve.start import serve as run
    if grpc_port is not None:
        with extra("grpc", "gRPC"):
            import torchless.serve.grpc.server  # noqa: F401
    if engine is Engine.RAY:
        from torchless.ray.serve import serve_on_ray

        serve_on_ray(settings, address)
        return
    run(settings)


def register(app: typer.Typer) -> None:
    """Adds the verb to the program `torchless`."""
    app.command(no_args_is_help=True)(serve)
