"""`dataclass` as the standard library has it, but cheap to define, for classes that a start needs.

The standard library writes the methods of each class as source code and compiles it: half a millisecond a class, which
for fifty classes was a third of what this package added to the start of a process. Here all classes share the same
methods, which look up the fields when they are called. `fields`, `replace`, `field`, pickle and match work as ever.
"""

from collections.abc import Callable
from dataclasses import MISSING, FrozenInstanceError, fields, is_dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any

__all__ = ["dataclass"]

if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(cls: type | None = None, /, *, frozen: bool = False, kw_only: bool = False, eq: bool = True) -> Any:
        """Makes a dataclass of a class, or a decorator that does. The options are those of dataclasses.dataclass."""

        def decorate(cls: type) -> type:
            from dataclasses import dataclass

            methods: dict[str, Any] = {"__init__": _init, "__repr__": _repr, "__signature__": _Signature()}
            if eq:
                methods |= {"__eq__": _eq, "__hash__": _hash if frozen else None}
            if frozen:
                methods |= {"__setattr__": _refuse, "__delattr__": _refuse}
            for name in methods.keys() - vars(cls).keys():
                setattr(cls, name, methods[name])
            return dataclass(init=False, repr=False, eq=False, kw_only=kw_only)(cls)

        return decorate if cls is None else decorate(cls)


class _Shape:
    """What the methods need to know of a class: its fields, by what they are needed for."""

    def __init__(self, kind: type) -> None:
        every = fields(kind)
        given = [field for field in every if field.init]
        self.names = frozenset(field.name for field in given)
        self.positional = tuple(field.name for field in given if not field.kw_only)
        self.defaults: dict[str, Any] = {field.name: field.default for field in every if field.default is not MISSING}
        self.factories = [
            (field.name, field.default_factory) for field in every if field.default_factory is not MISSING
        ]
        made = self.defaults.keys() | dict(self.factories).keys()
        self.required = self.names - made
        self.values = _getter([field.name for field in every if field.compare])
        self.shown = tuple(field.name for field in every if field.repr)
        self.finish = getattr(kind, "__post_init__", None)


_SHAPES: dict[type, _Shape] = {}


def _shape_of(kind: type) -> _Shape:
    shape = _SHAPES.get(kind)
    if shape is None:
        shape = _SHAPES[kind] = _Shape(kind)
    return shape


def _getter(names: list[str]) -> Callable[[Any], Any]:
    """What gets the values of these fields of an instance."""
    return attrgetter(*names) if names else lambda _: ()


def _init(self: Any, /, *arguments: Any, **named: Any) -> None:
    shape = _shape_of(type(self))
    if arguments:
        named = _with_positional(self, shape, arguments, named)
    values = shape.defaults | named
    for name, factory in shape.factories:
        if name not in values:
            values[name] = factory()
    if not named.keys() <= shape.names or not named.keys() >= shape.required:
        raise TypeError(_misfit(self, shape, named))
    self.__dict__.update(values)
    if shape.finish is not None:
        shape.finish(self)


def _with_positional(self: Any, shape: _Shape, arguments: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Any]:
    if len(arguments) > len(shape.positional):
        raise TypeError(
            f"{type(self).__name__} takes {len(shape.positional)} positional arguments, got {len(arguments)}"
        )
    before = dict(zip(shape.positional, arguments, strict=False))
    if twice := before.keys() & named.keys():
        raise TypeError(f"{type(self).__name__} got {', '.join(sorted(twice))} twice")
    return before | named


def _misfit(self: Any, shape: _Shape, named: dict[str, Any]) -> str:
    unknown = [name for name in named if name not in shape.names]
    missing = [field.name for field in fields(self) if field.name in shape.required - named.keys()]
    said = f"does not know {', '.join(unknown)}" if unknown else f"needs {', '.join(missing)}"
    return f"{type(self).__name__} {said}"


def _repr(self: Any) -> str:
    values = (f"{name}={getattr(self, name)!r}" for name in _shape_of(type(self)).shown)
    return f"{type(self).__qualname__}({', '.join(values)})"


def _eq(self: Any, other: object) -> Any:
    if type(other) is not type(self):
        return NotImplemented
    values = _shape_of(type(self)).values
    return values(self) == values(other)


def _hash(self: Any) -> int:
    return hash(_shape_of(type(self)).values(self))


def _refuse(_: Any, name: str, *value: object) -> None:
    raise FrozenInstanceError(f"cannot {'assign to' if value else 'delete'} field {name!r}")


class _Signature:
    """What `help` and editors show as a class's parameters; made when it is asked for."""

    def __get__(self, instance: object, owner: type) -> Any:
        if not is_dataclass(owner):
            raise AttributeError("__signature__")
        from inspect import Parameter, Signature

        def parameter(field: Any) -> Parameter:
            kind = Parameter.KEYWORD_ONLY if field.kw_only else Parameter.POSITIONAL_OR_KEYWORD
            made = field.default_factory is not MISSING
            default = field.default if field.default is not MISSING else ... if made else Parameter.empty
            return Parameter(field.name, kind, default=default, annotation=field.type)

        given = sorted((field for field in fields(owner) if field.init), key=lambda field: bool(field.kw_only))
        return Signature([parameter(field) for field in given], return_annotation=None)
