"""docs/scaling.md: what Ray adds, and what many images cost, by the prices in figures/prices.json."""

from rendering import Row
from rendering.markdown import table

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
            f"{row['images_per_second']:.0f}",
        ]
        for model in models
        for row in model["found"]
    ]
    counts = " and ".join(f"{model['images']:,} through {model['model']}" for model in models)
    first = models[0]
    where = f"{first['processors']} processors, Ray {first['ray']}, {first['date']}"
    said = f"JPEGs of 500×375, {counts}; {where}; the best of {first['rounds']} rounds of whole programs."
    return f"{table(['model', 'case', 'one image', 'all', 'images/s'], lines)}\n\n{said}"


def names(found: Row) -> str:
    """How the memory of the command went as names streamed."""
    samples = found["found"]
    chosen = [samples[0], samples[len(samples) // 2], samples[-1]]
    lines = [[f"{sample['names']:,}", f"{sample['resident_bytes'] / 1e6:.1f} MB"] for sample in chosen]
    rate = found["names"] / found["seconds"]
    took = f"{found['names']:,} names in {found['seconds']:.0f} s, start and end included"
    said = f"{took}: {rate:,.0f} a second by one command on one processor."
    return f"{table(['names done', 'resident memory'], lines)}\n\n{said}"


def costs(bench: Row, models: list[Row], prices: Row) -> str:
    """What a million images take on the machine that was measured, line by line."""
    price, processors = prices["processor_hour_dollars"], bench["machine"]["processors"]
    engines = {"torchless": "`infer`", "torchless_fast": "`infer` `--decode fast`"}
    lines = [
        _cost_line(row["model"], engines[row["case"]], row["images_per_second"], processors, price)
        for row in bench["folders"]["found"]
        if row["case"] in engines and tuple(row["size"]) == (500, 375)
    ]
    for model in models:
        row = model["found"][-1]
        lines.append(
            _cost_line(model["model"], "`infer --engine ray`", row["images_per_second"], model["processors"], price)
        )
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


def billion(bench: Row, sizes: Row, prices: Row) -> str:
    """The arithmetic of 10⁹ images, in a week."""
    price, processors = prices["processor_hour_dollars"], bench["machine"]["processors"]
    jpeg, seconds = sizes["jpeg_bytes"], DAYS * 86_400
    lines = []
    for row in bench["folders"]["found"]:
        if row["case"] == "torchless" and tuple(row["size"]) == (500, 375):
            hours = processor_hours(row["images_per_second"], processors) * BILLION / MILLION
            lines.append([row["model"], f"{hours:,.0f}", f"{hours / (24 * DAYS):,.0f}", f"${hours * price:,.0f}"])
    rate = BILLION / seconds
    read = f"{rate:,.0f} a second; × {jpeg / 1e3:.0f} kB = {rate * jpeg / 1e6:,.0f} MB/s to read"
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
    return "\n".join([table(columns, lines), "", *(f"- {text}" for text in texts)])


def _terabytes(sizes: Row, ending: str) -> str:
    return f"{sizes['row_bytes'][ending]} bytes × {BILLION:,} = {sizes['row_bytes'][ending] * BILLION / 1e12:.2f} TB"
