from pathlib import Path

import pytest

from torchless import Classifier
from torchless.engine import groups
from torchless.engine.groups import Groups, Listed
from torchless.engine.results import Input

INPUTS = [Input(str(number), None, "no image") for number in range(40)]


def sizes(monkeypatch: pytest.MonkeyPatch, batch_size: int, seconds_each: float) -> list[int]:
    """Of groups whose images take that long."""
    clock, found = [0.0], list[int]()
    monkeypatch.setattr(groups.time, "perf_counter", lambda: clock[0])
    divided = Groups(batch_size)

    def work(group: list[Input]) -> None:
        clock[0] += seconds_each * len(group)
        found.append(len(group))

    timed = divided.timed(work)
    for group in divided.of(iter(INPUTS)):
        timed(group)
    return found


@pytest.mark.parametrize(
    ("batch_size", "seconds_each", "size"),
    [(1, 0.001, 4), (1, 0.0, 4), (1, 0.012, 2), (1, 0.02, 1), (1, 9.0, 1), (2, 0.001, 4), (3, 0.001, 3), (8, 0.001, 8)],
)
def test_groups_are_as_large_as_takes_a_moment(
    batch_size: int, seconds_each: float, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *others, _ = sizes(monkeypatch, batch_size, seconds_each)
    assert first == batch_size
    assert set(others) == {size}


def test_only_what_is_there_is_grouped(tiny: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[int] = []
    run = Classifier._classify_chunk
    monkeypatch.setattr(
        Classifier,
        "_classify_chunk",
        lambda self, chunk, **more: (found.append(len(chunk)), run(self, chunk, **more))[1],
    )
    classifier, paths = Classifier(tiny, device="cpu"), [str(photos / "coffee.png")] * 12
    monkeypatch.setattr(groups, "_SECONDS", 1e9)
    alone = list(classifier.classify_many(iter(paths), workers=2))
    assert set(found) == {1}
    for images in (paths, Listed(Input(path, path) for path in paths)):
        found.clear()
        assert list(classifier.classify_many(images, workers=2)) == alone  # bit for bit
        assert max(found) == 4


def test_each_image_of_a_group_runs_by_itself(tiny: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "_SECONDS", 1e9)
    ran: list[int] = []
    run = Classifier._run_on
    monkeypatch.setattr(
        Classifier, "_run_on", lambda self, session, images: (ran.append(len(images)), run(self, session, images))[1]
    )
    list(Classifier(tiny, device="cpu").classify_many([photos / "coffee.png"] * 12, workers=2))
    assert ran == [1] * 12
    ran.clear()
    list(Classifier(tiny, device="cpu").classify_many([photos / "coffee.png"] * 12, workers=2, batch_size=2))
    assert ran == [2] * 6
