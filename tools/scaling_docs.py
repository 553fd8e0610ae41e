"""Fills in what docs/scaling.md reckons from figures/bench.json and figures/ray.json:

python tools/scaling_docs.py [price of a processor for an hour, in dollars]
"""

import json
import sys
from pathlib import Path
from typing import Any

from pages import fill, table

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "scaling.md"
# An assumption to be replaced by your own: clouds ask for about so much on demand, and for a third of it where they may take the machine back.
DOLLARS_A_PROCESSOR_HOUR = 0.05
MILLION, BILLION = 10**6, 10**9
DAYS, PART_SIZE, JOB_IMAGES = 7, 1000, MILLION

Row = dict[str, Any]


def load() -> tuple[Row, Row]:
    """figures/bench.json and figures/ray.json."""
    results, ray = (json.loads((ROOT / "figures" / name).read_text()) for name in ("bench.json", "ray.json"))
    return results, ray


def parts(results: Row, ray: Row, price: float) -> dict[str, str]:
    """The parts of docs/scaling.md."""
    return {
        "ray": throughput(ray["throughput"]),
        "names": names(ray["names"]),
        "costs": costs(results, ray["throughput"], price),
        "billion": billion(results, ray["sizes"], price),
    }


def throughput(models: list[Row]) -> str:
    """One line a case, with what a whole run and its start take."""
    lines = [
        [model["model"], row["case"], f"{row['start_s']:.1f} s", f"{row['seconds']:.1f} s", f"{row['images_per_second']:.0f}"]
        for model in models
        for row in model["found"]
    ]
    counts = " and ".join(f"{model['images']:,} through {model['model']}" for model in models)
    said = f"JPEGs of 500×375, {counts}; {models[0]['processors']} processors, Ray {models[0]['ray']}, {models[0]['date']}; the best of "
    return f"{table(['model', 'case', 'one image', 'all', 'images/s'], lines)}\n\n{said}{models[0]['rounds']} rounds of whole programs."


def names(found: Row) -> str:
    """How the memory of the command went as names streamed."""
    samples = found["found"]
    chosen = [samples[0], samples[len(samples) // 2], samples[-1]]
    lines = [[f"{sample['names']:,}", f"{sample['resident_bytes'] / 1e6:.1f} MB"] for sample in chosen]
    rate = found["names"] / found["seconds"]
    said = (
        f"{found['names']:,} names in {found['seconds']:.0f} s, start and end included: {rate:,.0f} a second by one command on one processor."
    )
    return f"{table(['names done', 'resident memory'], lines)}\n\n{said}"


def costs(results: Row, models: list[Row], price: float) -> str:
    """What a million images take on the machine that was measured, line by line."""
    lines = [
        _cost_line(
            row["model"],
            "`infer`" + (" `--decode fast`" if row["case"] == "torchless_fast" else ""),
            row["images_per_second"],
            processors,
            price,
        )
        for processors in [results["machine"]["processors"]]
        for row in results["folders"]["found"]
        if row["case"] in ("torchless", "torchless_fast") and tuple(row["size"]) == (500, 375)
    ]
    for model in models:
        row = model["found"][-1]
        lines.append(_cost_line(model["model"], "`infer --engine ray`", row["images_per_second"], model["processors"], price))
    head = ["model", "engine", "images/s", "÷ processors", "processor-hours a million", f"at ${price:g} an hour"]
    first = lines[0]
    reckoned = f"1,000,000 ÷ {first[3]} images/s for each processor ÷ 3,600 s = {first[4]} hours of one processor"
    example = f"The first line: {reckoned}; × ${price:g} = {first[5]}."
    return f"{table(head, lines)}\n\n{example}"


def _cost_line(model: str, engine: str, rate: float, processors: int, price: float) -> list[str]:
    hours = processor_hours(rate, processors)
    return [model, engine, f"{rate:.1f}", f"{rate / processors:.1f}", f"{hours:.2f}", f"${hours * price:.3f}"]


def processor_hours(images_per_second: float, processors: int) -> float:
    """What a million images take one processor."""
    return MILLION / (images_per_second / processors) / 3600


def billion(results: Row, sizes: Row, price: float) -> str:
    """The arithmetic of 10⁹ images, in a week."""
    processors = results["machine"]["processors"]
    jpeg, seconds = sizes["jpeg_bytes"], DAYS * 86_400
    lines = []
    for row in results["folders"]["found"]:
        if row["case"] == "torchless" and tuple(row["size"]) == (500, 375):
            hours = processor_hours(row["images_per_second"], processors) * BILLION / MILLION
            lines.append([row["model"], f"{hours:,.0f}", f"{hours / (24 * DAYS):,.0f}", f"${hours * price:,.0f}"])
    rate = BILLION / seconds
    read = f"{rate:,.0f} a second; × {jpeg / 1e3:.0f} kB = {rate * jpeg / 1e6:,.0f} MB/s to read, {BILLION * jpeg / 1e12:,.0f} TB in all"
    row = sizes["resume_bytes_an_image"]
    one, all_in_one = f"{row} bytes × {JOB_IMAGES:,} rows = {row * JOB_IMAGES / 1e6:.0f} MB", f"{row * BILLION / 1e9:.0f} GB"
    texts = [
        f"Images: {BILLION:,} ÷ {seconds:,} s = {read}.",
        f"Rows of five predictions: {_terabytes(sizes, 'jsonl')} as JSON Lines, {_terabytes(sizes, 'parquet')} as Parquet.",
        f"Runs: {BILLION // JOB_IMAGES:,} of {JOB_IMAGES:,} images with {JOB_IMAGES // PART_SIZE:,} files each.",
        f"Memory of `--resume`: {one} for one run; for all images in one folder it would be {all_in_one}.",
    ]
    columns = ["model", "processor-hours", f"processors for {DAYS} days", f"at ${price:g} an hour"]
    return "\n".join([table(columns, lines), "", *(f"- {text}" for text in texts)])


def _terabytes(sizes: Row, ending: str) -> str:
    return f"{sizes['row_bytes'][ending]} bytes × {BILLION:,} = {sizes['row_bytes'][ending] * BILLION / 1e12:.2f} TB"


def main(price: float = DOLLARS_A_PROCESSOR_HOUR) -> None:
    PAGE.write_text(fill(PAGE.read_text(), parts(*load(), price)))


if __name__ == "__main__":
    main(*map(float, sys.argv[1:2]))
