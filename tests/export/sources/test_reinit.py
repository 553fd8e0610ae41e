"""Random weights: what they are scaled by."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from torchless_export.sources.reinit import _moments


@given(
    shape=st.lists(st.integers(1, 9), min_size=2, max_size=4).map(tuple),
    of=st.sampled_from(["first", "last"]),
    offset=st.sampled_from([0.0, -3.0, 1000.0]),
    seed=st.integers(0, 1000),
)
def test_moments_are_those_of_torch(shape: tuple[int, ...], of: str, offset: float, seed: int) -> None:
    channels = 1 if of == "first" else len(shape) - 1
    values = torch.randn((20 * shape[0], *shape[1:]), generator=torch.Generator().manual_seed(seed)) + offset
    axes = [axis for axis in range(values.dim()) if axis != channels]
    wanted_variance, wanted_mean = torch.var_mean(values.double(), axes, correction=0)
    variance, mean = _moments(values, channels)
    torch.testing.assert_close(mean.double(), wanted_mean, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(variance.double(), wanted_variance, rtol=1e-4, atol=1e-5)
