"""Files that end early. Pillow has one switch for them, for all threads: here those that need it off wait for those
that need it on, and the other way round.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition

from PIL import ImageFile


class _Switch:
    def __init__(self) -> None:
        self._changed = Condition()
        self._users = {False: 0, True: 0}
        self._before = False

    @contextmanager
    def at(self, lenient: bool) -> Iterator[None]:
        """While the block runs, Pillow accepts truncated files, or is as the program has set it."""
        with self._changed:
            while self._users[not lenient]:
                self._changed.wait()
            self._users[lenient] += 1
            if lenient and self._users[True] == 1:
                self._before, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, True
        try:
            yield
        finally:
            with self._changed:
                self._users[lenient] -= 1
                if not self._users[lenient]:
                    if lenient:
                        ImageFile.LOAD_TRUNCATED_IMAGES = self._before
                    self._changed.notify_all()


_SWITCH = _Switch()
accepting_truncated = _SWITCH.at
