"""Fills in docs/licences.md from docs/sbom.cdx.json. `make sbom` writes the one and runs the other."""

import json
from pathlib import Path
from typing import Any

from pages import fill, table

DOCS = Path(__file__).parents[1] / "docs"
PAGE, SBOM = DOCS / "licences.md", DOCS / "sbom.cdx.json"

Component = dict[str, Any]


def packages(sbom: dict[str, Any]) -> list[Component]:
    """What is installed beside torchless itself, by name."""
    return sorted((one for one in sbom["components"] if one["name"] != "torchless"), key=lambda one: one["name"].lower())


def licence(component: Component) -> str:
    """As the package declares it: an SPDX expression, or else identifiers and names; the text of a licence says "its own"."""
    found = [entry.get("expression") or _name(entry["license"]) for entry in component.get("licenses", ())]
    expressions = [entry["expression"] for entry in component.get("licenses", ()) if "expression" in entry]
    return ", ".join(dict.fromkeys(expressions or found)) or "not declared"


def _name(entry: dict[str, Any]) -> str:
    name: str = entry.get("id") or entry.get("name", "")
    name = name.removeprefix("License :: OSI Approved :: ").removeprefix("declared license of ")
    return "its own" if len(name) > 60 else name


def licence_table(sbom: dict[str, Any]) -> str:
    """Package, version, licence."""
    rows = [(one["name"], one["version"], licence(one)) for one in packages(sbom)]
    return table(("package", "version", "licence"), rows).replace("---:", "---")


def main() -> None:
    """Rewrites the page."""
    sbom = json.loads(SBOM.read_text(encoding="utf-8"))
    PAGE.write_text(fill(PAGE.read_text(encoding="utf-8"), {"licences": licence_table(sbom)}), encoding="utf-8")


if __name__ == "__main__":
    main()
