"""What it costs to define dataclasses, which every process does anew; prints microseconds a class as JSON.

    python bench/records.py > figures/records.json

By the standard library, by torchless.records, and as a struct of msgspec if that is installed, with what importing
it costs.
"""

import dataclasses
import json
import time
from importlib.util import find_spec
from statistics import median
from typing import Any

from torchless import records

FIELDS = {"name": str, "passed": bool, "figure": float, "limit": float, "detail": str, "images": int}
CLASSES, ROUNDS = 50, 15


def main() -> None:
    makers = {"dataclasses": _with(dataclasses.dataclass), "records": _with(records.dataclass)}
    found: dict[str, float] = {}
    if find_spec("msgspec"):
        start = time.process_time()
        import msgspec

        found["import_msgspec"] = round(1e6 * (time.process_time() - start), 1)
        makers["msgspec"] = lambda: msgspec.defstruct("Made", list(FIELDS.items()), kw_only=True, frozen=True)
    rounds: dict[str, list[float]] = {name: [] for name in makers}
    for _ in range(ROUNDS):
        for name, make in makers.items():
            start = time.process_time()
            for _ in range(CLASSES):
                make()
            rounds[name].append(1e6 * (time.process_time() - start) / CLASSES)
    from torchless.doctor.machine import here, versions

    found |= {name: round(median(times), 1) for name, times in rounds.items()}
    print(
        json.dumps(here() | {"versions": versions("python", "msgspec"), "found": found}, indent=1, ensure_ascii=False)
    )


def _with(dataclass: Any) -> Any:
    return lambda: dataclass(frozen=True, kw_only=True)(type("Made", (), {"__doc__": "", "__annotations__": FIELDS}))


if __name__ == "__main__":
    main()
