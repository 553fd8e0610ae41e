"""The package's contract: what it exports, what importing it costs, and the errors' places in the tree."""

import ast
import json
import re
import subprocess
import sys
from importlib.metadata import metadata
from pathlib import Path

import pytest

import torchless
from torchless import errors

HEAVY = {
    "torch",
    "torchvision",
    "onnx",
    "onnxscript",
    "onnxruntime",
    "numpy",
    "PIL",
    "pydantic",
    "rich",
    "typer",
    "starlette",
    "uvicorn",
    "torchless_export",
}


def loaded_after(code: str) -> set[str]:
    script = f"import sys, json\n{code}\nprint(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    return set(
        json.loads(
            subprocess.run(
                [sys.executable, "-c", script], check=True, capture_output=True, text=True
            ).stdout.splitlines()[-1]
        )
    )


def test_every_error_is_exported() -> None:
    own = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.TorchlessError)
    }
    assert own == {name for name in torchless.__all__ if name.endswith("Error")}
    assert all(getattr(torchless, name) is getattr(errors, name) for name in own)


def test_every_exported_name_is_there_and_explained() -> None:
    assert {
        "Classifier",
        "ImageLike",
        "ImageOptions",
        "Input",
        "Manifest",
        "Prediction",
        "Preprocess",
        "Result",
    } <= set(torchless.__all__)
    assert dir(torchless) == sorted(set(torchless.__all__))
    for name in torchless.__all__:
        value = getattr(torchless, name)
        if isinstance(value, type):
            explained = (vars(value)["__doc__"] or "").strip()
            assert explained.endswith((".", ")")), name
            assert not explained.startswith(f"{name}("), f"{name} has no docstring but the one that dataclass makes up"
    with pytest.raises(AttributeError, match="no attribute 'classify'"):
        torchless.classify  # noqa: B018


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(torchless.__file__).read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {
        (node.module, name.asname) for node in block.body if isinstance(node, ast.ImportFrom) for name in node.names
    }
    assert seen == {(f"torchless.{module}", name) for name, module in torchless._HOMES.items()}


def test_what_is_public_is_documented_method_by_method() -> None:
    methods = [
        value for name, value in vars(torchless.Classifier).items() if callable(value) and not name.startswith("_")
    ]
    assert len(methods) >= 8
    assert all(method.__doc__ for method in methods)


def test_import_costs_nothing() -> None:
    assert loaded_after("import torchless") & HEAVY == set()


def test_the_command_line_costs_typer_alone() -> None:
    assert loaded_after("import torchless.cli.main, torchless.cli.options, torchless.cli.start") & HEAVY == {"typer"}


def test_classifying_needs_numpy_pillow_and_onnxruntime_alone(tiny) -> None:
    code = f"import torchless, numpy; torchless.Classifier({str(tiny)!r}).classify(numpy.zeros((40, 40, 3), 'uint8'))"
    assert loaded_after(code) & HEAVY == {"numpy", "PIL", "onnxruntime"}


@pytest.mark.parametrize(
    ("name", "builtin", "exit_code"),
    [
        ("UsageError", ValueError, 2),
        ("MissingDependencyError", ImportError, 2),
        ("ImageReadError", OSError, 1),
        ("ImageDecodeError", ValueError, 1),
        ("ImageTooLargeError", ValueError, 1),
        ("InferenceError", RuntimeError, 1),
        ("ArtifactNotFoundError", FileNotFoundError, 3),
        ("ArtifactDamagedError", ValueError, 3),
        ("ExternalDataError", ValueError, 3),
        ("SignatureError", ValueError, 3),
        ("ManifestMissingError", ValueError, 3),
        ("ManifestError", ValueError, 3),
        ("ManifestVersionError", ValueError, 3),
        ("DeviceError", RuntimeError, 4),
    ],
)
def test_errors(name: str, builtin: type, exit_code: int) -> None:
    error = getattr(errors, name)
    assert issubclass(error, errors.TorchlessError)
    assert issubclass(error, builtin)
    assert error.exit_code == exit_code
    assert name in errors.__doc__


def test_an_extra_that_is_missing_is_named() -> None:
    with (
        pytest.raises(
            errors.MissingDependencyError,
            match=r"^a test needs the extra sign \(No .*'no_such'\); .*: pip install 'torchless\[sign\]'$",
        ),
        errors.extra("sign", "a test"),
    ):
        import no_such  # noqa: F401


def test_every_extra_that_an_error_names_exists() -> None:
    sources = "".join(path.read_text() for path in Path(torchless.__file__).parent.rglob("*.py"))
    named = set(re.findall(r"\bextra\(\"(\w+)\"", sources)) | set(re.findall(r"torchless\[(\w+)\]", sources))
    assert named >= {"bundle", "compare", "cpu", "gpu", "parquet", "ray", "remote", "serve", "sign"}
    assert named <= set(metadata("torchless").get_all("Provides-Extra") or ())


def test_one_image_on_the_command_line_loads_nothing_that_many_images_or_options_need(tiny, photos) -> None:
    code = f"""
from torchless.cli.start import infer_main
sys.argv = ["infer", {str(tiny)!r}, {str(photos / "coffee.png")!r}]
try:
    infer_main()
except SystemExit:
    pass
"""
    many = {"pyarrow", "fsspec", "asyncio", "aiohttp", "tarfile"}
    assert loaded_after(code) & (HEAVY | many) == {"numpy", "PIL", "onnxruntime"}
