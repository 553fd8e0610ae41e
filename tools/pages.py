"""Writes the parts of pages, and the pictures, that are made from figures; PAGES says which from which (`make docs`).

    python tools/pages.py                                      all of them
    python tools/pages.py docs/parity.md figures/bench.json    this page, and what is made from these figures

What lies between <!-- begin NAME --> and <!-- end NAME --> on a page is replaced; the rest is written by hand.
"""

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Generic, TypeVar

from rendering import (
    clients,
    compare,
    containers,
    demo,
    evaluate,
    goals,
    gpu,
    image_formats,
    in_graph,
    licences,
    parity,
    performance,
    quantize,
    real,
    reliability,
    scaling,
    sections,
    serving,
    summary,
    tuning,
    versions,
    zoo,
)
from rendering.markdown import fill

ROOT = Path(__file__).parents[1]
Content = TypeVar("Content", str, bytes)


class Of(Generic[Content]):
    """What `render` makes of figures. `sources` are JSON files, each with the way to the part of it: FILE#key/key."""

    def __init__(self, render: Callable[..., Content], *sources: str) -> None:
        self.render: Callable[..., Content] = render
        self.sources = sources

    def __call__(self) -> Content:
        return self.render(*map(_read, self.sources))


@dataclass(frozen=True)
class Page:
    """A Markdown file; its parts by their names, text; and the pictures that it shows by their paths, bytes."""

    path: str
    parts: Mapping[str, Of[str]]
    pictures: Mapping[str, Of[bytes]] = field(default_factory=dict)

    @property
    def files(self) -> set[str]:
        """The page itself, and the figures it is filled from."""
        sources = chain(
            *(part.sources for part in self.parts.values()), *(picture.sources for picture in self.pictures.values())
        )
        return {self.path} | {source.partition("#")[0] for source in sources}

    def text(self) -> str:
        """The whole page as it must be. Raises ValueError where it does not have a part."""
        return fill((ROOT / self.path).read_text(encoding="utf-8"), {name: part() for name, part in self.parts.items()})

    def write(self) -> None:
        (ROOT / self.path).write_text(self.text(), encoding="utf-8")
        for path, picture in self.pictures.items():
            (ROOT / path).parent.mkdir(exist_ok=True)
            (ROOT / path).write_bytes(picture())


def _read(source: str) -> Any:
    file, _, way = source.partition("#")
    if file in _LATER and not (ROOT / file).exists():
        return _LATER[file]
    found = json.loads((ROOT / file).read_text(encoding="utf-8"))
    for key in filter(None, way.split("/")):
        found = found[key]
    return found


_GPU, _INT8 = "figures/gpu/proof.json", "figures/real/int8.json"
_LATER = {_GPU: gpu.NOTHING, _INT8: real.NOT_YET}  # as long as nobody measured, they are not there
_REAL, _REAL_COMPARE = "figures/real/answers.json", "figures/real/comparison.json"
_BENCH, _COMPARE, _ZOO = "figures/bench.json", "figures/compare/comparison.json", "figures/zoo.json"

PAGES = (
    Page(
        "README.md",
        {"performance": Of(summary.readme, _BENCH)},
        {path: Of(draw, "figures/demo.json") for path, draw in demo.pictures().items()},
    ),
    Page(
        "docs/compare.md",
        {name: Of(render, _COMPARE) for name, render in (
            ("recommendation", compare.recommendation), ("machine", compare.machine), ("table", compare.models),
            ("tutorial", compare.tutorial),
        )},
        {
            f"docs/compare/{name}.{kind}": Of(compare.chart(name, kind), _COMPARE)
            for name in compare.CHARTS for kind in compare.KINDS
        },
    ),
    Page(
        "docs/evaluate.md",
        {},
        {"docs/evaluate/digits.png": Of(evaluate.confusion_matrix, "figures/evaluate/digits.json")},
    ),
    Page("docs/export.md", {"torch": Of(versions.torch, "figures/torch-versions.json")}),
    Page(
        "docs/images.md",
        {
            "decoding": Of(sections.section(performance.decoding), f"{_BENCH}#decoding"),
            "image-formats": Of(image_formats.formats, "figures/image-formats.json"),
            "icc": Of(image_formats.icc, "figures/image-formats.json"),
        },
    ),
    Page(
        "docs/gpu.md",
        {name: Of(render, _GPU) for name, render in gpu.PARTS.items()},
        {f"docs/gpu/{name}": Of(draw, _GPU) for name, draw in gpu.PICTURES.items()} if (ROOT / _GPU).exists() else {},
    ),
    Page("docs/in-graph.md", {"in-graph": Of(in_graph.times, "figures/in_graph.json")}),
    Page("docs/licences.md", {"licences": Of(licences.licence_table, "docs/sbom.cdx.json")}),
    Page("docs/many-images.md", {"workers": Of(sections.section(performance.workers), f"{_BENCH}#workers")}),
    Page(
        "docs/parity.md",
        {
            "calibration": Of(parity.calibration, _ZOO, "figures/seeds.json"),
            "departure": Of(parity.departure, "figures/mutations.json#rows"),
            "mutations": Of(parity.mutation_table, "figures/mutations.json"),
            "batching": Of(parity.batching, _ZOO),
        },
        {"docs/images/parity.svg": Of(parity.draw, _ZOO)},
    ),
    Page(
        "docs/performance.md",
        {
            "machine": Of(sections.machine, _BENCH), "goals": Of(goals.table_of_goals, _BENCH, "figures/serve.json"),
            "again": Of(sections.again, _BENCH, _COMPARE), "export": Of(performance.export, _BENCH),
        }
        | {render.__name__: Of(sections.section(render), f"{_BENCH}#{render.__name__}") for render in (
            performance.forward, tuning.options, performance.profile, performance.int8, performance.folders,
            performance.cold_start, performance.loading, performance.preprocessing, performance.memory,
            performance.size, performance.export_parts, tuning.cores,
        )}
        | {
            "definitions": Of(sections.section(tuning.definitions), "figures/records.json"),
            "tried": Of(sections.section(tuning.tried), f"{_BENCH}#options"),
            "ways": Of(serving.tried, "figures/serve.json"),
            "parts": Of(sections.section(performance.parts), f"{_BENCH}#parts"),
            "arithmetic": Of(performance.arithmetic, f"{_BENCH}#arithmetic", f"{_BENCH}#folders"),
        },
        {"docs/images/performance.svg": Of(summary.draw, f"{_BENCH}#forward/found")},
    ),
    Page(
        "docs/quantize.md",
        {name: Of(quantize.part, f"figures/quantize/{name}.json") for name in quantize.NAMES}
        | {"tried": Of(quantize.tried, "figures/quantize/tried.json")},
    ),
    Page(
        "docs/real.md",
        {render.__name__: Of(render, _REAL) for render in (real.ways, real.networks, real.photos)}
        | {"comparison": Of(real.comparison, _REAL_COMPARE), "int8": Of(real.int8, _INT8)},
        {path: Of(draw, _REAL, _REAL_COMPARE) for path, draw in real.pictures().items()},
    ),
    Page(
        "docs/reliability.md",
        {
            "fuzz": Of(reliability.fuzz, "figures/reliability.json#fuzz"),
            "kills": Of(reliability.kills, "figures/reliability.json#kills"),
            "attacks": Of(reliability.attacks, "figures/attacks.json"),
            "worker-kills": Of(reliability.worker_kills, "figures/reliability.json#worker_kills"),
        },
    ),
    Page(
        "docs/scaling.md",
        {
            "ray": Of(scaling.throughput, "figures/ray.json#throughput"),
            "names": Of(scaling.names, "figures/ray.json#names"),
            "costs": Of(scaling.costs, "figures/ray.json#throughput", "figures/prices.json"),
            "billion": Of(
                scaling.billion, "figures/ray.json#throughput", "figures/ray.json#sizes", "figures/prices.json"
            ),
        },
    ),
    Page(
        "docs/serving.md",
        {
            "clients": Of(clients.matrix, "figures/clients.json"),
            "load": Of(serving.load, "figures/serve.json"),
            "overload": Of(serving.overload, "figures/serve.json"),
            "soak": Of(serving.of_soak, "figures/soak.json"),
        },
    ),
    Page(
        "docs/shipping.md",
        {
            "python": Of(versions.python, "figures/python-versions.json"),
            "containers": Of(containers.built, "figures/containers.json"),
        },
    ),
    Page("docs/zoo.md", {"count": Of(zoo.count, _ZOO), "models": Of(zoo.models, _ZOO)}),
)  # fmt: skip


def main(*names: str) -> None:
    """Writes the pages that are named, or made from the figures that are named; all without a name."""
    known = set[str]().union(*(page.files for page in PAGES))
    if unknown := set(names) - known:
        raise SystemExit(
            f"{', '.join(sorted(unknown))}: neither a page nor its figures; there are {', '.join(sorted(known))}"
        )
    for page in PAGES:
        if not names or page.files & set(names):
            page.write()


if __name__ == "__main__":
    main(*sys.argv[1:])
