"""What torchless_export exports, and what importing it costs."""

import ast
import inspect
import re

import pytest
from tests.conftest import REPO
from tests.runtime.test_package import HEAVY, loaded_after

import torchless.errors
import torchless_export
from torchless.errors import TorchlessError


def test_every_exported_name_is_there_and_explained() -> None:
    assert dir(torchless_export) == sorted(torchless_export.__all__) == torchless_export.__all__
    for name in torchless_export.__all__:
        exported = getattr(torchless_export, name)
        assert exported.__name__ == name
        assert exported.__doc__, name
        if isinstance(exported, type) and issubclass(exported, BaseException):
            assert issubclass(exported, TorchlessError)
    with pytest.raises(AttributeError, match="no attribute 'convert_all'"):
        torchless_export.convert_all  # noqa: B018


@pytest.mark.parametrize("name", ["export_model", "quantize", "verify"])
def test_a_function_explains_its_arguments_and_its_errors(name: str) -> None:
    function = getattr(torchless_export, name)
    for argument in inspect.signature(function).parameters:
        assert f"`{argument}`" in function.__doc__, argument
    assert set(re.findall(r"\b\w+Error\b", function.__doc__)) <= {*dir(torchless_export), *dir(torchless.errors)}
    assert "UsageError" in function.__doc__


def test_the_docs_use_what_is_exported() -> None:
    examples = re.findall(r"```python\n(.*?)```", (REPO / "docs/export.md").read_text(), re.DOTALL)
    assert examples
    for tree in map(ast.parse, examples):
        nodes = list(ast.walk(tree))
        used = {alias.name for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names} - {"Path"}
        assert used <= set(torchless_export.__all__)
        for node in nodes:
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in used:
                inspect.signature(getattr(torchless_export, node.func.id)).bind(
                    *node.args, **{word.arg: word.value for word in node.keywords}
                )


def test_import_costs_nothing() -> None:
    assert loaded_after("import torchless_export") & HEAVY == {"torchless_export"}
