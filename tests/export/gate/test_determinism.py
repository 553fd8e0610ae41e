"""The same export gives the same bytes, and the same image the same logits wherever in a batch it comes
(docs/export.md, docs/parity.md).
"""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conftest import REPO

from torchless import Classifier
from torchless.errors import UsageError
from torchless_export.compare.compare import today
from torchless_export.export import export_model
from torchless_export.gate.limits import MAX_UNITS
from torchless_export.sources.request import ModelRequest


def test_the_same_export_gives_the_same_bytes(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever, wherever and under whatever name: there is no time, path or random name in an artifact."""
    monkeypatch.chdir(REPO)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")  # `tiny` was made without
    again = export_model(
        ModelRequest(model="tiny", builder="tests.models:tiny"), output=tmp_path / "elsewhere" / "other.onnx"
    ).path
    assert again.read_bytes() == tiny.read_bytes()


def test_a_report_is_dated_as_source_date_epoch_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    assert today() == "2001-09-09"
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    with pytest.raises(UsageError, match="SOURCE_DATE_EPOCH must be seconds since 1970, got 'yesterday'"):
        today()


@cache
def _opened(model: Path, threads: int, photos: Path) -> tuple[Classifier, np.ndarray, np.ndarray, float]:
    """A classifier, prepared photos and noise, the logits of each alone, and how far those may move: the gate's limit
    for this artifact.
    """
    classifier = Classifier(model, device="cpu", threads=threads)
    noise = np.random.default_rng(0).integers(0, 256, (6, 300, 400, 3), np.uint8)
    images = [*noise, *(photos / name for name in ("coffee.png", "chelsea.png", "camera.png", "rocket.jpg"))]
    prepared = np.stack([classifier.preprocess(image) for image in images])
    alone = np.concatenate([classifier.run(image[None]) for image in prepared])
    units = [row.max_abs_error / row.units for row in classifier.manifest.parity.metrics]
    return classifier, prepared, alone, MAX_UNITS * min(units)


@pytest.mark.parametrize("name", ["tiny", "lite0"])
@settings(max_examples=15)
@given(batch=st.lists(st.integers(0, 9), min_size=1, max_size=12), threads=st.sampled_from([1, 2]))
def test_an_image_has_the_same_logits_anywhere_in_any_batch(
    request: pytest.FixtureRequest, name: str, batch: list[int], threads: int, photos: Path
) -> None:
    classifier, prepared, alone, bound = _opened(request.getfixturevalue(name), threads, photos)
    assert np.abs(classifier.run(prepared[batch]) - alone[batch]).max() <= bound
