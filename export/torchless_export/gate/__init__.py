"""The gate: whether an exported file gives PyTorch's answers, checked with the very runtime code that ships. docs/parity.md explains it.

oracle.py       PyTorch's side: what is right, and how far PyTorch itself is from it
evidence.py     both sides over the images that judge
in_graph.py     preprocessing inside the graph against torchvision's
metrics.py      the figures
checks.py       figures against limits: the verdict
departure.py    on failure: the first node whose output departs, and the nn.Module it came from
page.py         all of it as one HTML file
"""

from torchless_export.gate.checks import Verdict, judge
from torchless_export.gate.evidence import gather
from torchless_export.gate.metrics import measure
from torchless_export.gate.oracle import Oracle
from torchless_export.gate.pixels import as_the_network_sees
from torchless_export.gate.text import explain, metrics_table, table

__all__ = ["Oracle", "Verdict", "as_the_network_sees", "explain", "gather", "judge", "measure", "metrics_table", "table"]
