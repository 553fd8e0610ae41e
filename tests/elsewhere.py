"""Runs the runtime as on a system that is not POSIX, as far as Linux can show it: what Windows or macOS lack is taken
away before torchless is imported. What other packages need of it they have imported by then.

    python tests/elsewhere.py PACKAGE,… torchless infer MODEL IMAGE      a command line
    python tests/elsewhere.py PACKAGE,… import MODULE…                   imports
"""

import importlib
import importlib.abc
import os
import signal
import sys

MODULES = ("fcntl", "grp", "pwd", "resource", "syslog", "termios")
NAMES = {
    os: (
        "O_CLOEXEC O_DIRECTORY O_NOFOLLOW O_NONBLOCK chown fchmod fchown fork forkpty getegid geteuid getgid "
        "getloadavg getpgid getuid killpg mkfifo mknod nice register_at_fork sched_getaffinity "
        "sched_setaffinity setsid statvfs sysconf uname"
    ),
    signal: "SIGALRM SIGCHLD SIGHUP SIGKILL SIGPIPE SIGQUIT SIGUSR1 SIGUSR2 alarm pthread_sigmask setitimer",
}


class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name: str, *_: object) -> None:
        if name in MODULES:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def without_proc(event: str, arguments: tuple) -> None:
    if event == "open" and str(arguments[0]).startswith(("/proc/", "/sys/")):
        raise FileNotFoundError(2, "No such file or directory", arguments[0])


def take_away() -> None:
    for name in MODULES:
        sys.modules.pop(name, None)
    sys.meta_path.insert(0, Missing())
    for module, names in NAMES.items():
        for name in names.split():
            delattr(module, name)
    sys.addaudithook(without_proc)


if __name__ == "__main__":
    _, packages, program, *arguments = sys.argv
    for package in packages.split(","):
        importlib.import_module(package)
    take_away()
    if program == "import":
        for name in arguments:
            importlib.import_module(name)
    else:
        from torchless.cli.main import main

        sys.argv = [program, *arguments]
        main()
