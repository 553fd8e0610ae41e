"""docs/export.md and docs/shipping.md: which versions of torch and of Python were tried, and what came of it."""

from rendering import Row
from rendering.markdown import table


def torch(figures: Row) -> str:
    """A line for each version: its torchvision, and the exporter whose file passed the gate for each family."""
    rows = figures["rows"]
    names = [model["model"] for model in rows[0]["models"]]
    lines = [
        (row["torch"], row["packages"]["torchvision"], *(_exporter(model) for model in row["models"])) for row in rows
    ]
    others = sorted({f"{name} {row['packages'][name]}" for row in rows for name in ("onnx", "onnxruntime", "numpy")})
    size, pythons = figures["image_size"], sorted({row["python"] for row in rows})
    return (
        f"{table(('torch', 'torchvision', *names), lines)}\n\n"
        f"Random weights, {size}×{size} pixels; Python {', '.join(pythons)}, {', '.join(others)}. {_tried(figures)}"
    )


def _exporter(model: Row) -> str:
    return model["exporter"] if model["passed"] else "failed"


def python(figures: Row) -> str:
    """A line for each interpreter: what pip installed, and the tests."""
    packages = ("numpy", "pillow", "onnxruntime")
    lines = [
        (
            f"{row['python']}{_threading(row)}",
            *(row["packages"][name] for name in packages),
            row["tests"] if row["passed"] else "failed",
        )
        for row in figures["rows"]
    ]
    return f"{table(('Python', *packages, 'tests'), lines)}\n\n{_tried(figures)}"


def _threading(row: Row) -> str:
    if row["gil"]:
        return ""
    return f", free-threaded{' until packages are imported' * row['gil_with_packages']}"


def _tried(figures: Row) -> str:
    dates, left = sorted({row["date"] for row in figures["rows"]}), figures["not_tried"]
    return f"Tried on {', '.join(dates)}{'; not tried: ' * bool(left)}{', '.join(left)}."
