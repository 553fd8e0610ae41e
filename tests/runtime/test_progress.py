"""The bar: its rate is that of the work, not of the moment in which a batch is counted."""

import io
import re
import sys

import pytest

from torchless.progress import choose_bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_rate_is_of_all_new_images(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, shown = [0.0], Terminal()
    monkeypatch.setattr("rich.console.monotonic", lambda: clock[0])
    monkeypatch.setattr(sys, "stderr", shown)
    monkeypatch.setenv("TERM", "xterm")
    with choose_bar(lambda: 300)(100) as advance:
        for seconds in (10.0, 10.001):
            clock[0] = seconds
            advance(100)
    assert re.findall(r"[\d.]+ images/s", shown.getvalue())[-1] == "20.0 images/s"
