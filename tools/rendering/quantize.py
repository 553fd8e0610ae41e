"""docs/quantize.md: what int8 makes of real weights, from the manifests of the int8 files (bench/int8.py)."""

from rendering import Row
from rendering.markdown import table
from rendering.origin import measured

NAMES = ("efficientnet_lite0", "digits")


def part(found: Row) -> str:
    """The file's size and speed, what stayed in float32, and the checks."""
    made, pace = found["reduction"], found["reduction"]["pace"]
    ratio = pace["float_ms"] / pace["ms"]
    threads = f"{pace['threads']} thread{'s' * (pace['threads'] > 1)}"
    lines = [
        [
            "size",
            f"{pace['float_bytes'] / 1e6:.1f} MB",
            f"{pace['bytes'] / 1e6:.1f} MB",
            f"{pace['bytes'] / pace['float_bytes']:.2f} ×",
        ],
        ["one image", f"{pace['float_ms']:.2f} ms", f"{pace['ms']:.2f} ms", f"{ratio:.2f} × as fast"],
    ]
    layers = [name for name in made["kept_float"] if name.startswith("node_")]
    kept = (
        f"{len(layers)} layers stayed in float32, {', '.join(layers[:3])} first"
        if layers
        else "No layer had to stay in float32"
    )
    checks = [
        [check["name"], f"{check['figure']:.4g}", f"{check['limit']:.4g}", check["detail"]]
        for check in found["parity"]["checks"]
    ]
    return "\n\n".join(
        [
            table(["", "float32", "int8", ""], lines),
            f"{kept}. {made['calibration']['images']} images calibrated; {threads}. {measured(found)}",
            table(["check", "figure", "limit", ""], checks),
        ]
    )


def tried(found: Row) -> str:
    """What each step gives (bench/int8_steps.py)."""
    floats = {row["network"]: row["cpu_ms"] for row in found["rows"] if row["step"] == "float32"}
    lines = [
        [
            row["network"],
            row["step"],
            f"{row['agreement']:.1%} of {row['images']}",
            f"{row['noise']:.3f}",
            "" if row["cpu_ms"] is None else str(row["float_layers"]),
            "" if row["cpu_ms"] is None else f"{floats[row['network']] / row['cpu_ms']:.2f} ×",
        ]
        for row in found["rows"]
        if row["step"] != "float32"
    ]
    columns = ["", "", "same top-1 in test", "noise", "float layers", "as fast as float32"]
    packages = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    return f"{table(columns, lines)}\n\n{measured(found)} {packages}."
