"""The dataclasses of records.py against those of the standard library: the same classes, cheap to define."""

import copy
import dataclasses
import inspect
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError, field, fields, replace
from typing import Any

import pytest

from torchless import records
from torchless.model.manifest import Check, Manifest, ModelInfo

DataclassMaker = Callable[..., Any]
both = pytest.mark.parametrize("dataclass", [dataclasses.dataclass, records.dataclass], ids=["dataclasses", "records"])


def point(dataclass: DataclassMaker) -> Any:
    @dataclass(frozen=True)
    class Point:
        """A point."""

        x: float
        y: float = 0.0
        tags: dict = field(default_factory=dict, repr=False, compare=False)
        names: tuple = field(default=(), metadata={"json": "all names"}, kw_only=True)

        def __post_init__(self) -> None:
            if self.x < 0:
                raise ValueError("left of the edge")

    return Point


@both
def test_fields_defaults_and_equality(dataclass: DataclassMaker) -> None:
    kind = point(dataclass)
    one = kind(1, y=2)
    assert (one.x, one.y, one.tags, one.names) == (1, 2, {}, ())
    assert one == kind(1, 2, {"other": 1})
    assert hash(one) == hash(kind(1, 2, {"other": 1}))
    assert one != kind(1, 3)
    assert one != (1, 2, ())
    assert kind(1).tags is not kind(1).tags
    assert repr(one).endswith("Point(x=1, y=2, names=())")
    assert replace(one, y=5) == kind(1, 5)
    assert [each.metadata.get("json") for each in fields(one)] == [None, None, None, "all names"]
    assert dataclasses.asdict(one) == {"x": 1, "y": 2, "tags": {}, "names": ()}
    match one:
        case kind(x, y):
            assert (x, y) == (1, 2)
    assert [(name, each.kind) for name, each in inspect.signature(kind).parameters.items()] == [
        ("x", inspect.Parameter.POSITIONAL_OR_KEYWORD),
        ("y", inspect.Parameter.POSITIONAL_OR_KEYWORD),
        ("tags", inspect.Parameter.POSITIONAL_OR_KEYWORD),
        ("names", inspect.Parameter.KEYWORD_ONLY),
    ]
    with pytest.raises(ValueError, match="left of the edge"):
        kind(-1)


@both
@pytest.mark.parametrize(
    ("arguments", "named", "name"),
    [
        ((), {}, "x"),
        ((1,), {"z": 2}, "z"),
        ((1,), {"x": 2}, "x"),
        ((1, 2, {}, ()), {}, "positional"),
        ((), {"y": 1}, "x"),
    ],
)
def test_wrong_arguments(
    dataclass: DataclassMaker, arguments: tuple[Any, ...], named: dict[str, Any], name: str
) -> None:
    with pytest.raises(TypeError, match=name):
        point(dataclass)(*arguments, **named)


@both
def test_a_frozen_one_stays_as_it_is(dataclass: DataclassMaker) -> None:
    one = point(dataclass)(1)
    with pytest.raises(FrozenInstanceError, match="cannot assign to field 'x'"):
        one.x = 2
    with pytest.raises(FrozenInstanceError, match="cannot delete field 'x'"):
        del one.x
    assert one.x == 1


@both
def test_one_that_is_not_frozen_and_one_without_equality(dataclass: DataclassMaker) -> None:
    @dataclass
    class Open:
        """Open."""

        x: int = 0

    @dataclass(eq=False)
    class Same:
        """Same."""

        x: int
        later: list = field(init=False)

        def __repr__(self) -> str:
            return "its own"

    one = Open(1)
    one.x = 2
    assert one == Open(2)
    with pytest.raises(TypeError, match="unhashable"):
        hash(one)
    assert Same(1) != Same(1)
    assert isinstance(hash(Same(1)), int)
    assert not hasattr(Same(1), "later")
    assert repr(Same(1)) == "its own"


@both
def test_a_subclass_adds_fields(dataclass: DataclassMaker) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Base:
        """Base."""

        x: int
        y: int = 1

    @dataclass(frozen=True, kw_only=True)
    class More(Base):
        """More."""

        z: int

    assert [each.name for each in fields(More)] == ["x", "y", "z"]
    assert More(x=1, z=3) != Base(x=1)
    assert More(x=1, z=3) == More(x=1, y=1, z=3)


def test_they_travel_to_other_processes() -> None:
    check = Check(name="a", passed=True, figure=1.0, limit=2.0)
    for copied in (pickle.loads(pickle.dumps(check)), copy.deepcopy(check), copy.copy(check)):
        assert copied == check


def test_help_shows_the_parameters_of_public_classes() -> None:
    assert list(inspect.signature(ModelInfo).parameters)[:3] == ["name", "source", "weights"]
    assert inspect.signature(Manifest).parameters["precision"].default == "fp32"
