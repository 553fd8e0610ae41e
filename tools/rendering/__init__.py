"""What each page says of its figures, a module for each page: from parts of JSON files to Markdown, or to a picture."""

from typing import Any

Row = dict[str, Any]
