"""Two rules of preprocessing by themselves; tests/export/oracle compares all of it with torchvision's, bit for bit."""

import numpy as np
from PIL import Image

from torchless.image.preprocess import center_crop, resized_size
from torchless.model.preprocessing import Resize


def short_side(pixels: int) -> Resize:
    return Resize(mode="short_side", size=(pixels,))


def test_the_long_side_is_truncated_not_rounded() -> None:
    assert resized_size(500, 375, short_side(256)) == (341, 256)  # 341.33
    assert resized_size(375, 500, short_side(232)) == (232, 309)  # 309.33
    assert resized_size(3, 2, short_side(255)) == (382, 255)  # 382.5


def test_an_image_smaller_than_the_crop_is_padded_with_black() -> None:
    cropped = np.asarray(center_crop(Image.new("RGB", (2, 3), "white"), (5, 5)))
    assert cropped.shape == (5, 5, 3)
    assert cropped[:, :, 0].sum() == 2 * 3 * 255
    assert cropped[1:4, 1:3].min() == 255  # the odd pixel of padding lies to the right
