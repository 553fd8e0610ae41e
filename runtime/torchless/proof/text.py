"""Checks and proofs as text for people."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torchless.text import columns, printable

if TYPE_CHECKING:
    from torchless.model.manifest import Check
    from torchless.proof.run import Proof

_LEAST = ("not_vacuous", "images", "answers")


def checks_table(checks: "Sequence[Check]") -> str:
    """The checks as aligned text, one per line."""
    rows = [
        (check.name, "ok" if check.passed else "FAILED", f"{check.figure:.3g}", limit_text(check), check.detail)
        for check in checks
    ]
    rows.insert(0, ("check", "", "figure", "limit", ""))
    return "\n".join(f"  {line}" for line in columns(rows, "<<><<"))


def limit_text(check: "Check") -> str:
    """The limit with its direction."""
    return f"{'≥' if check.name in _LEAST else '≤'} {check.limit:.3g}"


def proof_text(proof: "Proof") -> str:
    """What `torchless verify` prints of it."""
    lines = [
        printable(str(proof)),
        *map(printable, checks_table(proof.checks).splitlines()),
        f"  on {proof.device}{f' ({proof.assignment})' if proof.assignment else ''}, ONNX Runtime {proof.onnxruntime}",
    ]
    if proof.reason is not None:
        lines.append(f"  compared without float64: {printable(proof.reason)}")
    return "\n".join(lines)
