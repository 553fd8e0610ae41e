"""docs/performance.md: what ONNX Runtime's options come to, and what a model does on more and more processors."""

from rendering import Row
from rendering.markdown import table
from rendering.performance import by_model


def options(rows: list[Row]) -> str:
    """Each option's time as a share of the default's; below 1 is faster. In brackets, where it was measured, its
    processor time, which threads that only wait take too.
    """
    models = by_model(rows)
    names = dict.fromkeys(row["peer"] for row in rows if row["peer"] not in ("pytorch", "onnxruntime"))
    lines = [[name, *(_share(peers[name], peers["onnxruntime"]) for peers in models.values())] for name in names]
    default = ["default, ms", *(f"{peers['onnxruntime']['p50_ms']:.2f}" for peers in models.values())]
    return table(["time ÷ the default's", *models], [default, *lines])


def _share(row: Row, default: Row) -> str:
    if "unavailable" in row:
        return str(row["unavailable"])
    share = f"{row['p50_ms'] / default['p50_ms']:.2f}"
    return share + (f" ({row['cpu_ms'] / default['cpu_ms']:.2f})" if "cpu_ms" in row and "cpu_ms" in default else "")


# Options of ONNX Runtime that were tried, in words; what they came to is in the figures.
TRIED = {
    "extended": "less optimisation of the graph, `extended`",
    "basic": "… `basic`",
    "no_spinning": "threads that sleep at once when there is nothing to do",
    "spin_100us": "threads that wait awake for 0.1 ms",
    "spin_10ms": "… for 10 ms",
    "force_spinning_stop": "threads that stop waiting when a run ends",
    "affinity": "each thread on a processor of its own",
    "no_arena": "no memory arena",
    "no_prepacking": "weights not packed ahead",
    "denormals_as_zero": "tiny numbers as zero",
    "parallel": "operators beside each other",
    "io_binding": "IO binding on the CPU",
    "openvino_provider": "its OpenVINO provider, the older wheel",
    "openvino_plugin": "its OpenVINO plug-in",
}
CLASSES = 50  # about as many as a start of `infer` defines
NOTICEABLE = 0.03  # of a time: less is within the range of the rounds


def tried(rows: list[Row]) -> str:
    """What each option came to: whether it made any network faster or slower by more than the rounds differ."""
    models = by_model(rows)
    lines = []
    for name, words in TRIED.items():
        if any(name not in peers for peers in models.values()):
            continue
        if any("unavailable" in peers[name] for peers in models.values()):
            lines.append([words, "", next(iter(models.values()))[name]["unavailable"]])
            continue
        shares = {model: peers[name]["p50_ms"] / peers["onnxruntime"]["p50_ms"] for model, peers in models.items()}
        gains = [model for model, share in shares.items() if share < 1 - NOTICEABLE]
        losses = [model for model, share in shares.items() if share > 1 + NOTICEABLE]
        said = "mixed" if gains and losses else "faster" if gains else "slower" if losses else "no difference"
        lines.append([words, f"{min(shares.values()):.2f} to {max(shares.values()):.2f}", said])
    return table(["ONNX Runtime with …", "of the default's time", ""], lines)


def cores(rows: list[Row]) -> str:
    """A folder, a server and one image by the number of processors, and how many times as fast as with one."""
    first = {row["model"]: row for row in rows if row["processors"] == 1}
    lines = []
    for row in rows:
        one = first[row["model"]]
        rates = [
            f"{row[key]:.1f} ({row[key] / one[key]:.2f} ×)"
            for key in ("folder_images_per_second", "server_requests_per_second")
        ]
        latency = f"{row['one_image_ms']:.2f} ({one['one_image_ms'] / row['one_image_ms']:.2f} ×)"
        lines.append([row["model"], row["processors"], *rates, latency])
    head = ["", "processors", "folder, images/s", "server, 32 clients, requests/s", "one image, all threads, ms"]
    return table(head, lines)


def definitions(found: Row) -> str:
    """What fifty classes cost a process."""
    rows = [
        ["the standard library's dataclass", "–", found["dataclasses"]],
        ["torchless.records", "–", found["records"]],
        ["structs of msgspec", f"{found['import_msgspec'] / 1000:.1f}", found["msgspec"]],
    ]
    lines = [
        [
            name,
            imports,
            f"{each / 1000:.2f}",
            f"{CLASSES * each / 1000 + (float(imports) if imports != '–' else 0):.1f}",
        ]
        for name, imports, each in rows
    ]
    return table(["ms of a processor", "import", "a class", f"{CLASSES} classes and the import"], lines)
