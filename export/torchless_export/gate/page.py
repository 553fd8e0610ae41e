"""A verdict as one self-contained HTML file: checks against limits, metrics, a histogram of errors, and the answers for
every image.
"""

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader

from torchless.engine.head import Head, make_head
from torchless.model.artifact import Artifact
from torchless.model.manifest import Metrics
from torchless.palette import css
from torchless.proof.answers import best, max_abs
from torchless.proof.text import limit_text
from torchless.text import UNTRAINED, megabytes
from torchless_export.gate.checks import Verdict
from torchless_export.gate.evidence import Evidence, Logits, SetEvidence
from torchless_export.gate.histogram import Histogram, histogram
from torchless_export.gate.text import METRICS, metrics_rows

# Of more images than this, those that disagree and the first of the others are shown.
_MAX_IMAGES = 100
_SET_NAMES = {"random": "Noise", "photos": "Photos", "yours": "Your images"}


def render(
    artifact: Artifact,
    verdict: Verdict,
    *,
    labels: Sequence[str],
    tf32_metrics: Sequence[Metrics] = (),
    unreadable: Sequence[str] = (),
) -> str:
    """The page as text. Everything in it that comes from outside, such as labels and file names, is escaped.

    `labels` are PyTorch's, `tf32_metrics` the figures with TF32 on a GPU, `unreadable` has a line for each image that
    could not be read.
    """
    evidence = verdict.evidence
    environment = Environment(
        loader=PackageLoader("torchless_export.gate", "."), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("page.html.jinja").render(
        palette=css(),
        manifest=artifact.manifest,
        file=artifact.path.name,
        size=megabytes(artifact.size),
        parity=verdict.parity,
        departure=str(verdict.departure) if verdict.departure is not None else None,
        untrained=None if artifact.manifest.is_trained else UNTRAINED,
        tables=[
            ("", metrics_rows(verdict.parity.metrics)),
            ("With TF32, which is off for the verdict:", metrics_rows(tf32_metrics)),
        ],
        metrics=METRICS,
        unreadable=unreadable,
        set_names=_SET_NAMES,
        limit_text=limit_text,
        sets=_sets(artifact, evidence, tuple(labels)) if evidence is not None else [],
    )


def _sets(artifact: Artifact, evidence: Evidence, labels: tuple[str, ...]) -> list["_Set"]:
    outputs = next(iter(evidence.sets.values())).reference.shape[1]
    head = make_head(artifact.manifest.output, labels, outputs)
    return [_describe(evidence, name, head) for name in evidence.sets]


@dataclass(frozen=True)
class _Set:
    """One set of images, at the batch size at which its logits are furthest from PyTorch's. `rows` are those whose
    answers differ, `alike` those whose do not; up to _MAX_IMAGES in all, of `count`.
    """

    name: str
    batch_size: int
    count: int
    histogram: Histogram
    rows: tuple["_Row", ...]
    alike: tuple["_Row", ...]


def _describe(evidence: Evidence, name: str, head: Head) -> _Set:
    found = evidence.sets[name]
    worst = max(found.runs, key=found.error)
    rows = tuple(_rows(found, worst, head))
    differ, alike = (tuple(row for row in rows if row.agrees is agrees) for agrees in (False, True))
    return _Set(_SET_NAMES[name], worst, len(found.records), histogram(evidence, name, worst), differ, alike)


@dataclass(frozen=True)
class _Row:
    """One image with the top five of both sides: (label, probability in percent, whether both have it at that place)
    each.
    """

    name: str
    thumbnail: str | None
    agrees: bool
    max_error: float
    ours: tuple[tuple[str, float, bool], ...]
    theirs: tuple[tuple[str, float, bool], ...]


def _rows(found: SetEvidence, batch_size: int, head: Head) -> Iterator[_Row]:
    """Those that differ first, then the others, up to _MAX_IMAGES."""
    answers = found.runs[batch_size]
    sides = head.scores(found.reference), head.scores(answers)
    orders = [(best(wanted), best(got)) for wanted, got in zip(*sides, strict=True)]
    for i in sorted(range(len(orders)), key=lambda i: orders[i][0] == orders[i][1])[:_MAX_IMAGES]:
        wanted, got = orders[i]
        yield _Row(
            name=found.records[i].name,
            thumbnail="data:image/jpeg;base64," + base64.b64encode(found.thumbnails[i]).decode()
            if found.thumbnails
            else None,
            agrees=wanted == got,
            max_error=max_abs(answers[i] - found.reference[i]),
            ours=_top(found.reference[i], wanted, got, head),
            theirs=_top(answers[i], got, wanted, head),
        )


def _top(logits: Logits, order: list[int], other: list[int], head: Head) -> tuple[tuple[str, float, bool], ...]:
    probabilities = head.probabilities(logits)
    return tuple(
        (head.labels[index], 100 * float(probabilities[index]), index == twin)
        for index, twin in zip(order, other, strict=True)
    )
