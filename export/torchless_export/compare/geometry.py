"""Boxes, circles and segments in a plane: what covers what. Many at once, as arrays of coordinates.

A box is (x0, y0, x1, y1), a segment ((x, y), (x, y)).
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Booleans = NDArray[np.bool_]


def boxes_apart(boxes: Array, margin: float) -> Booleans:
    """(n, n): whether that much lies between two of the boxes (n, 4)."""
    low, high = boxes[:, None, :2] - margin, boxes[:, None, 2:] + margin
    return np.asarray(((boxes[None, :, :2] > high) | (boxes[None, :, 2:] < low)).any(axis=2))


def box_circle_gap(boxes: Array, centres: Array, radii: Array) -> Array:
    """(n, m): what lies between each box (n, 4) and each circle (m, 2) with its radius; below 0 they overlap."""
    nearest = np.clip(centres[None], boxes[:, None, :2], boxes[:, None, 2:])
    away = nearest - centres[None]
    found: Array = np.hypot(away[..., 0], away[..., 1]) - radii
    return found


def in_circle(segments: Array, centres: Array, radii: Array) -> Array:
    """(n, m): the length of each segment (n, 2, 2) inside of each circle."""
    start, way = segments[:, None, 0] - centres[None], (segments[:, 1] - segments[:, 0])[:, None]
    a = (way**2).sum(axis=2)
    b, c = (start * way).sum(axis=2), (start**2).sum(axis=2) - radii**2
    root = np.sqrt(np.maximum(b**2 - a * c, 0))
    with np.errstate(divide="ignore", invalid="ignore"):
        enter, leave = np.clip((-b - root) / a, 0, 1), np.clip((-b + root) / a, 0, 1)
    found: Array = np.nan_to_num((leave - enter) * np.sqrt(a))
    return found


def crossings(first: Array, second: Array) -> Booleans:
    """(n, m): whether a segment of the first (n, 2, 2) crosses one of the second (m, 2, 2)."""
    a, b = first[:, None, 0], first[:, None, 1]
    c, d = second[None, :, 0], second[None, :, 1]
    return (_side(a, b, c) * _side(a, b, d) < 0) & (_side(c, d, a) * _side(c, d, b) < 0)


def segment_in_box(segments: Array, boxes: Array) -> Booleans:
    """(n, m): whether a segment (m, 2, 2) touches a box (n, 4): it is clipped to the box."""
    start, way = segments[None, :, 0], (segments[:, 1] - segments[:, 0])[None]
    with np.errstate(divide="ignore", invalid="ignore"):
        first = (boxes[:, None, :2] - start) / way
        second = (boxes[:, None, 2:] - start) / way
    within = (start >= boxes[:, None, :2]) & (start <= boxes[:, None, 2:])
    still = way == 0
    low = np.where(still, np.where(within, -np.inf, np.inf), np.minimum(first, second)).max(axis=2)
    high = np.where(still, np.where(within, np.inf, -np.inf), np.maximum(first, second)).min(axis=2)
    found: Booleans = (low <= high) & (low <= 1) & (high >= 0)
    return found


def _side(a: Array, b: Array, point: Array) -> Array:
    """On which side of the line from a to b the point lies: above 0 to the left."""
    found: Array = (b[..., 0] - a[..., 0]) * (point[..., 1] - a[..., 1]) - (b[..., 1] - a[..., 1]) * (
        point[..., 0] - a[..., 0]
    )
    return found
