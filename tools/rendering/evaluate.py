"""docs/evaluate.md: the picture of a confusion matrix."""

from rendering import Row
from torchless.codec import decode
from torchless.evaluate.confusion_matrix import confusion_picture
from torchless.evaluate.tally import ClassFigures, Confusion


def confusion_matrix(found: Row) -> bytes:
    """The picture that `torchless evaluate --confusion-matrix` draws of these figures."""
    classes = decode(tuple[ClassFigures, ...], found["classes"], "classes")
    confusions = decode(tuple[Confusion, ...], found["confusions"], "confusions")
    return confusion_picture(classes, confusions, f"{found['model']} on {found['data']}", "png")
