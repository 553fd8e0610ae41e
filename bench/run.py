"""`make bench`: torchless beside its peers on this machine. Writes figures/bench.json, section by section.

    python bench/run.py                        every section; about an hour on two processors that do nothing else
    python bench/run.py --quick                fewer models, rounds and images, into figures/quick.json
    python bench/run.py forward cold_start     these sections alone; the others stay as they are
    python bench/run.py --export resnet50      exports what will be measured, while the machine may be busy

Each case runs in a process of its own, and the peers take turns, round by round. The weights are random (re-initialised
until the logits are of a trained network's scale), except efficientnet_lite0's: they change the answers, not the time.
The function that measures a section says what it holds.
"""

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache, partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean, median

import numpy as np

from peers.forward import OPTIONS
from photos import make_folder
from torchless.cpus import available_cpus
from torchless.doctor.machine import here, versions
from torchless.files import atomic_path

ROOT = Path(__file__).parents[1]
ARTIFACTS = ROOT / "artifacts" / "bench"
PEERS = ROOT / "bench" / "peers"
BIN = Path(sys.executable).parent

MODELS = (
    "alexnet", "squeezenet1_1", "shufflenet_v2_x1_0", "mobilenet_v3_small", "resnet18", "resnet50", "resnet101",
    "densenet121", "efficientnet_b0", "convnext_tiny", "vit_b_16", "efficientnet_lite0",
)  # fmt: skip
INT8_MODELS = ("resnet18", "resnet50", "resnet101", "vgg11", "vit_b_16", "mobilenet_v3_small")
INT8_PEERS = ("torchless_int8", "torchless", "pytorch")
FORWARD_PEERS = ("torchless", "onnxruntime", "openvino", "pytorch", "pytorch_channels_last", "pytorch_compile")
MODULES = {"pillow": "PIL"}
VERSIONS = ("numpy", "onnxruntime", "openvino", "pillow", "torch", "torchvision")
SMALL, LARGE = (500, 375), (4000, 3000)
FULL_COUNT = 10_000
LARGEST_DIFFERENCE = 1e-3  # of the logits' range: peers that differ by more do not compute the same

Row = dict[str, object]


class Settings:
    """How much is measured."""

    def __init__(self, *, quick: bool) -> None:
        self.models = ("mobilenet_v3_small", "resnet18") if quick else MODELS
        self.option_models = self.models if quick else ("mobilenet_v3_small", "resnet18", "vit_b_16")
        self.int8_models = self.models if quick else INT8_MODELS
        self.again_models, self.again_rounds = (
            (self.models, 2) if quick else (("mobilenet_v3_small", "densenet121", "efficientnet_b0"), 12)
        )
        self.one_model = "resnet18" if quick else "resnet50"
        self.rounds, self.seconds, self.starts = (1, 0.5, 3) if quick else (3, 0.8, 20)
        self.option_rounds, self.slow_starts = (1, 2) if quick else (2, 4)
        self.small_count, self.large_count, self.many_count = (100, 20, 500) if quick else (1000, 200, FULL_COUNT)
        self.bound_count = 300 if quick else 5000
        self.small_models = ("mobilenet_v3_small",) if quick else ("mobilenet_v3_small", "squeezenet1_1")
        self.slow_count = 50 if quick else 200  # of a network that takes 40 ms an image


def forward(settings: Settings) -> list[Row]:
    """One image, tensor in, logits out: for each model and peer the median milliseconds of a call in each round."""
    peers = {peer: Path(sys.executable) for peer in FORWARD_PEERS}
    return [row for model in settings.models for row in one_image(settings, model, peers)]


def options(settings: Settings) -> list[Row]:
    """The same for ONNX Runtime with one of its options changed, and for its two ways to OpenVINO: an older wheel of
    its own, and a plug-in beside the usual wheel, each in an environment of its own.
    """
    here = Path(sys.executable)
    peers = {"pytorch": here, "onnxruntime": here} | dict.fromkeys(OPTIONS, here)
    usual = "numpy", f"onnxruntime=={version('onnxruntime')}"
    peers["openvino_provider"] = environment("openvino-provider", "numpy", "onnxruntime-openvino") / "python"
    peers["openvino_plugin"] = environment("openvino-plugin", *usual, "onnxruntime-ep-openvino") / "python"
    return [
        row for model in settings.option_models for row in one_image(settings, model, peers, settings.option_rounds)
    ]


def cores(settings: Settings) -> list[Row]:
    """A folder, a server and one image on 1, 2, 4, 8 and 16 of the processors, as far as there are so many:
    bench/cores.py.
    """
    counts = [count for count in (1, 2, 4, 8, 16) if count <= available_cpus()]
    cases = [("mobilenet_v3_small", settings.small_count), (settings.one_model, settings.slow_count)]
    rows: list[Row] = []
    for model, images in dict(cases).items():
        artifact, folder = prepare(model), photos(SMALL, images)
        found: dict[int, list[Row]] = {count: [] for count in counts}
        for number in range(settings.option_rounds):
            for count in rotated(tuple(counts), number):
                command = [sys.executable, ROOT / "bench" / "cores.py", artifact, folder, count]
                found[count].append(json.loads(output_of([*command, runtime_environment() / "infer"])))
        for count, rounds in found.items():
            row = {key: round(median(one[key] for one in rounds), 2) for key in rounds[0]}
            rows.append({"model": model, "processors": count, "images": images, **row})
            say(f"{model:20} {count} processors: {row}")
    return rows


def int8(settings: Settings) -> list[Row]:
    """One image in int8, float32 and PyTorch. The weights are random: the times count, the answers do not."""
    rows = []
    for model in settings.int8_models:
        source, small = prepare(model), prepare_int8(model)
        found = one_image(settings, model, dict.fromkeys(INT8_PEERS, Path(sys.executable)))
        sizes = {"torchless_int8": small.stat().st_size, "torchless": source.stat().st_size}
        rows += [row | {"bytes": sizes.get(row["peer"])} for row in found]
    return rows


def again(settings: Settings) -> list[Row]:
    """One image by bench's method and by compare's, in turns and in many rounds: whether the two agree, and whether
    torchless takes longer than bare ONNX Runtime. The median milliseconds of each round.
    """
    rows = []
    for model in settings.again_models:
        artifact = prepare(model)
        task = json.dumps({"model": str(artifact), "device": "cpu", "threads": available_cpus(), "seconds": 1.0})
        commands: dict[str, list[object]] = {
            peer: [sys.executable, PEERS / "forward.py", peer, artifact, available_cpus(), settings.seconds]
            for peer in ("torchless", "onnxruntime", *(["openvino"] if find_spec("openvino") else []))
        }
        commands["compare"] = [sys.executable, "-m", "torchless_export.compare.measure", task]
        found: dict[str, list[float]] = {name: [] for name in commands}
        for number in range(settings.again_rounds):
            for name in rotated(tuple(commands), number):
                answer = json.loads(output_of(commands[name]))
                found[name].append(round(median(answer["single_ms" if name == "compare" else "ms"]), 4))
        rows += [{"model": model, "method": name, "p50_ms": times} for name, times in found.items()]
        say(f"{model:20} {', '.join(f'{name} {median(times):.2f} ms' for name, times in found.items())}")
    return rows


def profile(settings: Settings) -> list[Row]:
    """Which operators take the time, by ONNX Runtime's own profiler."""
    return [
        {"model": model, "shares": child("operators.py", prepare(model), available_cpus())} for model in settings.models
    ]


def one_image(settings: Settings, model: str, peers: dict[str, Path], rounds: int | None = None) -> list[Row]:
    """The rows of one model; `peers` names the Python that runs each."""
    artifact, found = prepare(model), {peer: [] for peer in peers}
    for number in range(rounds or settings.rounds):
        for peer in rotated(tuple(peers), number):
            command = [peers[peer], PEERS / "forward.py", peer, artifact, available_cpus(), settings.seconds]
            found[peer].append(json.loads(output_of(command)))
    missing = {peer: runs[0]["unavailable"] for peer, runs in found.items() if "unavailable" in runs[0]}
    rows = []
    found = {peer: runs for peer, runs in found.items() if peer not in missing}
    check_same_logits(model, {peer: runs[0]["logits"] for peer, runs in found.items() if peer != "torchless_int8"})
    for peer, runs in found.items():
        p50s = [median(run["ms"]) for run in runs]
        calls = sum(len(run["ms"]) for run in runs)
        row = {
            "model": model,
            "peer": peer,
            "p50_ms": median(p50s),
            "least_ms": min(p50s),
            "most_ms": max(p50s),
            "calls": calls,
            "cpu_ms": median(run["cpu_ms"] for run in runs),
        }
        rows.append(row | {"ready_s": median(run["ready_s"] for run in runs)})
        say(f"{model:20} {peer:22} {row['p50_ms']:8.2f} ms")
    return rows + [{"model": model, "peer": peer, "unavailable": why} for peer, why in missing.items()]


def folders(settings: Settings) -> list[Row]:
    """Whole commands over a folder of JPEGs to JSON Lines: images per second; of torchless also the time by stage."""
    both = ("torchless", "torchless_fast", "pytorch")
    few, small, small_count = settings.option_rounds, "mobilenet_v3_small", settings.small_count
    cases = [
        (small, SMALL, photos(SMALL, small_count), settings.rounds, both),
        (small, SMALL, many(photos(SMALL, small_count), settings.bound_count), settings.rounds, both[:2]),
        (small, LARGE, photos(LARGE, settings.large_count), few, both),
    ]
    if settings.one_model == "resnet50":
        cases.append(("resnet50", SMALL, photos(SMALL, settings.slow_count), few, ("torchless", "pytorch")))
    return [row for case in cases for row in folder(*case)]


def folder(model: str, size: tuple[int, int], source: Path, rounds: int, names: tuple[str, ...]) -> list[Row]:
    """The rows of one model on one folder of images of one size."""
    artifact, infer, count = prepare(model), runtime_environment() / "infer", len(list(source.iterdir()))
    commands = {
        "torchless": lambda out: [infer, artifact, source, "--output", out],
        "torchless_fast": lambda out: [infer, artifact, source, "--output", out, "--decode", "fast"],
        "pytorch": lambda out: [sys.executable, PEERS / "pytorch_folder.py", artifact, source, out],
    }
    sum(len(path.read_bytes()) for path in source.iterdir())  # into the disk cache
    seconds, outputs = in_turns({name: commands[name] for name in names}, rounds, ".jsonl", warm_up=0)
    rows = []
    for name in names:
        rate = count / median(seconds[name])
        row = {
            "model": model,
            "size": list(size),
            "images": count,
            "case": name,
            "images_per_second": rate,
            "seconds": seconds[name],
        }
        if name != "pytorch":
            stages = child(
                "one_thread.py", artifact, source, "fast" if name.endswith("fast") else "exact", min(count - 5, 200)
            )
            row |= stages
            if "pytorch" in outputs:
                row["top1_as_pytorch"] = same_top1(outputs[name], outputs["pytorch"])
            row["share_of_bound"] = rate / (1000 * available_cpus() / sum(stages.values()))
        rows.append(row)
        bound = row.get("share_of_bound", 0)
        say(f"{model:20} {'×'.join(map(str, size)):9} {name:16} {rate:8.1f} images/s  {bound:.2f}")
    return rows


def arithmetic(settings: Settings) -> Row:
    """GFLOP/s of numpy's matrix product by number of threads, and the GFLOP that one image takes each network."""
    from torchvision.models import get_model_weights

    counts = sorted({1, available_cpus()})
    rates = {str(threads): float(output_of([sys.executable, PEERS / "matmul.py", threads])) for threads in counts}
    names = dict.fromkeys(("mobilenet_v3_small", settings.one_model))
    # torchvision counts a multiplication with its addition as one.
    return {
        "gflop_per_second": rates,
        "gflop": {name: 2 * get_model_weights(name).DEFAULT.meta["_ops"] for name in names},
    }


def cold_start(settings: Settings) -> list[Row]:
    """`infer MODEL IMAGE` from the start of the process to its end, and two scripts that do the same: seconds, and
    seconds of processor time.
    """
    rows, runtime = [], runtime_environment()
    for model in dict.fromkeys((settings.one_model, *settings.small_models)):
        artifact, image = prepare(model), next(photos(SMALL, 100).iterdir())
        commands = {
            "torchless": lambda _, a=artifact, i=image: [runtime / "infer", a, i],
            "onnxruntime": lambda _, a=artifact, i=image: [runtime / "python", PEERS / "onnxruntime_one.py", a, i],
            "pytorch": lambda _, a=artifact, i=image: [sys.executable, PEERS / "pytorch_one.py", a, i],
        }
        slow = {"pytorch": commands.pop("pytorch")}
        runs = in_turns_of_both(commands, settings.starts) | in_turns_of_both(slow, settings.slow_starts)
        for name, found in runs.items():
            wall, cpu = zip(*found, strict=True)
            row = {"p50_s": median(wall), "least_s": min(wall), "most_s": max(wall), "cpu_s": median(cpu)}
            rows.append({"model": model, "case": name, **row})
            say(f"{model:20} {name:16} {median(wall):8.3f} s, of processors {median(cpu):8.3f} s")
    return rows


def preprocessing(_: Settings) -> list[Row]:
    """A decoded image to the model's input, one thread, against torchvision's transforms: bench/preprocess.py."""
    return json.loads(output_of([sys.executable, ROOT / "bench" / "preprocess.py"]))


def workers(settings: Settings) -> list[Row]:
    """Workers, threads and batch sizes for many images: bench/workers.py."""
    models = [prepare(model) for model in dict.fromkeys(("mobilenet_v3_small", settings.one_model))]
    return json.loads(output_of([sys.executable, ROOT / "bench" / "workers.py", *models]))


def decoding(_: Settings) -> list[Row]:
    """What `--decode fast` changes in the answers of networks with real weights: bench/fast_decoding.py."""
    sys.path.insert(0, str(ROOT / "tools"))
    from real_networks import NAMES

    models = [prepare_real(name) for name in NAMES]
    return json.loads(output_of([sys.executable, ROOT / "bench" / "fast_decoding.py", *models]))


def parts(_: Settings) -> Row:
    """What was tried for folders of images: bench/fast_parts.py."""
    return json.loads(output_of([sys.executable, ROOT / "bench" / "fast_parts.py", prepare("mobilenet_v3_small")]))


def loading(settings: Settings) -> list[Row]:
    """Opening a session on the exported file, and on ONNX Runtime's optimised graph of it: bench/loading.py."""
    models = [prepare(model) for model in settings.models]
    return json.loads(output_of([sys.executable, ROOT / "bench" / "loading.py", *models]))


def export(settings: Settings) -> list[Row]:
    """`torchless export`, from the start of the process to the proved file, by stage: bench/exporting.py."""
    models = (settings.one_model, "efficientnet_lite0")
    return json.loads(output_of([sys.executable, ROOT / "bench" / "exporting.py", settings.rounds, *models]))


def export_parts(_: Settings) -> Row:
    """What parts of an export cost, with and without what makes them cheaper: bench/export_parts.py."""
    return json.loads(output_of([sys.executable, ROOT / "bench" / "export_parts.py"]))


def memory(settings: Settings) -> list[Row]:
    """`infer` over very many images: the most resident memory in each tenth, and a bare ONNX Runtime loop's peak."""
    rows = []
    folder = many(photos(SMALL, min(settings.small_count, settings.many_count)), settings.many_count)
    for model in dict.fromkeys(("mobilenet_v3_small", settings.one_model)):
        artifact, output = prepare(model), ARTIFACTS / "labels.jsonl"
        journal = output.with_name(f"{output.name}.partial")
        # A slow one would take a quarter of an hour.
        count = settings.many_count if model == "mobilenet_v3_small" else settings.slow_count
        bare_count = settings.small_count if model == "mobilenet_v3_small" else settings.slow_count
        source = folder if model == "mobilenet_v3_small" else photos(SMALL, count)
        resident, peak = watched(
            [BIN / "infer", artifact, source, "--output", output], partial(rows_in, journal), max(1, count // 10)
        )
        _, bare = watched(
            [sys.executable, PEERS / "onnxruntime_folder.py", artifact, photos(SMALL, bare_count)],
            lambda: 0,
            1,
        )
        rows.append(
            {
                "model": model,
                "images": count,
                "resident_bytes": resident,
                "peak_bytes": peak,
                "onnxruntime_peak_bytes": bare,
            }
        )
        tenths = [round(size / 1e6) for size in resident]
        say(f"{model:20} {peak / 1e6:.0f} MB, bare ONNX Runtime {bare / 1e6:.0f} MB; {tenths}")
        output.unlink()
    return rows


def size(_: Settings) -> Row:
    """What `pip install 'torchless[cpu]'` and `pip install torch torchvision` bring, by package: bench/size.py."""
    script = ROOT / "bench" / "size.py"
    return {
        "runtime": json.loads(output_of([runtime_environment() / "python", script, "torchless[cpu]"])),
        "pytorch": json.loads(output_of([sys.executable, script, "torch", "torchvision"])),
    }


SECTIONS: dict[str, Callable[[Settings], object]] = {
    "forward": forward,
    "options": options,
    "cores": cores,
    "int8": int8,
    "again": again,
    "profile": profile,
    "folders": folders,
    "arithmetic": arithmetic,
    "cold_start": cold_start,
    "preprocessing": preprocessing,
    "workers": workers,
    "decoding": decoding,
    "parts": parts,
    "loading": loading,
    "export": export,
    "export_parts": export_parts,
    "memory": memory,
    "size": size,
}


def prepare(model: str) -> Path:
    """The artifact, exported through the gate if it is not there, and PyTorch's weights beside it."""
    artifact = ARTIFACTS / f"{model}.onnx"
    builder = (
        ["--builder", "examples.efficientnet_lite:lite0"] if model == "efficientnet_lite0" else ["--weights", "none"]
    )
    if not artifact.exists():
        subprocess.run(
            [BIN / "torchless", "export", model, *builder, "--output", artifact],
            check=True,
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
        )
    if not artifact.with_suffix(".pth").exists() and model != "efficientnet_lite0":
        import torch

        from torchless_export.sources.load import load
        from torchless_export.sources.request import ModelRequest

        torch.save(load(ModelRequest(model=model, weights="none")).module.state_dict(), artifact.with_suffix(".pth"))
    return artifact


def prepare_real(name: str) -> Path:
    """A network with real weights: `make real` has exported it, or it is exported now."""
    folder = ROOT / "artifacts" / "real"
    artifact = folder / f"{name}.onnx"
    if not artifact.exists():
        from real_networks import export_arguments

        folder.mkdir(parents=True, exist_ok=True)
        command = [BIN / "torchless", "export", *export_arguments(name, folder), "--output", artifact]
        subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    return artifact


def prepare_int8(model: str) -> Path:
    """The artifact in int8, quantised as by a user, but without the gate: random weights have no decisions to keep."""
    source, target = prepare(model), ARTIFACTS / f"{model}.int8.onnx"
    if not target.exists():
        ungated = ["--min-agreement", "0", "--max-float-layers", "0", "--force"]
        command = [
            BIN / "torchless",
            "quantize",
            source,
            "--calibration",
            photos(SMALL, 100),
            *ungated,
            "--output",
            target,
        ]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return target


@cache
def runtime_environment() -> Path:
    """The programs of an environment with the wheel, `[cpu,fast]` and nothing else, as a user of the runtime has."""
    with tempfile.TemporaryDirectory() as box:
        output_of([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", box, ROOT])
        (wheel,) = Path(box).glob("*.whl")
        return environment("runtime", "--constraint", ROOT / "constraints.txt", f"{wheel}[cpu,fast]")


def environment(name: str, *packages: object) -> Path:
    """The programs of a fresh virtual environment with these packages."""
    folder = ARTIFACTS / name
    output_of([sys.executable, "-m", "venv", "--clear", folder])
    output_of([folder / "bin" / "pip", "install", "--quiet", *packages])
    return folder / "bin"


def photos(size: tuple[int, int], count: int) -> Path:
    return make_folder(ARTIFACTS / f"photos-{size[0]}x{size[1]}-{count}", count, size)


def many(folder: Path, count: int) -> Path:
    """A folder of `count` images: those of `folder` under several names."""
    target = ARTIFACTS / f"photos-{count}"
    target.mkdir(exist_ok=True)
    paths = sorted(folder.iterdir())
    for number in range(len(list(target.iterdir())), count):
        (target / f"{number:05}.jpg").hardlink_to(paths[number % len(paths)])
    return target


def rotated(items: tuple[str, ...], by: int) -> tuple[str, ...]:
    by %= len(items)
    return items[by:] + items[:by]


def child(script: str, *arguments: object) -> dict[str, object]:
    return json.loads(output_of([sys.executable, PEERS / script, *arguments]))


def output_of(command: list[object]) -> str:
    environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(ARTIFACTS / "inductor")}
    found = subprocess.run(
        [str(part) for part in command], check=False, capture_output=True, text=True, env=environment
    )
    if found.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{found.stderr}")
    return found.stdout


def in_turns_of_both(
    commands: dict[str, Callable[[Path], list[object]]], rounds: int
) -> dict[str, list[tuple[float, float]]]:
    """(seconds, seconds of processor time) of each run of each command, in `rounds` after one other."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for number in range(1 + rounds):
        for name in rotated(tuple(commands), number):
            start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
            output_of(commands[name](Path()))
            wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
            found[name].append((wall, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime))
    return {name: runs[1:] for name, runs in found.items()}


def in_turns(
    commands: dict[str, Callable[[Path], list[object]]], rounds: int, suffix: str, *, warm_up: int = 1
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Seconds of each run of each command, in `rounds` after `warm_up` others; and what each wrote to its file."""
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    outputs: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as box:
        for number in range(warm_up + rounds):
            for name in rotated(tuple(commands), number):
                target = Path(box, f"{name}-{number}{suffix}")
                start = time.perf_counter()
                output_of(commands[name](target))
                seconds[name] += [time.perf_counter() - start] if number >= warm_up else []
                outputs[name] = target.read_text() if target.exists() else ""
    return seconds, outputs


def same_top1(ours: str, theirs: str) -> float:
    """The share of images with the same most probable class."""
    first, second = (
        {Path(row["image"]).name: row["predictions"][0]["index"] for row in map(json.loads, text.splitlines())}
        for text in (ours, theirs)
    )
    if first.keys() != second.keys():
        raise SystemExit("the two did not classify the same images")
    return fmean(first[name] == second[name] for name in first)


def check_same_logits(model: str, logits: dict[str, list[float]]) -> None:
    reference = np.array(logits["pytorch"])
    for peer, found in logits.items():
        apart = np.abs(np.array(found) - reference).max() / np.ptp(reference)
        if not apart < LARGEST_DIFFERENCE:
            raise SystemExit(f"{model}: {peer} does not compute what PyTorch does: {apart:.1e} of the logits' range")


def watched(command: list[object], done: Callable[[], int], step: int) -> tuple[list[int], int]:
    """The most resident bytes of a command during each `step` images, which `done` counts; and at its peak."""
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL)
    most: dict[int, int] = {}
    peak = 0
    while process.poll() is None:
        status = Path(f"/proc/{process.pid}/status").read_text()
        if "VmRSS" in status:  # not so once it has ended
            resident, peak = (int(re.search(rf"{name}:\s+(\d+)", status)[1]) * 1024 for name in ("VmRSS", "VmHWM"))
            most[done() // step] = max(most.get(done() // step, 0), resident)
        time.sleep(0.05)
    if process.returncode:
        raise SystemExit(f"{command} failed")
    return [most[key] for key in sorted(most)], peak


def rows_in(journal: Path) -> int:
    """How many rows a run of `infer` has done: the journal's lines but for its first."""
    return max(0, journal.read_bytes().count(b"\n") - 1) if journal.exists() else 0


def origin(*more: str) -> Row:
    """The day, the machine, and the versions of Python and of the packages that matter here, with `more`."""
    there = [name for name in (*VERSIONS, *more) if find_spec(MODULES.get(name, name))]
    return here() | {"versions": versions("python", *there)}


def say(text: str) -> None:
    print(text, file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)}; by default all")
    parser.add_argument(
        "--export", nargs="+", metavar="MODEL", help="only export these, so that measuring starts at once"
    )
    parser.add_argument("--quick", action="store_true", help="a small subset, into figures/quick.json")
    arguments = parser.parse_args()
    if unknown := set(arguments.sections) - set(SECTIONS):
        parser.error(f"no section {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    for model in arguments.export or ():
        say(str(prepare(model)))
    if arguments.export:
        return
    target = ROOT / "figures" / ("quick.json" if arguments.quick else "bench.json")
    results = json.loads(target.read_text()) if target.exists() else {}
    for name in arguments.sections or SECTIONS:
        say(f"== {name}")
        load, start = os.getloadavg()[0], time.time()
        found = SECTIONS[name](Settings(quick=arguments.quick))
        results[name] = {
            **origin(),
            "load_before": round(load, 2),
            "seconds": round(time.time() - start),
            "found": found,
        }
        with atomic_path(target) as path:
            path.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
