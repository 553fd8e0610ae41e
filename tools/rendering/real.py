"""docs/real.md and the README's first chart: networks with real weights on labelled photos, beside
PyTorch and beside what is published of them.
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from rendering import Row
from rendering.markdown import table
from rendering.origin import measured
from torchless.charts import file_of, new_figure, style
from torchless.palette import DARK, LIGHT, Theme
from torchless_export.compare.comparison import Comparison
from torchless_export.compare.recommend import Limits, recommend
from torchless_export.compare.text import candidates, comparison_text, recommendation_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NOT_YET: Row = {"networks": []}


def networks(found: Row) -> str:
    """Each network's errors, measured and published."""
    rows = [
        [
            row["model"],
            *(_interval(row["errors"][f"{best}_error"]) for best in ("top1", "top5")),
            *(_percent(row["published"][best]) for best in ("top1", "top5")),
        ]
        for row in found["networks"]
    ]
    heading = ("%, with 95 % intervals", "top-1 error here", "top-5 error here", "top-1 published", "top-5 published")
    return f"{table(heading, rows)}\n\n{_machine(found)}"


def _interval(share: Row) -> str:
    return f"{100 * share['value']:.0f} ({100 * share['low']:.0f}–{100 * share['high']:.0f})"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def _machine(found: Row) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    return f"{measured(found)} {versions[0].upper()}{versions[1:]}."


def ways(found: Row) -> str:
    """For each way of running a network, how many answers are PyTorch's."""
    first, *_ = found["networks"]
    rows = [
        [way, *(_agreement(row["ways"][way]) for row in found["networks"]), f"{_furthest(found, way):.0e}"]
        for way in first["ways"]
    ]
    right = [f"{row['pytorch']['top1_right']} and {row['pytorch']['top5_right']}" for row in found["networks"]]
    names = [row["model"] for row in found["networks"]]
    return table(
        ("same best class, same five", *names, "largest difference of a probability"),
        [*rows, ["right in PyTorch: best class, five", *right, ""]],
    )


def _agreement(way: Row) -> str:
    return f"{way['top1']} and {way['top5']} of {way['images']}"


def _furthest(found: Row, way: str) -> float:
    return max(float(row["ways"][way]["probability"]) for row in found["networks"])


def int8(found: Row) -> str:
    """Each int8 file beside its float32 one, or why there is none."""
    if not found["networks"]:
        return "Not measured yet: `make real ARGS=int8`."
    made = [row for row in found["networks"] if "refused" not in row]
    heading = (
        "int8", "same answer on held-out crops", "same answer on the photos", "right by float32 alone", "by int8 alone",
        "McNemar's p", "top-1 error", "layers in float32", "size", "one image",
    )  # fmt: skip
    lines = [
        f"- **{row['model']}**: refused (exit code {refused['exit_code']}): {refused['said']}"
        for row in found["networks"]
        if (refused := row.get("refused"))
    ]
    text = [table(heading, [_int8_row(row) for row in made])] if made else []
    return "\n\n".join([*text, *(["\n".join(lines)] if lines else []), measured(found)])


def _int8_row(row: Row) -> list[str]:
    agreement, pace, crops = row["agreement"], row["pace"], row["crops"]
    same = agreement["same_answer"]
    return [
        row["model"],
        f"{100 * crops['agreement']:.1f} % of {crops['images']}",
        f"{round(same['value'] * agreement['images'])} of {agreement['images']}",
        str(agreement["only_second_right"]),
        str(agreement["only_first_right"]),
        f"{agreement['p_value']:.2g}",
        _interval(row["errors"]["top1_error"]),
        str(row["kept_float"]),
        f"{pace['bytes'] / pace['float_bytes']:.2f} ×",
        f"{pace['float_ms'] / pace['ms']:.2f} × as fast",
    ]


def comparison(figures: Row) -> str:
    """What `torchless compare` prints of the same networks."""
    found = Comparison.from_dict(figures)
    where, choices = candidates(found)
    lines = [*comparison_text(found).splitlines(), "", *recommendation_lines(recommend(choices, Limits()), where)]
    return "\n".join(f"    {line}".rstrip() for line in lines)


def photos(found: Row) -> str:
    """Each photo's class, and each network's answer where it is another one."""
    rows = [
        [photo["label"], *(_given(found, row["answers"][photo["image"]], photo["class"]) for row in found["networks"])]
        for photo in found["photos"]
    ]
    return table(("the photo shows", *(row["model"] for row in found["networks"])), rows).replace("---:", "---")


def _given(found: Row, answer: int, wanted: int) -> str:
    return "✓" if answer == wanted else str(found["labels"][str(answer)])


def pictures() -> dict[str, Callable[[Row, Row], bytes]]:
    """By their paths, the functions that draw them from answers.json and comparison.json."""
    return {
        f"docs/images/real{'-phone' * narrow}{'-dark' * (theme is DARK)}.svg": partial(draw, theme=theme, narrow=narrow)
        for narrow in (False, True)
        for theme in (LIGHT, DARK)
    }


def draw(found: Row, comparison: Row, *, theme: Theme, narrow: bool) -> bytes:
    """An SVG file: of each network the error measured with its interval, the one published, the time and the size."""
    with style(theme):
        figure, axes = _axes(narrow)
        times = {row["model"]: row for row in comparison["rows"]}
        names = [row["model"] for row in found["networks"]]
        _errors(axes[0], found["networks"], theme)
        _bars(axes[1], "CPU, ms\nfor one image", [times[name]["cpu"]["single"]["p50_ms"] for name in names], theme)
        _bars(axes[2], "size of the\nfile, MB", [times[name]["size_bytes"] / 1e6 for name in names], theme)
        for number, one in enumerate(axes):
            one.set_ylim(len(names) - 0.5, -0.6)
            one.set_yticks(range(len(names)), names if narrow or number == 0 else [""] * len(names))
            one.tick_params(axis="y", length=0, labelcolor=theme.ink)
            one.spines["left"].set_visible(False)
        return file_of(figure, "svg")


def _axes(narrow: bool) -> tuple["Figure", list["Axes"]]:
    """Three charts beside each other, or below each other for a phone."""
    figure, first = new_figure(*((4.6, 7.2) if narrow else (9.2, 2.9)))
    figure.delaxes(first)
    if narrow:
        grid = figure.add_gridspec(3, 1, height_ratios=(1.5, 1, 1))
    else:
        grid = figure.add_gridspec(1, 3, width_ratios=(3, 1.15, 1.15))
    figure.set_layout_engine("constrained")
    return figure, [figure.add_subplot(grid[number]) for number in range(3)]


def _errors(axes: "Axes", rows: list[Row], theme: Theme) -> None:
    for place, row in enumerate(rows):
        error, published = row["errors"]["top1_error"], row["published"]["top1"]
        low, high = 100 * error["low"], 100 * error["high"]
        axes.plot([low, high], [place, place], color=theme.accent, linewidth=1.4, zorder=2)
        axes.plot(100 * error["value"], place, "o", color=theme.accent, markersize=8, zorder=3)
        axes.plot(published, place, "D", color=theme.paper, markeredgecolor=theme.warm, markeredgewidth=1.6, zorder=4)
        wrong = round(error["value"] * row["errors"]["images"])
        axes.annotate(
            f"{wrong} of {row['errors']['images']} wrong; published {published:.1f} %", (low, place),
            xytext=(0, 8), textcoords="offset points", fontsize=8, color=theme.soft,
        )  # fmt: skip
    axes.set_xlim(0, 60)
    axes.set_title(
        f"top-1 error, %\n● on {rows[0]['errors']['images']} photos, with its 95 % interval   ◇ published",
        **_title(theme),
    )
    axes.grid(axis="x")
    axes.set_axisbelow(True)


def _title(theme: Theme) -> dict[str, Any]:
    return {"loc": "left", "fontsize": 9, "color": theme.ink}


def _bars(axes: "Axes", title: str, values: list[float], theme: Theme) -> None:
    axes.barh(range(len(values)), values, height=0.5, color=theme.accent)
    for place, value in enumerate(values):
        axes.annotate(
            f"{value:.1f}", (value, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8,
            color=theme.soft,
        )  # fmt: skip
    axes.set_xlim(0, 1.25 * max(values))
    axes.set_title(title, **_title(theme))
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
