"""What an install takes on disk, by package: `torchless[cpu]`, and torch with torchvision. Counted in the environment that runs this.

python bench/size.py        prints JSON
"""

import json
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement

import torchless


def main() -> None:
    runtime = {name: bytes_of(name) for name in closure("torchless", {"cpu"})}
    # Here it is installed in place; in a wheel it is the two import packages.
    package = Path(torchless.__file__).parent
    runtime["torchless"] = sum(bytes_in(folder) for folder in (package, package.parents[1] / "export" / "torchless_export"))
    pytorch = {name: bytes_of(name) for name in closure("torch") | closure("torchvision")}
    rows = {name: dict(sorted(sizes.items(), key=lambda item: -item[1])) for name, sizes in (("runtime", runtime), ("pytorch", pytorch))}
    totals = {f"{name}_bytes": sum(sizes.values()) for name, sizes in rows.items()}
    print(json.dumps(totals | rows, indent=1))


def closure(name: str, extras: set[str] | None = None) -> set[str]:
    """The distribution, and all that it requires here."""
    found: set[str] = set()
    todo = [(name, frozenset(extras or ()))]
    seen = set()
    while todo:
        name, wanted = todo.pop()
        name = name.lower().replace("_", "-").replace(".", "-")
        if (name, wanted) in seen:
            continue
        seen.add((name, wanted))
        found.add(name)
        for line in distribution(name).requires or ():
            requirement = Requirement(line)
            if requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in (wanted or {""})):
                todo.append((requirement.name, frozenset(requirement.extras)))
    return found


def bytes_of(name: str) -> int:
    """All files that the distribution's record lists, compiled ones too."""
    files = distribution(name).files or ()
    return sum(path.stat().st_size for file in files if (path := Path(str(file.locate()))).is_file())


def bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc")


if __name__ == "__main__":
    main()
