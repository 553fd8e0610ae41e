"""Which model to take: the most accurate within the limits, or without limits the best compromise; why not the next
one; what to relax.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

_TINY = 1e-9  # instead of dividing by zero


@dataclass(frozen=True)
class Candidate:
    """A model as a choice: milliseconds for one image, megabytes (10⁶ bytes) of file, top-1 accuracy in percent."""

    name: str
    latency_ms: float
    size_mb: float
    acc1: float

    def dominates(self, other: "Candidate") -> bool:
        """No worse in anything, and better in something."""
        ours, theirs = _costs(self), _costs(other)
        return ours != theirs and all(a <= b for a, b in zip(ours, theirs, strict=True))


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a model has to keep to; None is no limit."""

    max_latency_ms: float | None = None
    max_size_mb: float | None = None
    min_acc1: float | None = None

    def admit(self, candidate: Candidate) -> bool:
        """Whether the model keeps to all of them."""
        return not self.broken(candidate)

    def broken(self, candidate: Candidate) -> list[str]:
        """The names of the limits that the model does not keep to."""
        excess = {
            "max_latency_ms": self.max_latency_ms is not None and candidate.latency_ms > self.max_latency_ms,
            "max_size_mb": self.max_size_mb is not None and candidate.size_mb > self.max_size_mb,
            "min_acc1": self.min_acc1 is not None and candidate.acc1 < self.min_acc1,
        }
        return [name for name, exceeded in excess.items() if exceeded]

    def given(self) -> dict[str, float]:
        """The limits that were given."""
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None}


@dataclass(frozen=True, kw_only=True)
class Relaxation:
    """New values that one or more limits would need, so that `admits` keeps to all of them."""

    limits: Limits
    changed: tuple[str, ...]
    admits: str


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """`best` is None where no model keeps to the limits, and `relaxations` then say what would help, the least change
    first.

    `front` are the models within the limits that no other one there beats in everything, the fastest first; `rule` is
    what decided between them.
    """

    limits: Limits
    rule: str
    best: Candidate | None
    runner_up: Candidate | None
    why_not: str | None
    front: tuple[Candidate, ...]
    relaxations: tuple[Relaxation, ...]


def recommend(candidates: Sequence[Candidate], limits: Limits) -> Recommendation:
    """The order of `candidates` does not matter."""
    fitting = [candidate for candidate in candidates if limits.admit(candidate)]
    rule, rank = _rule(fitting, limits)
    front = pareto_front(fitting)
    ranked = sorted(front, key=rank)
    best = ranked[0] if ranked else None
    runner_up = (
        min((candidate for candidate in fitting if candidate is not best), key=rank, default=None)
        if best is not None
        else None
    )
    return Recommendation(
        limits=limits,
        rule=rule,
        best=best,
        runner_up=runner_up,
        why_not=_why_not(best, runner_up) if best is not None and runner_up is not None else None,
        front=tuple(front),
        relaxations=() if fitting else tuple(_relaxations(candidates, limits)),
    )


def pareto_front(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Those that no other one dominates, the fastest first."""
    front = [candidate for candidate in candidates if not any(other.dominates(candidate) for other in candidates)]
    return sorted(front, key=lambda candidate: (*_costs(candidate), candidate.name))


def _costs(candidate: Candidate) -> tuple[float, float, float]:
    return candidate.latency_ms, candidate.size_mb, -candidate.acc1


def _rule(fitting: Sequence[Candidate], limits: Limits) -> tuple[str, Callable[[Candidate], tuple[object, ...]]]:
    """What decides, in words and as a sort key: the best comes first."""
    if limits.max_latency_ms is not None or limits.max_size_mb is not None:
        return "the most accurate within the limits", lambda c: (-c.acc1, c.latency_ms, c.size_mb, c.name)
    if limits.min_acc1 is not None:
        return "the quickest that is accurate enough", lambda c: (c.latency_ms, c.size_mb, -c.acc1, c.name)
    distance = _distance_to_ideal(fitting)
    return "the best compromise: nearest to the least error, time and size of any", lambda c: (distance(c), c.name)


def by_compromise(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The best compromise first.

    That is the model nearest to one that would be best in everything: error, time and size each scaled to 0..1 over
    `candidates`, time and size in logarithms, so that twice as slow weighs as much from 10 ms as from 100.
    """
    distance = _distance_to_ideal(candidates)
    return sorted(candidates, key=lambda candidate: (distance(candidate), candidate.name))


def _distance_to_ideal(candidates: Sequence[Candidate]) -> Callable[[Candidate], float]:
    """As by_compromise says."""
    rows = [_scale(candidate) for candidate in candidates]
    lows, highs = ([end(column) for column in zip(*rows, strict=True)] for end in (min, max))

    def distance(candidate: Candidate) -> float:
        shares = ((v - low) / (high - low or 1) for v, low, high in zip(_scale(candidate), lows, highs, strict=True))
        return math.hypot(*shares)

    return distance


def _scale(candidate: Candidate) -> tuple[float, float, float]:
    return math.log(candidate.latency_ms), math.log(candidate.size_mb), -candidate.acc1


def _why_not(best: Candidate, other: Candidate) -> str:
    """What `other` does worse, and what better."""
    points = other.acc1 - best.acc1
    parts = [
        (points, f"is {abs(points):.2f} points {'more' if points > 0 else 'less'} accurate"),
        (best.latency_ms - other.latency_ms, f"takes {other.latency_ms / best.latency_ms:.3g} times as long"),
        (best.size_mb - other.size_mb, f"is {other.size_mb / best.size_mb:.3g} times as large"),
    ]
    worse, better = (_and([text for gain, text in parts if sign * gain > 0]) for sign in (-1, 1))
    if not worse:
        return f"though it {better}" if better else "equal in everything"
    return f"it {worse}, {f'though it {better}' if better else 'and is better in nothing'}"


def _and(parts: list[str]) -> str:
    return " and ".join([", ".join(parts[:-1])] * (len(parts) > 1) + parts[-1:])


def _relaxations(candidates: Sequence[Candidate], limits: Limits) -> list[Relaxation]:
    """For each set of limits that admits a model when it is relaxed, the least change; sets that contain a smaller one
    are left out.
    """
    best: dict[frozenset[str], Candidate] = {}
    for candidate in sorted(candidates, key=lambda c: c.name):
        broken = frozenset(limits.broken(candidate))
        if broken not in best or _effort(candidate, limits) < _effort(best[broken], limits):
            best[broken] = candidate
    least = [(broken, candidate) for broken, candidate in best.items() if not any(other < broken for other in best)]
    least.sort(key=lambda pair: (_effort(pair[1], limits), pair[1].name))
    return [
        Relaxation(limits=_relaxed(limits, c, broken), changed=tuple(limits.broken(c)), admits=c.name)
        for broken, c in least
    ]


def _effort(candidate: Candidate, limits: Limits) -> float:
    """By which factor the limits would have to give way in total; for accuracy, by which factor the allowed error."""
    factors = {
        "max_latency_ms": candidate.latency_ms / max(limits.max_latency_ms or 0, _TINY),
        "max_size_mb": candidate.size_mb / max(limits.max_size_mb or 0, _TINY),
        "min_acc1": (100 - candidate.acc1) / max(100 - (limits.min_acc1 or 0), _TINY),
    }
    return math.prod(factors[name] for name in limits.broken(candidate))


def _relaxed(limits: Limits, candidate: Candidate, broken: frozenset[str]) -> Limits:
    needed = {"max_latency_ms": candidate.latency_ms, "max_size_mb": candidate.size_mb, "min_acc1": candidate.acc1}
    return replace(limits, **{name: value for name, value in needed.items() if name in broken})
