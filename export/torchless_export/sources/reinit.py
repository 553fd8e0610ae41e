"""Give an untrained image classifier weights that make its logits worth comparing.

A freshly built torchvision model is useless for checking an export: its logits are
~0 (EfficientNet, ViT), or its blocks are hidden behind a 1e-6 scale (ConvNeXt), so
any tolerance passes.  This module draws random weights and then scales them, layer
after layer and in a single forward pass, by what each layer really sees.
"""

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from torchless_export.sources.images import noise, photos
from torchless_export.sources.transforms import Transform

_Affine = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d
_BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d
_Norm = _BatchNorm | nn.LayerNorm | nn.GroupNorm

_BIAS_STD = 0.1
_NORM_STD = 0.2
# Raw parameters (tokens, position tables, layer scales) below this are as good as
# absent; those above it, such as Swin V2's logit_scale, were chosen on purpose.
_TINY = 0.2
_RAW_STD = 1.0
# A pre-activation mean above 0 keeps ReLUs from halving every signal.  Centred ones
# amplify a small difference, rounding included, by 1.21 a layer; these by ~1.1.
_NORM_MEAN = 0.5
# Centring removes what is common to all images.  Where little else is left, scaling
# it back to 1 would amplify rounding errors too, so the gain is bounded.
_MAX_GAIN = 10.0
_IMAGE_STD = 1.5
_CLASS_STD = 1.3
_PARTS = 16


def calibration_batch(transform: Transform) -> torch.Tensor:
    """Photos and noise as a batch, (16, 3, crop, crop) float32: what an untrained model's scale is set on."""
    return torch.stack([transform(test.image) for test in (*photos(), *noise(seed=1))])


def reinitialise(module: nn.Module, images: torch.Tensor, *, seed: int) -> None:
    """Re-initialise a classifier in place, from ``images``; it is left in eval mode.

    ``images`` is (N, 3, H, W) float32, normalised, with N >= 8 differing images.
    """
    # A private generator leaves the caller's random state alone.
    generator = torch.Generator().manual_seed(seed)
    module.eval()
    with torch.no_grad():
        for child in module.modules():
            _randomise(child, generator)
        logits, classifier = _calibrate(module, images)
        _spread(classifier, logits, generator)


def _randomise(module: nn.Module, generator: torch.Generator) -> None:
    """Draw the parameters that ``module`` itself holds."""
    for name, parameter in module.named_parameters(recurse=False):
        noise = torch.randn(parameter.shape, generator=generator)
        if isinstance(module, _Norm):
            parameter.copy_(_norm_value(module, name, noise))
        elif not isinstance(module, _Affine | nn.MultiheadAttention):
            if parameter.abs().mean() < _TINY:
                parameter.copy_(_RAW_STD * noise)
        elif parameter.dim() > 1:
            fan_in = parameter[0].numel()
            parameter.copy_(noise / fan_in**0.5)
        else:
            parameter.copy_(_BIAS_STD * noise)


def _norm_value(module: nn.Module, name: str, noise: torch.Tensor) -> torch.Tensor:
    """Vary a gain around 1, or a shift; bounded, so that no gain comes near 0."""
    noise = _NORM_STD * noise.clamp(-2.5, 2.5)
    if name == "weight":
        return noise + 1
    return noise + _NORM_MEAN if isinstance(module, _BatchNorm) else noise


class _Calibration:
    """Hooks that scale a layer when it is first called, and note which came last."""

    def __init__(self) -> None:
        """Start with no layer seen."""
        self.seen: list[nn.Module] = []

    def norm(self, layer: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        """Before a batch norm: take the statistics of its input."""
        if isinstance(layer, _BatchNorm) and layer not in self.seen:
            self.seen.append(layer)
            _set_statistics(layer, args[0])

    def affine(self, layer: nn.Module, _args: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        """After a convolution or linear layer: what it gives once rescaled."""
        if not isinstance(layer, _Affine) or layer in self.seen:
            return output
        self.seen.append(layer)
        return _standardise(layer, output)


def _calibrate(module: nn.Module, images: torch.Tensor) -> tuple[torch.Tensor, _Affine]:
    """Scale every layer in one forward pass; return the logits and the last layer."""
    calibration = _Calibration()
    handles: list[RemovableHandle] = []
    for child in module.modules():
        if isinstance(child, _BatchNorm):
            handles.append(child.register_forward_pre_hook(calibration.norm))
        elif isinstance(child, _Affine):
            handles.append(child.register_forward_hook(calibration.affine))
    try:
        logits = module(images)
    finally:
        for handle in handles:
            handle.remove()
    return logits, [x for x in calibration.seen if isinstance(x, _Affine)][-1]


def _set_statistics(layer: _BatchNorm, inputs: torch.Tensor) -> None:
    """Give a batch norm its input's statistics, so that eval mode normalises."""
    variance, mean = _moments(inputs, 1)
    if layer.running_mean is not None and layer.running_var is not None:
        layer.running_mean.copy_(mean)
        layer.running_var.copy_(variance)


def _moments(values: torch.Tensor, channels: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Variance and mean of each channel; `channels` is its axis. Seven times as fast as torch.var_mean over several.

    In parts, so that what is between fits into memory that the process has already.
    """
    axes = [axis for axis in range(values.dim()) if axis != channels]
    mean = values.mean(axes, keepdim=True)
    squares = torch.stack([(part - mean).square_().sum(axes) for part in values.chunk(_PARTS)]).sum(dim=0)
    return squares * (mean.numel() / values.numel()), mean.flatten()


def _standardise(layer: _Affine, output: torch.Tensor) -> torch.Tensor:
    """Rescale a layer to an output of unit variance, each channel centred if it can."""
    channels = output.dim() - 1 if isinstance(layer, nn.Linear) else 1
    shape = [-1 if axis == channels else 1 for axis in range(output.dim())]
    if layer.bias is not None:
        output = output - layer.bias.view(shape)
    variance, mean = _moments(output, channels)
    rms = (variance + mean**2).mean().sqrt()
    scale = torch.maximum(variance.mean().sqrt(), rms / _MAX_GAIN)
    layer.weight.div_(scale)
    output = output.div_(scale)
    if layer.bias is None:
        return output
    layer.bias.sub_(mean / scale)
    return output.add_(layer.bias.view(shape))


def _spread(classifier: _Affine, logits: torch.Tensor, generator: torch.Generator) -> None:
    """Scale the last layer until each logit differs enough between images."""
    # Medians: one outlandish image (pure noise, say) must not flatten the others.
    distance = (logits - logits.median(dim=0).values).square().mean(dim=1).sqrt()
    # Scaling weight and bias scales the logits, even with a ReLU and pooling after.
    gain = _IMAGE_STD / distance.median()
    classifier.weight.mul_(gain)
    if classifier.bias is not None:
        noise = torch.randn(classifier.bias.shape, generator=generator)
        classifier.bias.mul_(gain).add_(_CLASS_STD * noise)
