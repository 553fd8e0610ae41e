"""Whether PyTorch's answers can be compared with at all: an image must get the same logits when it is asked for again,
and in company. No exporter can mend a network that breaks this.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from torchless.errors import first_line
from torchless.model.manifest import Check
from torchless_export.gate.limits import MAX_REFERENCE_SHARE
from torchless_export.sources import images
from torchless_export.sources.load import LoadedModel

_SMALLEST = float(torch.finfo(torch.float32).tiny)  # of logits that are all 0

_BATCH_AXIS = "look in its forward() for what takes a mean, a maximum or a softmax over the batch axis, or reshapes it"


class _Fault(NamedTuple):
    """What PyTorch does, and the advice where the module at fault is not known better."""

    what: str
    advice: str


_RANDOM = _Fault(
    "PyTorch gives a photo other logits when it is asked again",
    "what is random must end with module.eval(): use nn.Dropout, or F.dropout(x, p, training=self.training)",
)
_MIXING = _Fault("PyTorch gives a photo other logits in a batch of two than alone", _BATCH_AXIS)


def check_reference(loaded: LoadedModel) -> Check:
    """Asks the network, in eval mode, for a batch of two photos twice, and for the first of them alone.

    The figure is how far a logit moves, as a share of the largest one. The detail of a network that fails says how it
    fails, in which module as far as that can be seen, and what to do.
    """
    module = loaded.module.eval()
    pair = torch.stack([loaded.transform(photo.image) for photo in images.gate_sets(loaded.size)["photos"][:2]])
    alone = pair[:1]
    with torch.inference_mode():
        wanted = module(alone)
        try:
            together, again = module(pair), module(pair)
        except Exception as error:  # whatever the network raises
            return _failed(f"PyTorch cannot run the network on two photos at once ({first_line(error)}): {_BATCH_AXIS}")
    if together.shape != (2, *wanted.shape[1:]):
        shapes = f"{tuple(wanted.shape)} for one photo, {tuple(together.shape)} for two"
        return _failed(f"PyTorch gives logits of shape {shapes}: {_BATCH_AXIS}")
    if not all(bool(logits.isfinite().all()) for logits in (wanted, together, again)):
        return _failed("PyTorch's own logits of a photo are NaN or infinite: look at the weights, and at mean and std")
    shares = {_RANDOM: _share(again, together), _MIXING: _share(together, wanted)}
    for fault, share in shares.items():
        if share > MAX_REFERENCE_SHARE:
            why = _explain(fault, module, alone if fault is _MIXING else pair, pair)
            return _failed(f"{fault.what}, by {share:.2g} of the largest logit. {why}", share)
    return Check(
        name="reference",
        passed=True,
        figure=max(shares.values()),
        limit=MAX_REFERENCE_SHARE,
        detail="PyTorch itself: photos twice, and one alone against in a batch",
    )


def _failed(detail: str, figure: float = float("inf")) -> Check:
    return Check(name="reference", passed=False, figure=figure, limit=MAX_REFERENCE_SHARE, detail=detail)


def _share(got: torch.Tensor, wanted: torch.Tensor) -> float:
    """How far the numbers in `got` are from those in `wanted`, as a share of the largest one. `got` may go on, as a
    larger batch does; 0 where they cannot be compared, since the batch axis is not the first.
    """
    mine = got[: len(wanted)] if wanted.ndim else got
    if mine.shape != wanted.shape or not wanted.numel():
        return 0.0
    return float((mine.double() - wanted.double()).abs().max()) / max(float(wanted.abs().max()), _SMALLEST)


def _explain(fault: _Fault, module: nn.Module, first: torch.Tensor, second: torch.Tensor) -> str:
    """Where it happens, and what to do."""
    name = _culprit(module, first, second)
    if name is None:
        return f"Where was not found; {fault.advice}"
    found = module.get_submodule(name)
    return f"It happens in {name or 'the network itself'} ({type(found).__name__}): {_advice(fault, found)}"


def _advice(fault: _Fault, found: nn.Module) -> str:
    if found.training:
        return "it is in training mode even after module.eval(); look for what overrides its train() or eval()"
    if isinstance(found, _BatchNorm) and found.running_mean is None:
        return "it has no running statistics, and so takes those of the batch; train it with track_running_stats=True"
    return fault.advice


class _Call(NamedTuple):
    module: str
    inputs: Sequence[torch.Tensor]
    output: torch.Tensor


def _culprit(module: nn.Module, first: torch.Tensor, second: torch.Tensor) -> str | None:
    """The first module to finish that gets the same for the first image of both batches, and gives something else."""
    for one, other in zip(_calls(module, first), _calls(module, second), strict=False):
        same_inputs = one.module == other.module and not any(map(_differs, other.inputs, one.inputs))
        if same_inputs and _differs(other.output, one.output):
            return one.module
    return None


def _differs(got: torch.Tensor, wanted: torch.Tensor) -> bool:
    return _share(got, wanted) > MAX_REFERENCE_SHARE


def _calls(module: nn.Module, batch: torch.Tensor) -> list[_Call]:
    """Every call of a module that returns a tensor of floats, in the order in which they finish."""
    calls: list[_Call] = []
    open_inputs: list[list[torch.Tensor]] = []

    def before(_module: nn.Module, inputs: tuple[Any, ...]) -> None:
        open_inputs.append([value.clone() for value in inputs if _is_float(value)])  # it may work in place

    def after(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            inputs = open_inputs.pop()
            if _is_float(output):
                calls.append(_Call(name, inputs, output.clone()))

        return hook

    handles = [child.register_forward_pre_hook(before) for child in module.modules()]
    handles += [child.register_forward_hook(after(name)) for name, child in module.named_modules()]
    try:
        with torch.inference_mode():
            module(batch)
    finally:
        for handle in handles:
            handle.remove()
    return calls


def _is_float(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point()
