"""The settings of `torchless serve`."""

from collections.abc import Mapping
from dataclasses import field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from torchless.cpus import available_cpus
from torchless.engine.options import ModelOptions
from torchless.errors import UsageError
from torchless.image.options import ImageOptions
from torchless.records import dataclass
from torchless.serve.hosts import check_allowed
from torchless.serve.prefix import Prefix

if TYPE_CHECKING:
    from torchless.serve.repository import Key, Origin

MEGA = 10**6  # bytes: MB means this everywhere
_BATCH_SIZE = 8  # where batches pay: on processors they do not (docs/performance.md)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Checked on creation; raises UsageError. It is sent to worker processes and holds only data.

    `opening` says how each model is opened; if its threads are None, a lone image uses all processors, and images that
    come together use one each. `max_cpus` limits the processors of one process. `max_queue` counts waiting images.
    `self_test`: a model is served only if it gives the answers of PyTorch that it carries (docs/verify.md).
    gRPC is served on `grpc_port`, if that is not None. `max_body_bytes` is for one request, `max_bodies_bytes` for all
    that are held at once. `allowed_hosts` are names by
    which the server is reached, besides its address; `root_path` is the path under which a proxy shows it, unless one
    of `trusted_proxies` says another. `max_connections` is for each process. `versions` says which versions of a model
    are served, where a folder has several. Every `poll_s` seconds, if that is not None, files are looked at again, and
    served if they give the answers of PyTorch that they carry. `pinned` are the models that worker processes load:
    copies of what their parent has loaded.
    """

    models: tuple[Path, ...]
    host: str = "127.0.0.1"
    port: int = 8000
    grpc_port: int | None = None
    workers: int = 1
    processes: int | None = None
    opening: ModelOptions = ModelOptions(image_options=ImageOptions(max_pixels=50_000_000))
    max_batch_size: int | None = None
    batch_delay_ms: float = 0.0
    max_queue: int = 256
    deadline_s: float = 30.0
    body_timeout_s: float = 30.0
    header_timeout_s: float = 10.0
    drain_delay_s: float = 1.0
    max_body_bytes: int = 32 * MEGA
    max_bodies_bytes: int = 512 * MEGA
    max_connections: int = 1000
    api_keys: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    root_path: str = ""
    trusted_proxies: tuple[str, ...] = ("127.0.0.0/8", "::1")
    versions: Literal["latest", "all"] = "latest"
    poll_s: float | None = None
    allow_model_control: bool = False
    self_test: bool = False
    log_format: Literal["text", "json"] = "text"
    max_cpus: int | None = None
    pinned: "Mapping[Key, Origin]" = field(default_factory=dict)

    def __post_init__(self) -> None:
        for one in fields(self):
            value, least = getattr(self, one.name), _LEAST.get(one.name)
            if least is not None and value is not None and not least <= value < float("inf"):
                raise UsageError(f"`{one.name}` must be at least {least}, got {value}")
        for entry in self.allowed_hosts:
            check_allowed(entry)
        Prefix(self.root_path, self.trusted_proxies)
        if self.max_body_bytes > self.max_bodies_bytes:
            raise UsageError(
                f"all bodies together may use {self.max_bodies_bytes / MEGA:g} MB (`max_bodies_bytes`), "
                f"which is less than one: {self.max_body_bytes / MEGA:g} (`max_body_bytes`)"
            )
        if self.grpc_port == self.port != 0:
            raise UsageError(f"HTTP and gRPC cannot share port {self.port}: choose another `grpc_port`")
        if self.grpc_port == 0 and self.workers > 1:
            raise UsageError("each of several `workers` would pick a free port for gRPC; name one with `grpc_port`")
        if self.allow_model_control and self.poll_s is not None:
            raise UsageError(
                "`poll_s` loads and unloads what changes, and would undo what requests do; choose it or "
                "`allow_model_control`"
            )
        if self.allow_model_control and self.workers > 1:
            raise UsageError(
                "model control reaches one process; with `workers` above 1 the others would keep the old model"
            )

    @property
    def cpus(self) -> int:
        """The processors of each worker process: its share of this machine's, but at most `max_cpus`."""
        share = max(1, available_cpus() // self.workers)
        return min(share, self.max_cpus or share)

    @property
    def image_processes(self) -> int:
        """How many processes work on images beside each server: by default one for each of its processors, if there are
        several, and if neither threads nor batches were asked for.
        """
        if self.processes is not None:
            return self.processes
        batches = self.batch_delay_ms > 0 or (self.max_batch_size or 1) > 1
        return 0 if self.cpus == 1 or batches or self.opening.threads is not None else self.cpus

    def batch_size(self, *, exclusive: bool) -> int:
        """The most images that run at once: on a device that one batch occupies, or on processors."""
        return self.max_batch_size or (_BATCH_SIZE if exclusive or self.batch_delay_ms > 0 else 1)


_LEAST = {
    "port": 0, "grpc_port": 0, "workers": 1, "processes": 0, "max_batch_size": 1,
    "batch_delay_ms": 0, "max_queue": 1, "deadline_s": 0.001,
    "body_timeout_s": 0.001, "header_timeout_s": 0.001, "drain_delay_s": 0, "max_body_bytes": 1, "max_bodies_bytes": 1,
    "max_connections": 1, "poll_s": 0.1,
}  # fmt: skip


def read_keys(path: Path) -> tuple[str, ...]:
    """The API keys in a file, one per line, of at least 16 characters each. Raises UsageError, which shows no key."""
    try:
        keys = tuple(line.strip() for line in path.read_text(encoding="ascii").splitlines() if line.strip())
    except (OSError, ValueError) as error:
        raise UsageError(
            f"cannot read the API keys {path}: {getattr(error, 'strerror', None) or 'it is not ASCII'}"
        ) from None
    if not keys:
        raise UsageError(f"{path} holds no key; write one per line, for example: openssl rand -hex 32 > {path}")
    if any(len(key) < 16 or " " in key for key in keys):
        raise UsageError(f"{path}: a key has at least 16 characters and no space; make one with: openssl rand -hex 32")
    return keys
