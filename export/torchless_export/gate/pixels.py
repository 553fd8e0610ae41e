"""Checks of preprocessing inside the graph: its pixels against torchvision's, whether they change a decision, and the
graph's top classes.

The network behind it is checked as any other, on the very values that it gets there.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from torchless.engine.classifier import Classifier
from torchless.model.manifest import Check, Manifest
from torchless_export.gate.limits import MAX_PIXELS_SHARE, MAX_PIXELS_STEPS
from torchless_export.gate.oracle import Oracle
from torchless_export.in_graph.build import CLASSES, LABELS, PROBABILITIES, GraphPreprocessing
from torchless_export.sources import images
from torchless_export.sources.images import TestImage
from torchless_export.sources.load import LoadedModel

# Probabilities in float32 here, in float64 in the runtime.
_MAX_PROBABILITY_ERROR = 1e-5


def inside(manifest: Manifest, path: Path) -> GraphPreprocessing | None:
    """The preprocessing inside the graph of the artifact `path`, None where there is none. Raises ExportError where it
    does not run.
    """
    return GraphPreprocessing(path) if manifest.input.takes_pixels else None


def as_the_network_sees(loaded: LoadedModel, inside: GraphPreprocessing | None) -> LoadedModel:
    """`loaded` with the preprocessing inside the graph as its transform, where there is one."""
    return loaded if inside is None else replace(loaded, transform=lambda image: torch.from_numpy(inside(image)))


def pixel_checks(
    loaded: LoadedModel, classifier: Classifier, oracle: Oracle, inside: GraphPreprocessing
) -> Iterator[Check]:
    """The checks that take the place of "preprocessing"."""
    yield from _check_pixels(loaded, inside)
    yield _check_top1(loaded, inside, oracle)
    if classifier.manifest.output.top_k is not None:
        yield _check_top_k(classifier)


def _check_pixels(loaded: LoadedModel, inside: GraphPreprocessing) -> Iterator[Check]:
    """Of all values over all images the share that differs, and the largest difference in steps of 1/255."""
    step = np.array(loaded.preprocess.std)[:, None, None] * 255
    differing: dict[str, float] = {}
    count = values = wrong = 0
    for name, _, rgb in images.preprocessing_cases(loaded.preprocess):
        got, wanted = inside(rgb), loaded.transform(rgb).numpy()
        count, values, wrong = count + 1, values + wanted.size, wrong + int((got != wanted).sum())
        if not np.array_equal(got, wanted):
            differing[name] = float(np.abs((got - wanted) * step).max())
    worst = ", ".join(f"{name}: {error:.2g}/255" for name, error in list(differing.items())[:3])
    share, largest = wrong / values, max(differing.values(), default=0.0)
    detail = f"{wrong:,} of {values:,} values in {count} images" + f" ({worst})" * bool(worst)
    yield Check.at_most("pixels_differing", share, MAX_PIXELS_SHARE, detail)
    yield Check.at_most(
        "pixels_largest", round(largest, 3), MAX_PIXELS_STEPS, "the largest difference, in steps of 1/255"
    )


def _check_top1(loaded: LoadedModel, inside: GraphPreprocessing, oracle: Oracle) -> Check:
    """Of the photos, those whose top-1 class is another than with torchvision's preprocessing, for PyTorch itself."""
    photos = images.photos()
    changed = [photo.record.name for photo in photos if _top1_moves(photo, loaded, inside, oracle)]
    detail = (
        f"same top-1 on {len(photos)} photos as with torchvision's preprocessing" if not changed else ", ".join(changed)
    )
    return Check.at_most("pixels_top1", len(changed), 0, detail)


def _top1_moves(test: TestImage, loaded: LoadedModel, inside: GraphPreprocessing, oracle: Oracle) -> bool:
    got, wanted = torch.from_numpy(inside(test.image)), loaded.transform(test.image)
    if torch.equal(got, wanted):
        return False
    ours, theirs = oracle.reference(torch.stack([got, wanted])).logits.argmax(axis=1)
    return bool(ours != theirs)


def _check_top_k(classifier: Classifier) -> Check:
    """The graph's best classes against the runtime's, on the photos: the same, and with the same probability."""
    from torchless.engine.session import open_session

    session, manifest = open_session(classifier.file, device="cpu").onnx, classifier.manifest
    wrong = [photo.record.name for photo in images.photos() if not _ranks_alike(session, classifier, manifest, photo)]
    detail = (
        f"{', '.join(wrong)} differ"
        if wrong
        else f"the {manifest.output.top_k} best classes of the photos, as the runtime ranks them"
    )
    return Check.at_most("top_k", len(wrong), 0, detail)


def _ranks_alike(session: Any, classifier: Classifier, manifest: Manifest, test: TestImage) -> bool:
    asked = [PROBABILITIES, CLASSES, LABELS]
    probabilities, classes, labels = session.run(asked, {manifest.input.name: np.asarray(test.image)})
    output, head = classifier.logits([test.image])[0], classifier.head
    wanted = np.argsort(-head.scores(output), kind="stable")[: manifest.output.top_k]
    same = classes.tolist() == wanted.tolist() and labels.tolist() == [head.labels[index] for index in wanted]
    off = np.abs(probabilities - head.probabilities(output)[wanted])
    return same and bool(off.max() <= _MAX_PROBABILITY_ERROR)
