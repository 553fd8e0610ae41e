import numpy as np
import pytest

from torchless.errors import ImageDecodeError
from torchless.image.arrays import from_array

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
UNIT = (PIXELS / 255).astype(np.float32)


@pytest.mark.parametrize(
    ("array", "fix"),
    [
        (UNIT, "from 0.* to .*: give (array * 255).round().astype('uint8')"),
        (UNIT.transpose(2, 0, 1), "give (array * 255).round().astype('uint8').transpose(1, 2, 0)"),
        (PIXELS.transpose(2, 0, 1), "(3, 4, 5): give array.transpose(1, 2, 0)"),
        (PIXELS.astype(np.float64), "give array.round().astype('uint8')"),
        (PIXELS.astype(np.int64), "give array.astype('uint8')"),
        (PIXELS > 128, "give (array * 255).astype('uint8')"),
        (PIXELS.astype(np.uint16) * 257, "give (array >> 8).astype('uint8')"),
    ],
    ids=lambda value: f"{value.dtype}" if isinstance(value, np.ndarray) else "",
)
def test_the_fix_makes_an_image_of_an_array_that_is_none(array: np.ndarray, fix: str) -> None:
    with pytest.raises(ImageDecodeError) as refused:
        from_array(array)
    said = str(refused.value)
    assert fix.rpartition("give")[2] == said.rpartition("give")[2]
    mended = eval(said.rpartition("give ")[2], {"array": array})  # what the user is told to write
    wanted = np.where(PIXELS > 128, 255, 0) if array.dtype == bool else PIXELS
    np.testing.assert_array_equal(from_array(mended), wanted)


@pytest.mark.parametrize(
    ("array", "told"),
    [
        (np.stack([PIXELS] * 3), r"uint8 \(3, 4, 5, 3\): classify_many and logits take a batch; one .* is array\[0\]"),
        (UNIT * 4 - 2, "Classifier.run takes what is normalised already"),
        (np.full((4, 5, 3), np.nan, np.float32), "from nan to nan: give the image itself"),
        (PIXELS.astype(complex), r"not complex128 \(4, 5, 3\)$"),
        (np.array([["a"]]), r"not <U1 \(1, 1\)$"),
        (np.zeros((0, 4, 3), np.uint8), "which is empty"),
        (np.zeros((2, 5, 7), np.uint8), r"not uint8 \(2, 5, 7\)$"),
        (np.zeros(4, np.uint8), r"not uint8 \(4,\)$"),
        (np.uint8(4), r"not uint8 \(\)$"),
    ],
)
def test_what_nothing_makes_an_image_of_is_named(array: np.ndarray, told: str) -> None:
    with pytest.raises(ImageDecodeError, match=told):
        from_array(np.asarray(array))
