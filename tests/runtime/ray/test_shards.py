"""The stream in shards, and what becomes of one whose worker dies; without a cluster."""

import zipfile
from itertools import count, islice
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import given

from torchless.batch.inputs import expand
from torchless.engine.results import Input
from torchless.ray.shards import Shard, make_shards, portable


@given(number=st.integers(0, 300), size=st.integers(1, 50), workers=st.integers(1, 9), first=st.integers(0, 10**7))
def test_every_input_is_in_one_shard_in_order(number: int, size: int, workers: int, first: int) -> None:
    inputs = [Input(str(i), str(i)) for i in range(number)]
    shards = list(make_shards(inputs, size=size, workers=workers, first=first))
    assert [item for shard in shards for item in shard.inputs] == inputs
    names = [shard.name for shard in shards]
    assert names == sorted(names)
    assert [int(name) for name in names] == list(range(first, first + len(shards)))
    assert all(1 <= len(shard.inputs) <= size for shard in shards)
    if number >= 4 * workers:
        assert len(shards) >= 2 * workers, "all workers have something to do"


def test_an_endless_stream_is_taken_as_it_is_asked_for() -> None:
    taken = []
    inputs = (taken.append(i) or Input(str(i), "x") for i in count())
    shards = make_shards(inputs, size=10, workers=2)
    assert len(next(shards).inputs) == 10
    list(islice(shards, 20))
    assert len(taken) <= 4 * 2 * 10 + 21 * 10


def test_images_that_travel_make_small_shards() -> None:
    made = 0

    def images():
        nonlocal made
        for i in range(200):
            made += 1
            yield Input(str(i), bytes(1 << 20))

    shards = make_shards(images(), size=1000, workers=8)
    assert len(next(shards).inputs) <= 32
    assert made <= 64


def test_a_member_of_an_archive_is_read_before_it_travels_and_a_file_after(photos: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(photos / "coffee.png", "coffee.png")
    [member] = expand([str(tmp_path / "a.zip")])
    assert portable(member).image == (photos / "coffee.png").read_bytes()
    [file] = expand([f"file://{photos}/coffee.png"])
    assert portable(file) is file
    with (tmp_path / "a.zip").open("r+b") as damaged:
        damaged.seek(100)
        damaged.write(b"\0" * 1000)
    [member] = expand([str(tmp_path / "a.zip")])
    assert portable(member).image is None
    assert "cannot read zip://coffee.png" in portable(member).error


@given(deadly=st.lists(st.booleans(), min_size=1, max_size=40))
def test_what_ends_workers_costs_its_own_row_alone(deadly: list[bool]) -> None:
    """Every image has one row; one that ends a worker whenever it is there has an error; names go on sorting as the
    images came.
    """
    to_do = [Shard("00000000", tuple(Input(str(i), "x") for i in range(len(deadly))))]
    rows: list[tuple[str, str, bool]] = []
    deaths = 0
    while to_do:
        shard = to_do.pop()
        if any(item.image is not None and deadly[int(item.name)] for item in shard.inputs):
            deaths += 1
            to_do += shard.after_death()
        else:
            rows += [(shard.name, item.name, item.error is not None) for item in shard.inputs]
    assert [(name, error) for _, name, error in sorted(rows, key=lambda row: row[0])] == [
        (str(i), dead) for i, dead in enumerate(deadly)
    ]
    assert deaths <= 1 + 9 * sum(deadly)
