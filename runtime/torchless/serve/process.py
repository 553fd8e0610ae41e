"""Settings and the end of a process of the server."""

import os
import signal
import sys
from contextlib import suppress

from PIL import Image

from torchless.image.decode import take_pillow_over
from torchless.serve import logs
from torchless.serve.settings import Settings

# how often Python's threads take turns; at the default of 5 ms, a thread back from inference waits long for the event
# loop
_SWITCH_S = 1e-4
_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _MOST_DOUBLED = 0.5, 30.0, 10


def leave_now(code: int) -> None:
    """Ends the process, whatever its threads do."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def stop_signals() -> list[int]:
    """The signals that end the server: not SIGHUP where it is ignored, as under nohup, or where there is none."""
    hang_up = getattr(signal, "SIGHUP", None)
    return [
        signal.SIGINT,
        signal.SIGTERM,
        *([hang_up] if hang_up and signal.getsignal(hang_up) != signal.SIG_IGN else []),
    ]


def pause_s(failures: int) -> float:
    """How long to wait before a process is started again that could not start so often in a row."""
    return min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(failures, _MOST_DOUBLED))


def configure_process(settings: Settings, *, image_threads: int) -> None:
    """Settings of the whole process: logs, how threads take turns, and Pillow's plugins, which are else imported when
    they are first needed, with memory for so many threads.
    """
    logs.configure(settings.log_format)
    sys.setswitchinterval(_SWITCH_S)
    Image.init()
    take_pillow_over(image_threads)
