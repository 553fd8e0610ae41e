"""How closely the runtime's rooms are connected. `make lint` checks which may import which (docs/architecture.md)."""

import tomllib

import grimp
from tests.conftest import REPO

MOST = 130


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else module


def test_few_modules_look_into_other_rooms() -> None:
    """Each module counts once for each room that it imports from; the ground does not count, nor imports for type
    checkers only.
    """
    (layers,) = [
        contract["layers"]
        for contract in tomllib.loads((REPO / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
        if contract.get("containers") == ["torchless"]
    ]
    ground = set(layers[-1].split(" : "))
    graph = grimp.build_graph("torchless", exclude_type_checking_imports=True, cache_dir=None)
    looks = {
        (module, room(imported))
        for module in graph.modules
        for imported in graph.find_modules_directly_imported_by(module)
        if room(imported) not in {room(module), *ground}
    }
    assert "errors" in ground
    assert ("torchless.cli.infer", "batch") in looks
    assert len(looks) <= MOST, sorted(looks)
