"""docs/licences.md: what is installed with torchless, from the SBOM that `make sbom` writes."""

from rendering import Row
from rendering.markdown import table


def packages(sbom: Row) -> list[Row]:
    """What is installed beside torchless itself, by name."""
    return sorted(
        (one for one in sbom["components"] if one["name"] != "torchless"), key=lambda one: one["name"].lower()
    )


def licence(component: Row) -> str:
    """As the package declares it: an SPDX expression, or else identifiers and names; "its own" for a text."""
    found = [entry.get("expression") or _name(entry["license"]) for entry in component.get("licenses", ())]
    expressions = [entry["expression"] for entry in component.get("licenses", ()) if "expression" in entry]
    return ", ".join(dict.fromkeys(expressions or found)) or "not declared"


def _name(entry: Row) -> str:
    name: str = entry.get("id") or entry.get("name", "")
    name = name.removeprefix("License :: OSI Approved :: ").removeprefix("declared license of ")
    return "its own" if len(name) > 60 else name


def licence_table(sbom: Row) -> str:
    """Package, version, licence."""
    rows = [(one["name"], one["version"], licence(one)) for one in packages(sbom)]
    return table(("package", "version", "licence"), rows).replace("---:", "---")
