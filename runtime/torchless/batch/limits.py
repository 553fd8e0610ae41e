"""How much is read of files, archives and URLs, and how long is waited for. Importing it costs nothing."""

from torchless.errors import ImageTooLargeError
from torchless.image.options import ImageOptions
from torchless.records import dataclass

_ALWAYS_ALLOWED = 1_000_000_000  # bytes that any archive may unpack to
_IN_ALL = 20  # times as long as a silence may a whole download last


@dataclass(frozen=True, kw_only=True)
class Limits:
    """`max_bytes`: of one image file, wherever it is. `max_expansion`: to how many times its own size an archive may
    unpack, above 1 GB. `timeout_s`: how many seconds a server may be silent; one download may take 20 times as long.
    """

    max_bytes: int = ImageOptions.max_bytes
    max_expansion: float = 200.0
    timeout_s: float = 30.0

    @property
    def whole_timeout_s(self) -> float:
        """The seconds that one download may take."""
        return _IN_ALL * self.timeout_s

    def check_expansion(self, unpacked: int, packed: int) -> None:
        """Raises ImageTooLargeError for an archive of which `packed` bytes become `unpacked` ones."""
        if unpacked > max(_ALWAYS_ALLOWED, self.max_expansion * packed):
            raise ImageTooLargeError(
                f"the archive unpacks to more than {self.max_expansion:g} times its size; raise the limit with "
                "--max-expansion (max_expansion in Python) if you trust it"
            )
