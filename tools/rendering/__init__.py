"""What each page says of its figures: one module for each page; functions take parts of JSON files and give Markdown, or a picture."""

from typing import Any

Row = dict[str, Any]
