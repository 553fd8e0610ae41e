"""PyTorch's side of the gate: its logits in float64, and how far its own float32 logits are from them.

No fixed tolerance fits all networks: one sums a thousand numbers where another sums ten. What PyTorch itself loses to
rounding is the natural unit. It is measured in three ways in which PyTorch may compute the same batch: as it comes, in
channels-last layout, and without oneDNN's kernels. (Not one image at a time: then the fault of a network that mixes the
images of a batch would look like rounding.)
"""

import copy
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from torchless.errors import first_line
from torchless.expected.causes import Network
from torchless_export.gate.beside import beside
from torchless_export.gate.limits import MAX_FLOAT64_PARAMETERS

Logits = NDArray[np.float64]
Rule = Literal["float64", "spread"]
# How PyTorch may compute: with its own kernels, whose results do not depend on the number of threads.
Own = Literal["float64", "without oneDNN"]


class Question(NamedTuple):
    """A batch that will be put to PyTorch: float32 (N, channels, height, width)."""

    batch: torch.Tensor
    in_all_ways: bool = True


@dataclass(frozen=True)
class Reference:
    """PyTorch's logits for a batch, float64 (N, classes), and its own error: the largest difference of its float32
    logits from them.

    Under the rule "spread" the logits are float32 ones, and `own_error` is None.
    """

    logits: Logits
    own_error: float | None


class Oracle:
    """Reference logits of a network in eval mode. `rule` is "float64", or "spread" where float64 is not available;
    `reason` says why.
    """

    def __init__(self, module: nn.Module, shape: tuple[int, int, int]) -> None:
        """`module` is left as it is, but in eval mode: an exported file has to equal that. `shape` is that of a
        prepared image, (channels, height, width).
        """
        self._module = module.eval()
        self._double: nn.Module | None = None
        self._channels_last: nn.Module | None = None
        self._ahead: list[tuple[Own, torch.Tensor, Callable[[], Logits]]] = []
        self.reason = self._prepare(shape)
        self.rule: Rule = "float64" if self.reason is None else "spread"

    def reference(self, batch: torch.Tensor, *, in_all_ways: bool = True) -> Reference:
        """`batch` is float32 (N, 3, H, W), prepared by PyTorch's own transform. Unless `in_all_ways`, PyTorch's own
        error is that of the batch as it comes alone.
        """
        with torch.inference_mode():
            plain = _numbers(self._module(batch).float())
            if self._double is None:
                return Reference(plain, None)
            exact = self._own("float64", batch)
            found = [plain, *(self._in_other_ways(batch) if in_all_ways else ())]
            own_error = max(float(np.abs(logits - exact).max()) for logits in found)
            return Reference(exact, own_error)

    @contextmanager
    def ahead(self, questions: Iterable[Question]) -> Iterator[None]:
        """While the block runs, another process begins to compute the reference of these batches, where it may.

        The answers are those to the network as it is now, whatever an exporter does to it.
        """
        asked: list[tuple[Own, torch.Tensor]] = []
        if self.rule == "float64":
            for batch, in_all_ways in questions:
                asked.append(("float64", batch))
                asked += [("without oneDNN", batch)] * in_all_ways
        # The longest first: then the two processes end at nearly the same time.
        asked.sort(key=lambda each: (each[0] == "float64", len(each[1])), reverse=True)
        with beside([partial(self._compute, *each) for each in asked]) as result:
            self._ahead = [(*each, partial(result, number)) for number, each in enumerate(asked)]
            try:
                yield
            finally:
                self._ahead = []

    def _in_other_ways(self, batch: torch.Tensor) -> Iterator[Logits]:
        yield self._own("without oneDNN", batch)
        if self._channels_last is not None:
            yield _numbers(self._channels_last(batch))

    def _own(self, way: Own, batch: torch.Tensor) -> Logits:
        """Bit for bit the same batch was computed ahead, or it is computed now."""
        known = (answer for other, asked, answer in self._ahead if other == way and torch.equal(asked, batch))
        return next(known, partial(self._compute, way, batch))()

    def _compute(self, way: Own, batch: torch.Tensor) -> Logits:
        with torch.inference_mode(), warnings.catch_warnings():
            if way == "float64" and self._double is not None:
                return _numbers(self._double(batch.double()))
            warnings.simplefilter("ignore")  # torch warns about its own way of reading a setting
            with torch.backends.mkldnn.flags(enabled=False):
                return _numbers(self._module(batch))

    def _prepare(self, shape: tuple[int, int, int]) -> str | None:
        """Makes the copies; gives the reason if float64 is not available."""
        size = sum(parameter.numel() for parameter in self._module.parameters())
        if size > MAX_FLOAT64_PARAMETERS:
            return (
                f"{size / 1e6:.0f} M parameters are too many for a float64 copy (the limit is "
                f"{MAX_FLOAT64_PARAMETERS / 1e6:.0f} M)"
            )
        example = torch.zeros(1, *shape)
        try:
            double = copy.deepcopy(self._module).double()
            with torch.inference_mode():
                kind = double(example.double()).dtype
        except Exception as error:  # the user's network may contain what cannot be copied, or numbers that stay float32
            return f"the network does not run in float64: {first_line(error)}"
        if kind != torch.float64:
            return f"the network turns float64 into {str(kind).removeprefix('torch.')} inside"
        self._double, self._channels_last = double, self._in_channels_last(example)
        return None

    def _in_channels_last(self, example: torch.Tensor) -> nn.Module | None:
        """None for a network that cannot run that way: some call view() on a convolution's output."""
        other = copy.deepcopy(self._module).to(memory_format=torch.channels_last)
        try:
            with torch.inference_mode():
                other(example)
        except Exception:  # whatever the user's network raises: one measurement less
            return None
        return other


def _numbers(logits: torch.Tensor) -> Logits:
    found: Logits = logits.double().numpy()
    return found


def run_alone(module: nn.Module) -> Network:
    """A function that runs one prepared image of any size, float32 (channels, height, width), and gives its logits
    (outputs,); None for a size that the network does not take.
    """

    def run(prepared: NDArray[np.float32]) -> NDArray[np.float32] | None:
        try:
            with torch.inference_mode():
                logits: NDArray[np.float32] = module(torch.from_numpy(prepared)[None])[0].numpy()
        except Exception:  # whatever the user's network raises
            return None
        return logits

    return run
