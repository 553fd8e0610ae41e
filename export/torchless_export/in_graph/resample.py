"""Pillow's antialiased resize and torchvision's centre crop as ONNX nodes, in Pillow's own fixed-point arithmetic.

The source is Pillow's src/libImaging/Resample.c: `precompute_coeffs` (the float64 weights of each output pixel),
`normalize_coeffs_8bpc` (the same, rounded to 22 bits after the point), and two passes, across and down, each of which
ends in 8 bits again.

A weight of 23 bits times a pixel of 8 is more than float32 holds; so each weight is split into two halves, whose
products with pixels, and all sums of them, are whole numbers below 2^24. float32 holds these exactly, whatever the
order of addition (up to 30,000 pixels a side; beyond that a bit may be lost). Matrix products do the work: one for each
block of output pixels, with the source pixels that it depends on.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
import PIL
from numpy.typing import NDArray

from torchless.model.preprocessing import Interpolation, Preprocess, Resize
from torchless_export.in_graph.nodes import Constant, Nodes

_PRECISION_BITS = 22
_LOW_BITS = 8  # the bits of a weight that are in its lower half
_BLOCKS = 8  # of output pixels; more blocks mean fewer products and more nodes
# Since Pillow 13, which goes down first where that removes much more than going across; older versions always go across
# first.
_TALL_GO_DOWN_FIRST = int(PIL.__version__.split(".")[0]) >= 13

_DOUBLE, _FLOAT, _INT64 = onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT, onnx.TensorProto.INT64


@dataclass(frozen=True)
class Filter:
    """One of Pillow's: its `support` in pixels, and nodes for its weight at the distances `x` ≥ 0, float64, within the
    support.
    """

    support: float
    weight: Callable[[Nodes, str], str]


def _box(op: Nodes, x: str) -> str:
    return op.Cast(op.LessOrEqual(x, np.float64(0.5)), to=_DOUBLE)


def _bilinear(op: Nodes, x: str) -> str:
    return op.Max(op.Sub(np.float64(1), x), np.float64(0))


def _bicubic(op: Nodes, x: str) -> str:
    near = op.Add(op.Mul(op.Mul(op.Sub(op.Mul(x, np.float64(1.5)), np.float64(2.5)), x), x), np.float64(1))
    far = op.Sub(op.Mul(op.Add(op.Mul(op.Sub(x, np.float64(5)), x), np.float64(8)), x), np.float64(4))
    far = op.Where(op.Less(x, np.float64(2)), op.Mul(far, np.float64(-0.5)), np.float64(0))
    return op.Where(op.Less(x, np.float64(1)), near, far)


def _hamming(op: Nodes, x: str) -> str:
    cosine = op.Cos(op.Mul(x, np.float64(math.pi)))
    window = op.Add(
        op.Mul(cosine, np.float64(np.float32(0.46))), np.float64(np.float32(0.54))
    )  # these two are float32 in Pillow
    return op.Where(op.Less(x, np.float64(1)), op.Mul(_sinc(op, x), window), np.float64(0))


def _lanczos(op: Nodes, x: str) -> str:
    product = op.Mul(_sinc(op, x), _sinc(op, op.Div(x, np.float64(3))))
    return op.Where(op.Less(x, np.float64(3)), product, np.float64(0))


def _sinc(op: Nodes, x: str) -> str:
    angle = op.Mul(x, np.float64(math.pi))
    return op.Where(op.Equal(x, np.float64(0)), np.float64(1), op.Div(op.Sin(angle), angle))


# All of Pillow's filters but the nearest pixel, which is no weighted mean.
FILTERS: dict[Interpolation, Filter] = {
    "bilinear": Filter(1, _bilinear),
    "bicubic": Filter(2, _bicubic),
    "box": Filter(0.5, _box),
    "hamming": Filter(1, _hamming),
    "lanczos": Filter(3, _lanczos),
}


def resized_crop(op: Nodes, image: str, spec: Preprocess) -> str:
    """uint8 (H, W, 3) → float32 (3, height, width), or (1, height, width) of a grey image: resized and cropped, whole
    numbers in 0..255.

    The sizes are those of torchless.image.preprocess; `spec.size` must be known.
    """
    size = spec.size or (1, 1)
    shape = op.Shape(image, end=2)
    sides = tuple(op.Gather(shape, np.int64(i)) for i in (0, 1))
    resized = _resized_size(op, sides, spec.resize)
    filter = FILTERS.get(spec.interpolation) if spec.resize.mode != "none" else None
    if filter is None:
        places = [_places(op, *each, spec) for each in zip(sides, resized, size, strict=True)]
        planes = op.Transpose(op.Gather(op.Gather(image, places[0], axis=0), places[1], axis=1), perm=[2, 0, 1])
        planes = _grey(op, planes) if spec.grayscale is not None else op.Cast(planes, to=_FLOAT)
    else:
        planes = _resampled(op, image, sides, resized, size, spec, filter)
        planes = _grey(op, planes) if spec.grayscale == "after_resize" else planes
    return planes if filter is not None and spec.fill is None else _padded(op, planes, resized, size, spec)


def _resized_size(op: Nodes, sides: tuple[str, ...], resize: Resize) -> tuple[str | Constant, ...]:
    """(height, width) after `resize`, int64 scalars."""
    match resize.mode, resize.size:
        case "none", _:
            return sides
        case "exact", size:
            return tuple(np.int64(side) for side in size)
        case mode, (side,) if resize.rounding == "down":
            known = op.Min(*sides) if mode == "short_side" else op.Max(*sides)
            # The division of whole numbers cuts off, as torchvision does.
            new = [op.Div(op.Mul(each, np.int64(side)), known) for each in sides]
            if mode == "short_side":  # never below one pixel
                return tuple(new)
        case mode, box:
            wide = [op.Cast(side, to=_DOUBLE) for side in sides]
            ratios = [op.Div(side, np.float64(of_box)) for side, of_box in zip(wide, box * (3 - len(box)), strict=True)]
            ratio = op.Min(*ratios) if mode == "short_side" else op.Max(*ratios)
            new = [op.Cast(op.Round(op.Div(side, ratio)), to=_INT64) for side in wide]
    return tuple(op.Max(each, np.int64(1)) for each in new)


def _resampled(
    op: Nodes, image: str, sides: tuple[str, ...], resized: tuple[str | Constant, ...], size: tuple[int, int],
    spec: Preprocess, filter: Filter,
) -> str:  # fmt: skip
    """float32 (3 or 1, height, width) by Pillow's two passes; 0 where the crop reaches outside."""
    rows, columns = (_axis(op, *each, spec, filter) for each in zip(sides, resized, size, strict=True))
    needed = op.Slice(
        image, op.Concat(rows.first, columns.first, axis=0), op.Concat(rows.end, columns.end, axis=0), _ints(0, 1)
    )
    planes = op.Transpose(needed, perm=[2, 0, 1])
    planes = _grey(op, planes) if spec.grayscale == "first" else planes
    if not _TALL_GO_DOWN_FIRST:
        return _down(op, _across(op, planes, columns), rows)
    lost_height, lost_width = (op.Sub(*each) for each in zip(sides, resized, strict=True))
    tall = op.And(op.Greater(lost_height, np.int64(0)), op.Greater(lost_height, op.Mul(lost_width, np.int64(2))))
    then, otherwise, shape = op.branch(), op.branch(), (1 if spec.grayscale == "first" else 3, *size)
    down_first = then.graph(_across(then, _down(then, planes, rows), columns), _FLOAT, shape)
    across_first = otherwise.graph(_down(otherwise, _across(otherwise, planes, columns), rows), _FLOAT, shape)
    return op.If(tall, then_branch=down_first, else_branch=across_first)


def _places(op: Nodes, source: str, size: str | Constant, crop: int, spec: Preprocess) -> str:
    """Which source pixels the crop's are, int64 (crop,), where each is one: not resized, or by the nearest. Any pixel
    where the crop reaches outside.
    """
    pixels = op.Add(np.arange(crop, dtype=np.int64), _crop_start(op, size, crop, spec))
    pixels = op.Max(op.Min(pixels, op.Sub(size, np.int64(1))), np.int64(0))
    if spec.resize.mode == "none":
        return pixels
    # Pillow's Geometry.c, ImagingScaleAffine: the positions are summed up one by one, with the rounding errors of that.
    scale = op.Div(op.Cast(source, to=_DOUBLE), op.Cast(size, to=_DOUBLE))
    steps = op.Expand(scale, op.Unsqueeze(op.Sub(size, np.int64(1)), _ints(0)))
    first = op.Unsqueeze(op.Mul(scale, np.float64(0.5)), _ints(0))
    positions = op.CumSum(op.Concat(first, steps, axis=0), np.int64(0))
    return op.Min(op.Cast(op.Gather(positions, pixels), to=_INT64), op.Sub(source, np.int64(1)))


def _padded(
    op: Nodes, planes: str, resized: tuple[str | Constant, ...], size: tuple[int, int], spec: Preprocess
) -> str:
    """`planes` with the colour of padding where the crop reaches outside."""
    if spec.crop is None:
        return planes
    rows, columns = (_inside(op, *each, spec) for each in zip(resized, size, strict=True))
    colour = np.array(spec.fill or (0, 0, 0), np.float32)[: 1 if spec.grayscale is not None else 3]
    return op.Where(op.And(op.Unsqueeze(rows, _ints(1)), columns), planes, colour.reshape(-1, 1, 1))


def _inside(op: Nodes, size: str | Constant, crop: int, spec: Preprocess) -> str:
    """Which of the crop's pixels are in the image, bool (crop,)."""
    pixels = op.Add(np.arange(crop, dtype=np.int64), _crop_start(op, size, crop, spec))
    return op.And(op.GreaterOrEqual(pixels, np.int64(0)), op.Less(pixels, size))


def _grey(op: Nodes, planes: str) -> str:
    """uint8 or float32 (3, H, W) → float32 (1, H, W), Pillow's convert("L"): (19595 R + 38470 G + 7471 B + 2^15) >> 16.

    All sums stay below 2^24, which float32 holds exactly.
    """
    weights = np.array([19595, 38470, 7471], np.float32).reshape(3, 1, 1)
    total = op.ReduceSum(op.Mul(op.Cast(planes, to=_FLOAT), weights), _ints(0), keepdims=1)
    return op.Floor(op.Mul(op.Add(total, np.float32(1 << 15)), np.float32(2.0**-16)))


@dataclass(frozen=True)
class _Axis:
    """One axis on its way from the source to the crop's `pixels`, in `blocks` of as many pixels each.

    The rest are names in the graph: `first` and `end`, int64 (1,), of the source pixels that the crop depends on;
    `starts`, int64 (blocks,), from `first` on, and `length`, int64 (1,), of those of each block; `weights`, float32
    (blocks, length, 2 × pixels of a block), the high halves first.
    """

    pixels: int
    blocks: int
    first: str
    end: str
    starts: str
    length: str
    weights: str


def _axis(op: Nodes, source: str, size: str | Constant, crop: int, spec: Preprocess, filter: Filter) -> _Axis:
    """From `source` pixels to `size` pixels, int64 scalars; the `crop` pixels in the middle are wanted."""
    block = math.ceil(crop / _BLOCKS)
    blocks = math.ceil(crop / block)
    wide = op.Cast(source, to=_DOUBLE)
    scale = op.Div(wide, op.Cast(size, to=_DOUBLE))
    stretch = op.Max(scale, np.float64(1))
    # Which pixels of the resized image they are. The last block has too many; they are cut off at the end.
    pixels = op.Add(np.arange(blocks * block, dtype=np.int64), _crop_start(op, size, crop, spec))
    center = op.Mul(op.Add(op.Cast(pixels, to=_DOUBLE), np.float64(0.5)), scale)
    begins, ends = _reach(op, center, op.Mul(stretch, np.float64(filter.support)), wide)
    starts, length = _strips(op, begins, ends, source, (blocks, block))
    places = op.Add(op.Unsqueeze(starts, _ints(1)), op.Range(np.int64(0), length, np.int64(1)))
    places = op.Cast(op.Unsqueeze(places, _ints(2)), to=_DOUBLE)  # (blocks, length, 1)
    center, begins, ends = (op.Reshape(each, _ints(blocks, 1, block)) for each in (center, begins, ends))
    distance = op.Abs(op.Div(op.Add(op.Sub(places, center), np.float64(0.5)), stretch))
    within = op.And(op.GreaterOrEqual(places, begins), op.Less(places, ends))
    weight = op.Where(within, filter.weight(op, distance), np.float64(0))
    weight = op.Div(weight, op.ReduceSum(weight, _ints(1), keepdims=1))
    inside = op.And(op.GreaterOrEqual(pixels, np.int64(0)), op.Less(pixels, size))  # the rest is padding
    weight = op.Where(op.Reshape(inside, _ints(blocks, 1, block)), weight, np.float64(0))
    first, length = op.ReduceMin(starts, keepdims=1), op.Unsqueeze(length, _ints(0))
    end = op.Add(op.ReduceMax(starts, keepdims=1), length)
    return _Axis(crop, blocks, first, end, op.Sub(starts, first), length, _fixed_point(op, weight))


def _crop_start(op: Nodes, size: str | Constant, crop: int, spec: Preprocess) -> str:
    """As torchless.image.preprocess.crop_start; a smaller image is padded, the odd pixel to the right and below."""
    margin = op.Sub(size, np.int64(crop))
    if spec.centering == "down":
        return op.Div(margin, np.int64(2))  # towards 0
    cut = op.Cast(op.Round(op.Mul(op.Cast(margin, to=_DOUBLE), np.float64(0.5))), to=_INT64)
    padded = op.Div(margin, np.int64(2))  # towards 0
    return op.Where(op.Less(margin, np.int64(0)), padded, cut)


def _reach(op: Nodes, center: str, support: str, wide: str) -> tuple[str, str]:
    """The first source pixel of each output pixel, and the one after its last, as float64; any pixel for padding."""
    begins = op.Max(op.Add(op.Sub(center, support), np.float64(0.5)), np.float64(0))
    ends = op.Min(op.Add(op.Add(center, support), np.float64(0.5)), wide)
    last = op.Sub(wide, np.float64(1))
    return op.Floor(op.Min(begins, last)), op.Floor(op.Max(ends, np.float64(1)))


def _strips(op: Nodes, begins: str, ends: str, source: str, grid: tuple[int, int]) -> tuple[str, str]:
    """The first source pixel of each block, int64 (blocks,), and how many pixels a block takes, int64: the most that
    any one needs.
    """
    begins, ends = (op.Cast(op.Reshape(edge, _ints(*grid)), to=_INT64) for edge in (begins, ends))
    starts, stops = op.ReduceMin(begins, _ints(1), keepdims=0), op.ReduceMax(ends, _ints(1), keepdims=0)
    length = op.ReduceMax(op.Sub(stops, starts), keepdims=0)
    return op.Min(starts, op.Sub(source, length)), length


def _fixed_point(op: Nodes, weight: str) -> str:
    rounded = op.Floor(op.Add(op.Mul(op.Abs(weight), np.float64(1 << _PRECISION_BITS)), np.float64(0.5)))
    whole = op.Mul(op.Sign(weight), rounded)
    high = op.Round(op.Mul(whole, np.float64(2.0**-_LOW_BITS)))
    low = op.Sub(whole, op.Mul(high, np.float64(1 << _LOW_BITS)))
    return op.Cast(op.Concat(high, low, axis=2), to=_FLOAT)


def _across(op: Nodes, planes: str, axis: _Axis) -> str:
    """uint8 or float32 (planes, H, W) → float32 (planes, H, pixels)."""
    return _pass(op, planes, axis, -1, op.MatMul)


def _down(op: Nodes, planes: str, axis: _Axis) -> str:
    """uint8 or float32 (planes, H, W) → float32 (planes, pixels, W)."""
    return _pass(op, planes, axis, -2, lambda strip, weights: op.MatMul(op.Transpose(weights, perm=[1, 0]), strip))


def _pass(op: Nodes, planes: str, axis: _Axis, along: int, product: Callable[[str, str], str]) -> str:
    starts, weights = (_apart(op, each, axis.blocks, 0) for each in (axis.starts, axis.weights))
    done = []
    for start, weight in zip(starts, weights, strict=True):
        strip = op.Slice(planes, start, op.Add(start, axis.length), _ints(along))
        halves = product(op.Cast(strip, to=_FLOAT), op.Squeeze(weight, _ints(0)))
        done.append(_round(op, *_apart(op, halves, 2, along)))
    joined = op.Concat(*done, axis=along)
    return op.Slice(joined, _ints(0), _ints(axis.pixels), _ints(along))


def _apart(op: Nodes, value: str, parts: int, axis: int) -> list[str]:
    return op.several("Split", value, outputs=parts, axis=axis, num_outputs=parts)


def _round(op: Nodes, high: str, low: str) -> str:
    """(high × 2^8 + low + 2^21) >> 22, clipped to 0..255, as Pillow's clip8 does. Every step is exact in float32."""
    carried = op.Floor(op.Mul(op.Add(low, np.float32(1 << (_PRECISION_BITS - 1))), np.float32(2.0**-_LOW_BITS)))
    shifted = op.Floor(op.Mul(op.Add(high, carried), np.float32(2.0 ** (_LOW_BITS - _PRECISION_BITS))))
    return op.Clip(shifted, np.float32(0), np.float32(255))


def _ints(*values: int) -> NDArray[np.int64]:
    return np.array(values, np.int64)
