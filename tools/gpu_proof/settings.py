"""What is proved and measured, and where the figures go."""

from dataclasses import dataclass
from pathlib import Path

from torchless_export.compare.subjects import LATER, TUTORIAL

ROOT = Path(__file__).parents[2]
MEASURED = ("resnet50", "mobilenet_v3_large", "vit_b_16")
MORE = ("resnet18", "densenet121", "efficientnet_b0", "convnext_tiny", "swin_t", "regnet_y_3_2gf", "maxvit_t")
# The first computes in float32 without TF32, as it was proved; the others round more.
TORCHLESS = ("torchless", "torchless_tf32", "torchless_fp16")
PYTORCH = ("pytorch", "pytorch_channels_last_autocast", "pytorch_compile_autocast")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """`models` are exported and proved, `measured` those whose times are compared with PyTorch's, by `peers`, in
    `batches`; `seconds` is for each of their settings, and `minutes` for all.
    """

    device: str
    models: tuple[str, ...]
    measured: tuple[str, ...]
    peers: tuple[str, ...]
    batches: tuple[int, ...]
    clients: tuple[int, ...]
    seconds: float
    minutes: float
    output: Path
    artifacts: Path
    log: Path

    @property
    def on_card(self) -> bool:
        """Whether a GPU is measured: only then are there figures for the pages."""
        return self.device.startswith("cuda")

    def kept(self) -> dict[str, object]:
        """What has to be equal for earlier figures to count."""
        return {"device": self.device, "batches": list(self.batches), "seconds": self.seconds}


def settings_for(device: str, *, full: bool = False, output: Path | None = None) -> Settings:
    """The quick set or the full one. Raises SystemExit where figures of a CPU would lie among those of GPUs."""
    on_card, pages = device.startswith("cuda"), ROOT / "figures"
    chosen = (output or (pages / "gpu" if on_card else ROOT / "build" / "gpu-proof-cpu")).resolve()
    if not on_card and chosen.is_relative_to(pages):
        raise SystemExit(f"{chosen} is for figures of GPUs; a trial with --device {device} goes elsewhere")
    return Settings(
        device=device,
        models=(*MEASURED, *(name for name in TUTORIAL + LATER if name not in MEASURED)),
        measured=MEASURED + MORE if full else MEASURED,
        peers=TORCHLESS + PYTORCH,
        batches=(1, 8, 32, 128),
        clients=(1, 8, 32, 128) if full else (1, 32),
        seconds=1.0 if full else 0.5,
        minutes=120 if full else 25,
        output=chosen,
        artifacts=ROOT / "artifacts" / "gpu-proof" if on_card else chosen / "artifacts",
        log=(ROOT / "build" if on_card else chosen) / "gpu-proof.log",
    )
