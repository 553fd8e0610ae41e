"""All questions in order, and their answers as text or JSON."""

import platform
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torchless.doctor.findings import Finding
from torchless.doctor.packages import package_findings
from torchless.doctor.processors import processor_findings
from torchless.engine.options import ModelOptions
from torchless.text import printable


def examine(model: Path | None, opening: ModelOptions = ModelOptions()) -> Iterator[Finding]:
    """The findings, as they are made. Questions that need a broken package are skipped: its own finding comes first."""
    packages = list(package_findings())
    yield from packages
    sound = {finding.check for finding in packages if finding.is_well}
    if {"Pillow", "numpy"} <= sound:
        from torchless.doctor.pillow import pillow_findings

        yield from pillow_findings()
    yield from processor_findings()
    if {"ONNX Runtime", "numpy"} <= sound:
        from torchless.doctor.gpu import gpu_findings

        yield from gpu_findings(model)
    if model is not None and {"ONNX Runtime", "Pillow", "numpy"} <= sound:
        from torchless.doctor.model import model_findings

        yield from model_findings(model, opening)


def exit_code(findings: Sequence[Finding]) -> int:
    """0 if everything is fine, otherwise that of the first problem."""
    return next((finding.exit_code for finding in findings if not finding.is_well), 0)


def examination_dict(findings: Sequence[Finding]) -> dict[str, Any]:
    """What its JSON holds."""
    return {
        "torchless": version("torchless"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "well": exit_code(findings) == 0,
        "findings": [finding.to_dict() for finding in findings],
    }


def examination_text(findings: Sequence[Finding]) -> str:
    """A line for each finding, and under each problem the command that fixes it."""
    width = max(len(finding.check) for finding in findings)
    lines = [f"torchless {version('torchless')}, Python {platform.python_version()}, {platform.platform()}"]
    for finding in findings:
        lines.append(
            f"  {'ok     ' if finding.is_well else 'PROBLEM'}  {finding.check:<{width}}  {printable(finding.message)}"
        )
        if finding.fix is not None:
            lines.append(f"{'':<{width + 13}}{printable(finding.fix)}")
    problems = sum(not finding.is_well for finding in findings)
    lines.append(
        "no problems found"
        if not problems
        else f"{problems} problem{'s' * (problems > 1)}; under each is the command that fixes it"
    )
    return "\n".join(lines)
