"""docs/scaling.md: what Ray adds, and what many images cost, by the prices in figures/prices.json."""

from rendering import Row
from rendering.markdown import table
from rendering.origin import measured

MILLION, BILLION = 10**6, 10**9
DAYS, PART_SIZE, JOB_IMAGES = 7, 1000, MILLION


def throughput(models: list[Row]) -> str:
    """One line a case, with what a whole run and its start take."""
    lines = [
        [
            model["model"],
            row["case"],
            f"{row['start_s']:.1f} s",
            f"{row['seconds']:.1f} s",
            f"{model['images'] / row['seconds']:.0f}",
            f"{rate(model, row):.0f}",
        ]
        for model in models
        for row in model["found"]
    ]
    counts = " and ".join(f"{model['images']:,} through {model['model']}" for model in models)
    rounds, ray = models[0]["rounds"], models[0]["ray"]
    said = f"JPEGs of 500×375, {counts}; Ray {ray}; the quickest of {rounds} rounds of whole programs."
    columns = ["model", "case", "one image", "all", "images/s, start included", "images/s after it"]
    return f"{table(columns, lines)}\n\n{said} {measured(*models)}"


def rate(model: Row, row: Row) -> float:
    """Images a second of one case once it runs: without what the first image costs, on either side."""
    return float((model["images"] - 1) / (row["seconds"] - row["start_s"]))


def names(found: Row) -> str:
    """How the memory of the command went as names streamed."""
    samples = found["found"]
    chosen = [samples[0], samples[len(samples) // 2], samples[-1]]
    lines = [[f"{sample['names']:,}", f"{sample['resident_bytes'] / 1e6:.1f} MB"] for sample in chosen]
    speed = found["names"] / found["seconds"]
    took = f"{found['names']:,} names in {found['seconds']:.0f} s, start and end included"
    said = f"{took}: {speed:,.0f} a second by one command on one processor."
    return f"{table(['names done', 'resident memory'], lines)}\n\n{said} {measured(found)}"


def costs(models: list[Row], prices: Row) -> str:
    """What a million images take on the machine that was measured, the start of the program included."""
    price = prices["processor_hour_dollars"]
    lines = [
        [
            model["model"],
            f"`infer{' --engine ray' * row['case'].startswith('Ray')}`",
            f"{row['start_s']:.1f} s",
            f"{rate(model, row):.1f}",
            f"{seconds_of(model, row, MILLION):,.0f} s",
            f"{processor_hours(model, row, MILLION):.2f}",
            f"${processor_hours(model, row, MILLION) * price:.3f}",
        ]
        for model in models
        for row in on_all_processors(model)
    ]
    head = ["model", "command", "start", "images/s after it", "a million", "processor-hours", f"at ${price:g} an hour"]
    cpus, first = models[0]["machine"]["cpus"], lines[0]
    reckoned = (
        f"{first[2]} + 999,999 ÷ {first[3]} images/s = {first[4]}; × {cpus} processors ÷ 3,600 = {first[5]} hours"
    )
    return f"{table(head, lines)}\n\nThe first line: {reckoned}; × ${price:g} = {first[6]}. {measured(*models)}"


def on_all_processors(model: Row) -> list[Row]:
    """The cases that keep the whole machine busy: without Ray, and with it."""
    return [row for row in model["found"] if row["case"].endswith("2 workers")]


def seconds_of(model: Row, row: Row, images: int) -> float:
    """Of a whole program over that many images: its start, which one image shows, and the others at their rate."""
    return float(row["start_s"] + (images - 1) / rate(model, row))


def processor_hours(model: Row, row: Row, images: int) -> float:
    """What that many images take, in hours of one processor."""
    return seconds_of(model, row, images) * float(model["machine"]["cpus"]) / 3600


def billion(models: list[Row], sizes: Row, prices: Row) -> str:
    """The arithmetic of 10⁹ images, in a week: as runs of a million each, on Ray."""
    price, jpeg, seconds = prices["processor_hour_dollars"], sizes["jpeg_bytes"], DAYS * 86_400
    lines = []
    for model in models:
        hours = processor_hours(model, on_all_processors(model)[-1], JOB_IMAGES) * (BILLION // JOB_IMAGES)
        lines.append([model["model"], f"{hours:,.0f}", f"{hours / (24 * DAYS):,.0f}", f"${hours * price:,.0f}"])
    needed = BILLION / seconds
    read = f"{needed:,.0f} a second; × {jpeg / 1e3:.0f} kB = {needed * jpeg / 1e6:,.0f} MB/s to read"
    row = sizes["resume_bytes_an_image"]
    one, all_in_one = (
        f"{row} bytes × {JOB_IMAGES:,} rows = {row * JOB_IMAGES / 1e6:.0f} MB",
        f"{row * BILLION / 1e9:.0f} GB",
    )
    lines_size, parquet_size = (_terabytes(sizes, ending) for ending in ("jsonl", "parquet"))
    texts = [
        f"Images: {BILLION:,} ÷ {seconds:,} s = {read}, {BILLION * jpeg / 1e12:,.0f} TB in all.",
        f"Rows of five predictions: {lines_size} as JSON Lines, {parquet_size} as Parquet.",
        f"Runs: {BILLION // JOB_IMAGES:,} of {JOB_IMAGES:,} images with {JOB_IMAGES // PART_SIZE:,} files each.",
        f"Memory of `--resume`: {one} for one run; for all images in one folder it would be {all_in_one}.",
    ]
    columns = ["model", "processor-hours", f"processors for {DAYS} days", f"at ${price:g} an hour"]
    return "\n".join([table(columns, lines), "", *(f"- {text}" for text in texts), "", measured(*models, sizes)])


def _terabytes(sizes: Row, ending: str) -> str:
    return f"{sizes['row_bytes'][ending]} bytes × {BILLION:,} = {sizes['row_bytes'][ending] * BILLION / 1e12:.2f} TB"
