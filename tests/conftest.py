"""What all tests share: real photos, small models, the command line, a browser. Nothing here needs torch or onnx;
tests/export has that.
"""

import fcntl
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnxruntime
import pytest
import skimage

from tests import onnx_model
from tests.data import DATA, LABELS
from tests.stand_in_driver import CudaInName, build_driver
from torchless.batch import stuck
from torchless.cli import main as cli
from torchless.cli import start
from torchless.model.manifest import Manifest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

REPO = Path(__file__).parents[1]
pytest_plugins = ("tests.parallel", "tests.surroundings", "tests.tiers")


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that `make` fills, once for all workers of a run; none of their tests may write into it."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / f"once-{name}"
    with (folder.parent / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / ".made").exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a worker that failed
            folder.mkdir()
            make(folder)
            (folder / ".made").touch()
    return folder


@pytest.fixture
def nvidia_driver(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A function that installs an NVIDIA driver of which only the answers are there (tests/stand_in_driver.py)."""
    folder = made_once(tmp_path_factory, "nvidia-driver", build_driver)

    def install(*gpus: str, cuda: str = "13.0", status: int = 0, free_mb: int | None = None) -> None:
        major, minor = map(int, cuda.split("."))
        answers = {"GPUS": ";".join(gpus), "CUDA": major * 1000 + minor * 10, "STATUS": status}
        answers |= {"CONTEXT": 2} if free_mb is None else {"CONTEXT": 0, "FREE_MB": free_mb}
        for name, answer in answers.items():
            monkeypatch.setenv(f"STAND_IN_{name}", str(answer))
        monkeypatch.setattr("torchless.engine.cuda._LIBRARY", str(folder / "libcuda.so.1"))

    return install


@pytest.fixture
def on_cuda(nvidia_driver: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> type[CudaInName]:
    """The sessions of a machine with a GPU, which compute on the CPU."""
    nvidia_driver("NVIDIA H100/9.0", "NVIDIA H100/9.0", free_mb=70_000)
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    monkeypatch.setattr(onnxruntime, "cuda_version", "13.0", raising=False)
    monkeypatch.setattr("torchless.engine.cuda.load_libraries", lambda ort: "")
    monkeypatch.setattr(onnxruntime, "InferenceSession", CudaInName)
    monkeypatch.setattr(CudaInName, "on_gpu", CudaInName.on_gpu)
    return CudaInName


@pytest.fixture(scope="session")
def photos() -> Path:
    """scikit-image's folder of real photos."""
    return Path(skimage.data_dir)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small convolutional network of five classes at 32 pixels (tests/models.py), as it was exported for
    tests/data.
    """
    return _copied(tmp_path_factory, "tiny.onnx")


@pytest.fixture(scope="session")
def pixels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with its preprocessing in the graph."""
    return _copied(tmp_path_factory, "pixels.onnx")


@pytest.fixture(scope="session")
def multi_label(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny artifact as if each of its classes were decided by itself, the last one from 0.9."""
    return made_once(tmp_path_factory, "multi-label", _multi_label) / "multi.onnx"


def _multi_label(folder: Path) -> None:
    write_with_head(folder / "multi.onnx", labels=LABELS, thresholds=(0.5, 0.5, 0.5, 0.5, 0.9))


@pytest.fixture(scope="session")
def binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny artifact as if its second class alone decided between two labels."""
    return made_once(tmp_path_factory, "binary", _binary) / "binary.onnx"


def _binary(folder: Path) -> None:
    write_with_head(folder / "binary.onnx", labels=("fine", "defect"), output=1)


def write_with_head(
    path: Path,
    *,
    labels: tuple[str, ...],
    activation: str = "sigmoid",
    thresholds: tuple[float, ...] | None = None,
    output: int | None = None,
) -> None:
    """Writes the tiny artifact with another head: `output` is the one of its outputs that is left."""
    model = onnx_model.load(DATA / "tiny.onnx")
    if output is not None:
        model.graph.node[-1].output[0] = "all"
        model.graph.initializer.append(onnx_model.tensor("kept", [output], "int64"))
        model.graph.node.append(onnx_model.node("Gather", ["all", "kept"], ["logits"], axis=1))
        model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 1
    manifest = Manifest.from_json({entry.key: entry.value for entry in model.metadata_props}[Manifest.KEY])
    head = replace(manifest.output, activation=activation, thresholds=thresholds)
    onnx_model.set_metadata(model, {Manifest.KEY: replace(manifest, labels=labels, output=head).to_json()})
    onnx_model.save(model, path)


def _copied(factory: pytest.TempPathFactory, name: str) -> Path:
    return made_once(factory, name, lambda folder: shutil.copy(DATA / name, folder)) / name


@pytest.fixture(scope="session")
def model_class() -> type:
    """Of the models that `changed` hands out: tests/export has onnx's own."""
    return onnx_model.ModelProto


@pytest.fixture
def changed(tiny: Path, model_class: Any, tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a copy of the tiny artifact after `change` has been at its ONNX model, with another
    manifest if one is given.
    """

    def write(change: Callable[[Any], None] = lambda _: None, *, manifest: str | None = None) -> Path:
        model = model_class.FromString(tiny.read_bytes())
        change(model)
        if manifest is not None:
            onnx_model.set_metadata(model, {Manifest.KEY: manifest} if manifest else {})
        path = tmp_path / "changed.onnx"
        onnx_model.save(model, path)
        return path

    return write


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    """pair/tiny.onnx and its weights in pair/tiny.onnx.data."""
    return shutil.copytree(DATA / "pair", tmp_path / "pair") / "tiny.onnx"


@pytest.fixture
def command_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Callable[..., tuple[int, str, str]]:
    """Runs a command line in this process; gives (exit code, stdout, stderr)."""

    def call(*arguments: object) -> tuple[int, str, str]:
        program, *rest = map(str, arguments)
        monkeypatch.setattr(sys, "argv", [program, *rest])
        with pytest.raises(SystemExit) as ended:
            (start.infer_main if program == "infer" else cli.main)()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return call


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """Debian's Chromium: `make browser` installs it. Playwright's own cannot be downloaded everywhere. Not for a whole
    session: playwright's event loop would be in the way of tests that run one of their own.
    """
    from playwright.sync_api import expect, sync_playwright

    from tests.surroundings import PATIENCE_S

    program = shutil.which("chromium")
    assert program is not None, "these tests need Chromium: make browser"
    expect.set_options(timeout=1000 * PATIENCE_S)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program,
            args=["--no-sandbox", "--disable-quic", "--disable-background-networking"],
            timeout=1000 * PATIENCE_S,
        )
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: "Browser") -> Iterator[Callable[..., "Page"]]:
    """A function that opens an address. Whatever the browser complains of fails the test, but for messages that hold
    `expected`; so does a request for anything that does not begin with one of `own`, or is not part of the page
    (data:).
    """
    from tests.surroundings import PATIENCE_S  # a plugin, which pytest is to import

    complaints: list[str] = []
    contexts = []

    def open_address(
        address: str, *, own: tuple[str, ...] = ("file:",), expected: str | None = None, **settings: Any
    ) -> "Page":
        context = browser.new_context(**settings)
        contexts.append(context)
        context.set_default_timeout(1000 * PATIENCE_S)
        page = context.new_page()
        page.on(
            "console",
            lambda said: complaints.append(said.text) if expected is None or expected not in said.text else None,
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "request",
            lambda request: complaints.append(request.url) if not request.url.startswith((*own, "data:")) else None,
        )
        page.goto(address)
        return page

    yield open_address
    for context in contexts:
        context.close()
    assert complaints == []


def brightness(page: "Page", what: str) -> float:
    """Of a colour of the page's body, such as "backgroundColor", in 0..1."""
    color = page.evaluate(f"getComputedStyle(document.body).{what}")
    return sum(map(int, re.findall(r"\d+", color)[:3])) / 765


@pytest.fixture(autouse=True)
def _no_caches(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test reads or fills the developer's own cache of weights or models."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path_factory.mktemp("torch_home")))
    monkeypatch.setenv("TORCHLESS_CACHE", str(tmp_path_factory.getbasetemp() / "no-cache"))
    monkeypatch.delenv("TORCHLESS_WEIGHTS_MIRROR", raising=False)


@pytest.fixture(autouse=True)
def _nothing_is_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that sends Ctrl-C to its own process does not end it, however slow the machine is."""
    from tests.surroundings import PATIENCE_S

    monkeypatch.setattr(stuck, "PATIENCE_S", PATIENCE_S)
