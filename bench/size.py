"""What an install takes on disk, by package, in the environment that runs this: a distribution and all it requires.

python bench/size.py 'torchless[cpu]'        prints JSON: bytes of each, the largest first; compiled modules count
python bench/size.py torch torchvision
"""

import json
import sys
from importlib.metadata import distribution

from packaging.requirements import Requirement


def main(requirements: list[str]) -> None:
    sizes = {name: bytes_of(name) for name in closure(requirements)}
    print(json.dumps(dict(sorted(sizes.items(), key=lambda item: -item[1])), indent=1))


def closure(requirements: list[str]) -> set[str]:
    """The names of the distributions, and of all that they require here."""
    todo, seen = [Requirement(text) for text in requirements], set()
    while todo:
        requirement = todo.pop()
        wanted = (requirement.name.lower().replace("_", "-"), frozenset(requirement.extras))
        if wanted not in seen:
            seen.add(wanted)
            found = [Requirement(line) for line in distribution(wanted[0]).requires or ()]
            todo += [
                item
                for item in found
                if item.marker is None or any(item.marker.evaluate({"extra": e}) for e in wanted[1] or {""})
            ]
    return {name for name, _ in seen}


def bytes_of(name: str) -> int:
    """All files that the distribution's record lists."""
    files = distribution(name).files or ()
    return sum(file.locate().stat().st_size for file in files if file.locate().is_file())


if __name__ == "__main__":
    main(sys.argv[1:])
