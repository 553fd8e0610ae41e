"""docs/security.md names a test for each promise; each is there, and is collected by pytest."""

import ast
import re

from tests.conftest import REPO

PAGE = (REPO / "docs" / "security.md").read_text(encoding="utf-8")
PROMISES = re.findall(r"^\| (.*) \| (`.*`) \|$", PAGE, re.MULTILINE)


def test_every_promise_has_a_test_that_is_there() -> None:
    rows = [
        line
        for line in PAGE.partition("## Images")[2].splitlines()
        if line.startswith("| ") and not line.startswith(("| promise", "| ---"))
    ]
    assert len(PROMISES) == len(rows) > 25
    for promise, tests in PROMISES:
        for test in re.findall(r"`([^`]*)`", tests):
            file, name = test.split("::")
            functions = {
                node.name for node in ast.parse((REPO / file).read_text()).body if isinstance(node, ast.FunctionDef)
            }
            assert name in functions, promise
            assert name.startswith("test_")
