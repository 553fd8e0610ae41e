"""The gate: does an exported file give PyTorch's answers? Checked with the very runtime code that ships; docs/parity.md
explains it.

oracle.py       PyTorch's side: what is right, and how far PyTorch itself is from it
evidence.py     both sides on the test images
pixels.py       preprocessing inside the graph against torchvision's
metrics.py      the figures
checks.py       figures against limits: the verdict
decisions.py    the verdict on an artifact below float32: its decisions against the float model's
departure.py    on failure: the first node whose output departs, and the nn.Module it came from
node_values.py  what every node of a graph computes
text.py         the verdict as text
page.py         the verdict as one HTML file; histogram.py: its histograms
"""
