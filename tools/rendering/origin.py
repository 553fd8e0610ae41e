"""Where and when figures were measured, as their file says: a sentence for below a table."""

from rendering import Row
from torchless.codec import decode
from torchless.doctor.machine import Machine


def measured(*documents: Row) -> str:
    """On which day and machine; a sentence for each, if they are not all of one."""
    return " ".join(dict.fromkeys(_sentence(document) for document in documents))


def same_machine(*documents: Row) -> bool:
    """Whether their figures may be set in relation to each other."""
    return all(document["machine"] == documents[0]["machine"] for document in documents)


def _sentence(document: Row) -> str:
    if document["machine"] is None:
        return f"Measured on {document['date']}; the machine was not recorded."
    return f"Measured on {document['date']} on {decode(Machine, document['machine'], 'machine')}."
