from pathlib import Path

import pytest

from torchless.errors import UsageError
from torchless.model.labels import check_label_count, read_labels


def test_byte_order_mark_crlf_and_blank_end(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes("\ufefftench\r\n great white shark \r\nKätzchen\u2028x\r\n\r\n".encode())
    assert read_labels(path) == ("tench", "great white shark", "Kätzchen\u2028x")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "labels.txt: it is empty"),
        (b" \n", "labels.txt: it is empty"),
        (b"a\n\nb", "line 2 is empty"),
        (b"a\n\xff", "not UTF-8 text: .* at byte 2"),
    ],
)
def test_bad_files(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes(data)
    with pytest.raises(UsageError, match=message):
        read_labels(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        read_labels(tmp_path / "none.txt")


def test_count() -> None:
    with pytest.raises(UsageError, match="mine.txt holds 2 labels, the model has 3 classes"):
        check_label_count(("a", "b"), 3, "mine.txt")
    with pytest.raises(UsageError, match="mine.txt holds 1 label, the model has 3 classes"):
        check_label_count(("a",), 3, "mine.txt")
