"""`infer --engine ray` on this machine, beside `infer`: whole programs over a folder of JPEGs of 500×375, and the
memory of the one that hands the images out, while a million names stream.

    python bench/on_ray.py throughput artifacts/mobilenet_v3_small.onnx 1000     prints JSON; leave the machine alone
    python bench/on_ray.py names artifacts/mobilenet_v3_small.onnx 1000000
    python bench/on_ray.py sizes artifacts/mobilenet_v3_small.onnx 200000      of rows, on disk and in memory
    python bench/on_ray.py write figures/ray.json PART.json …                  puts such parts into the file

One machine cannot show what many do. It shows what Ray costs: `start_s` is the whole program on a single image,
`seconds` the whole program on all of them, its start included.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from photos import make_folder, make_jpegs
from torchless.batch.outputs import Format
from torchless.doctor.machine import here, versions
from torchless.engine.results import Result
from torchless.ray.parts import open_parts

INFER = Path(sys.executable).with_name("infer")
SIZE, ROUNDS = (500, 375), 2
CASES = {
    "local, 1 worker": ("--workers", "1", "--threads", "1"),
    "local, 2 workers": ("--workers", "2", "--threads", "1"),
    "Ray, 1 worker": ("--engine", "ray", "--workers", "1"),
    "Ray, 2 workers": ("--engine", "ray", "--workers", "2"),
}
NAMES_A_FOLDER = 1000


def throughput(model: Path, count: int) -> dict[str, object]:
    """The cases take turns, and the best of some rounds counts."""
    with tempfile.TemporaryDirectory() as folder:
        images = make_folder(Path(folder) / "images", count, SIZE)
        best = {case: {1: float("inf"), count: float("inf")} for case in CASES}
        for _ in range(ROUNDS):
            for case, arguments in CASES.items():
                for number, given in ((1, images / "00000.jpg"), (count, images)):
                    out = Path(folder) / "out"
                    seconds = timed([INFER, model, given, *arguments, "-o", out, "-f", "jsonl", "-d", "cpu"])
                    best[case][number] = min(best[case][number], seconds)
                    check(out, number)
        rows = [{"case": case, "start_s": round(s[1], 2), "seconds": round(s[count], 2)} for case, s in best.items()]
    return {"model": model.stem, "images": count, "size": SIZE, "rounds": ROUNDS, **where(), "found": rows}


def timed(command: list[object]) -> float:
    start = time.perf_counter()
    subprocess.run([str(word) for word in command], check=True, capture_output=True)
    return time.perf_counter() - start


def check(out: Path, number: int) -> None:
    """Checks that there are `number` rows, and deletes them."""
    files = sorted(out.glob("part-*")) if out.is_dir() else [out]
    assert sum(len(file.read_bytes().splitlines()) for file in files) == number
    shutil.rmtree(out) if out.is_dir() else out.unlink()


def names(model: Path, count: int) -> dict[str, object]:
    """Resident bytes of the program as rows come: of empty files, whose rows are errors, so names are all there is."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        for number in range(count):
            if number % NAMES_A_FOLDER == 0:
                inside = Path(folder) / "images" / f"{number // NAMES_A_FOLDER:06}"
                inside.mkdir(parents=True)
            os.mknod(inside / f"{number:07}.jpg")
        out = Path(folder) / "out"
        command = [
            INFER,
            model,
            Path(folder) / "images",
            "-r",
            "--engine",
            "ray",
            "--workers",
            "1",
            "-o",
            out,
            "-d",
            "cpu",
        ]
        start = time.perf_counter()
        process = subprocess.Popen([str(word) for word in command], stderr=subprocess.DEVNULL)
        samples: list[dict[str, int]] = []
        while process.poll() is None:
            done = NAMES_A_FOLDER * len(list(out.glob("part-*"))) if out.exists() else 0
            if done >= len(samples) * count // 10 and done:
                samples.append({"names": done, "resident_bytes": resident(process.pid)})
            time.sleep(0.1)
        seconds = time.perf_counter() - start
        assert process.returncode == 1
        check(out, count)
    return {"model": model.stem, "names": count, **where(), "seconds": round(seconds, 1), "found": samples}


def sizes(model: Path, count: int) -> dict[str, object]:
    """Bytes of a row of five predictions in each format, on 200 photos; and of memory for each row that is done."""
    with tempfile.TemporaryDirectory() as folder:
        images = make_folder(Path(folder) / "images", 200, SIZE)
        found = {}
        for ending in ("jsonl", "parquet"):
            timed([INFER, model, images, "-o", Path(folder) / f"rows.{ending}", "-d", "cpu"])
            found[ending] = (Path(folder) / f"rows.{ending}").stat().st_size / 200
        out = Path(folder) / "out"
        out.mkdir()
        (out / "_run.json").write_text("{}")
        with (out / "part-00000000.jsonl").open("w") as part:
            for number in range(count):
                part.write(Result(f"s3://bucket/photos/{number:010}.jpg").to_json() + "\n")
        stamps = [f"{100_000 + number}-{1_764_140_000_000_000_000 + number}" for number in range(count)]
        (out / "_stamps.jsonl").write_text(json.dumps({"part": "part-00000000.jsonl", "stamps": stamps}) + "\n")
        before = resident(os.getpid())
        with open_parts(out, Format.JSONL, {}, resume=True) as parts:
            memory = (resident(os.getpid()) - before) / parts.rows
    return {
        "jpeg_bytes": len(next(make_jpegs(1, SIZE))),
        "row_bytes": {ending: round(size) for ending, size in found.items()},
        "resume_bytes_an_image": round(memory),
        **where(),
    }


def resident(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def where() -> dict[str, object]:
    return here() | versions("ray") | {"load_before": os.getloadavg()[0]}


def write(target: Path, parts: list[dict[str, Any]]) -> None:
    """Each part takes the place of what was measured of the same before."""
    document = json.loads(target.read_text()) if target.exists() else {"throughput": []}
    for part in parts:
        if "images" in part:
            others = {other["model"]: other for other in document["throughput"]}
            document["throughput"] = list((others | {part["model"]: part}).values())
        else:
            document["names" if "names" in part else "sizes"] = part
    target.write_text(json.dumps(document, indent=1) + "\n")


def main(what: str, *arguments: str) -> None:
    if what == "write":
        write(Path(arguments[0]), [json.loads(Path(path).read_text()) for path in arguments[1:]])
        return
    measure = {"throughput": throughput, "names": names, "sizes": sizes}[what]
    print(json.dumps(measure(Path(arguments[0]), int(arguments[1])), indent=1))


if __name__ == "__main__":
    main(*sys.argv[1:])
