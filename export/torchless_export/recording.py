"""record: what the user's own pipeline gives for some images, written as `export --expect` and `verify --expect` read
it (docs/expected.md).
"""

import base64
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn

from torchless.codec import encode
from torchless.errors import UsageError, first_line
from torchless.expected.answers import MAX_FILE_BYTES, ExpectedRow
from torchless.files import atomic_path, reading

Recordable = str | PathLike[str] | bytes | Image.Image
Probabilities = Callable[[torch.Tensor], torch.Tensor]


def record(
    module: nn.Module,
    transform: Callable[[Image.Image], torch.Tensor],
    images: Iterable[Recordable],
    path: str | PathLike[str],
    *,
    probabilities: Probabilities | None = None,
    labels: Sequence[str] | None = None,
) -> None:
    """Writes to the file `path` what `module` gives for `images`, one at a time, in eval mode and float32.

    Images are paths, the bytes of image files, or Pillow images. `transform` gets an RGB image, as torchvision's
    folders hand it out, or the Pillow image as it is; it gives float32 (channels, height, width). `probabilities` is
    what your program makes of the module's output (1, classes), such as torch.sigmoid; `labels` are its names of the
    classes. Without these two, probabilities and names are not proved. The images are kept in the file.

    Raises UsageError for an image that cannot be read, and where `transform` or `module` gives something else.
    """
    recorder = _Recorder(module, transform, probabilities, labels)
    with _as_evaluated(module):
        lines = [json.dumps(encode(recorder.row(number, image))) + "\n" for number, image in enumerate(images)]
    if not lines:
        raise UsageError("there is no image to record")
    if (size := sum(map(len, lines))) > MAX_FILE_BYTES:
        raise UsageError(
            f"the answers take {size / 1e6:.0f} MB, the limit is {MAX_FILE_BYTES / 1e6:.0f}: give fewer images"
        )
    with atomic_path(path) as temporary:
        temporary.write_text("".join(lines), encoding="utf-8")


@dataclass(frozen=True)
class _Recorder:
    module: nn.Module
    transform: Callable[[Image.Image], torch.Tensor]
    probabilities: Probabilities | None
    labels: Sequence[str] | None

    def row(self, number: int, image: Recordable) -> ExpectedRow:
        name, data, opened = _opened(number, image)
        prepared = self.transform(opened)
        if not isinstance(prepared, torch.Tensor) or prepared.ndim != 3:
            raise UsageError(f"`transform` must give a tensor (channels, height, width), got {_shown(prepared)}")
        output = self.module(prepared[None].to(_device_of(self.module)))
        if not isinstance(output, torch.Tensor) or output.ndim != 2 or len(output) != 1:
            raise UsageError(f"for one image the module must give a tensor (1, classes), got {_shown(output)}")
        probabilities = self.probabilities(output) if self.probabilities is not None else None
        return ExpectedRow(
            image=name,
            logits=_numbers(output),
            probabilities=_numbers(probabilities) if probabilities is not None else None,
            label=self._label(output if probabilities is None else probabilities),
            data=base64.b64encode(data).decode(),
        )

    def _label(self, scores: torch.Tensor) -> str | None:
        """The most probable class's name. A single number is the probability, or else the logit, of the second of two
        labels.
        """
        if self.labels is None:
            return None
        if scores.shape[1] == 1 and len(self.labels) == 2:
            return self.labels[int(scores.item() > (0 if self.probabilities is None else 0.5))]
        if len(self.labels) != scores.shape[1]:
            raise UsageError(f"there are {len(self.labels)} labels, the module gives {scores.shape[1]} classes")
        return self.labels[int(scores.argmax())]


def _opened(number: int, image: Recordable) -> tuple[str, bytes, Image.Image]:
    """(name, encoded file, what the transform gets)"""
    if isinstance(image, Image.Image):
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        return f"image {number}", buffer.getvalue(), image
    name = f"image {number}" if isinstance(image, bytes) else os.path.basename(fspath(image))
    if isinstance(image, bytes):
        data = image
    else:
        with reading(image):
            data = Path(image).read_bytes()
    try:
        return name, data, Image.open(io.BytesIO(data)).convert("RGB")
    except Exception as error:  # decoders raise anything
        raise UsageError(f"cannot read the image {name}: {first_line(error)}") from error


@contextmanager
def _as_evaluated(module: nn.Module) -> Iterator[None]:
    """The module in eval mode, without gradients, and in full float32 on a GPU too."""
    training = {child: child.training for child in module.modules()}
    precision = torch.get_float32_matmul_precision()
    module.eval()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)
        for child, mode in training.items():
            child.training = mode


def _device_of(module: nn.Module) -> torch.device:
    parameter = next(module.parameters(), None)
    return parameter.device if parameter is not None else torch.device("cpu")


def _numbers(row: torch.Tensor) -> tuple[float, ...]:
    return tuple(row[0].float().cpu().tolist())


def _shown(value: Any) -> str:
    return f"{tuple(value.shape)}" if isinstance(value, torch.Tensor) else type(value).__name__
