"""Whether the packages that torchless depends on are installed once each, undamaged, and can be imported."""

import re
import warnings
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import Distribution, distributions

from torchless.doctor.findings import Finding, pip
from torchless.engine import cuda
from torchless.errors import MissingDependencyError, first_line

_MISSING = MissingDependencyError.exit_code
_PREFIXES = {"PIL": "pillow"}  # pillow-simd contains the package PIL too


def package_findings() -> Iterator[Finding]:
    """One finding for each package."""
    found = list(distributions())
    yield _package("ONNX Runtime", "onnxruntime", found, needs=("onnxruntime", "InferenceSession"))
    yield _package("Pillow", "PIL", found, needs=("PIL.Image", "open"))  # the package alone does not load the extension
    yield _package("numpy", "numpy", found, needs=("numpy", "ndarray"))


def owners_of(module: str, found: list[Distribution]) -> list[Distribution]:
    """The installed distributions that contain the package `module`, by name; several overwrite each other's files."""
    init, prefix = f"{module}/__init__.py", _PREFIXES.get(module, module)  # reading all lists of files takes a second
    named = {name: one for one in found if (name := _name(one)).startswith(prefix)}
    owners = {name: one for name, one in named.items() if any(file.as_posix() == init for file in one.files or ())}
    return [owners[name] for name in sorted(owners)]


def names_of(module: str, found: list[Distribution]) -> list[str]:
    """The names of those distributions, as pip takes them."""
    return [_name(owner) for owner in owners_of(module, found)]


def _package(check: str, module: str, found: list[Distribution], *, needs: tuple[str, str]) -> Finding:
    owners = owners_of(module, found)
    if len(owners) > 1:
        names = [_name(owner) for owner in owners]
        return Finding(
            check=check,
            message=f"{' and '.join(names)} are both installed, and overwrite each other's files; only one may be",
            fix=f"{pip('uninstall', '--yes', *names)} && {pip('install', _replacement(module))}",
            exit_code=_MISSING,
        )
    problem = _import_problem(*needs)
    if owners and (damaged := problem or _damage(owners[0])):
        return _damaged(check, owners[0], damaged)
    if problem is not None:
        return Finding(
            check=check,
            message=f"not installed ({problem})",
            fix=pip("install", _replacement(module)),
            exit_code=_MISSING,
        )
    return Finding(
        check=check, message=" ".join(f"{_name(owner)} {owner.version}" for owner in owners) or "not installed by pip"
    )


def _damaged(check: str, owner: Distribution, damaged: str) -> Finding:
    return Finding(
        check=check,
        message=f"{_name(owner)} {owner.version} is damaged: {damaged}",
        fix=pip("install", "--force-reinstall", "--no-deps", f"{_name(owner)}=={owner.version}"),
        exit_code=_MISSING,
    )


def _import_problem(module: str, name: str) -> str | None:
    """Why the package cannot be used; a folder that an uninstalled wheel left behind can be imported, but is empty."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow says the same twice
            imported = import_module(module)
    except Exception as error:  # a broken package may raise anything while it is imported
        return first_line(error)
    return None if hasattr(imported, name) else f"{module} has no {name}"


def _damage(owner: Distribution) -> str | None:
    """Which of the wheel's files are missing or have another size than it says; Python rewrites compiled ones."""
    sized = [file for file in owner.files or () if file.size is not None and file.suffix != ".pyc"]
    wrong = [file for file in sized if _size(file.locate()) != file.size]
    return (
        f"{wrong[0]}{f' and {len(wrong) - 1} more files' * (len(wrong) > 1)} missing or not those of the wheel"
        if wrong
        else None
    )


def _size(path: object) -> int | None:
    try:
        return path.stat().st_size  # type: ignore[attr-defined, no-any-return]
    except OSError:
        return None


def _replacement(module: str) -> str:
    """What to install if there is none, or one too many: of onnxruntime's two wheels the one that fits the machine."""
    if module == "onnxruntime":
        return "torchless[cpu]" if cuda.driver_problem(0) else cuda.fitting_extra()
    return _PREFIXES.get(module, module)


def _name(distribution: Distribution) -> str:
    """Normalised as pip does (PEP 503)."""
    return re.sub(r"[-_.]+", "-", distribution.metadata["Name"] or "").lower()
