"""How much protobuf may build of a message: two bytes can be an empty tensor that takes a hundred.

A message is walked before it is parsed. What counts are its fields, those of the messages in it, and the numbers in
packed lists: not the numbers of a tensor, which take no more than a few times their bytes.
"""

from typing import Any

from torchless.model.protobuf import MalformedError, fields_of
from torchless.serve.errors import RequestError

_MOST_FIELDS = 2_000
_NUMBERS = frozenset({"uint_contents", "fp32_contents"})  # of the datatypes UINT8 and FP32


def check_bounds(message: bytes, descriptor: Any, max_images: int) -> None:
    """`descriptor` is that of the message's type. Raises RequestError if it would become too large, or is none."""
    try:
        left = _left(memoryview(message), descriptor, _MOST_FIELDS + 2 * max_images)
    except MalformedError as error:
        raise RequestError(f"the message is no {descriptor.name}: {error}") from None
    if left < 0:
        raise RequestError(
            f"the message has too many fields; send a tensor as raw_input_contents, in fp32_contents or uint_contents, "
            f"packed, or in bytes_contents, with at most {max_images} images (--max-queue)"
        )


def _left(view: memoryview, descriptor: Any, budget: int) -> int:
    """What is left of the budget; below 0 if it is exceeded."""
    for number, value in fields_of(view):
        budget -= 1
        field = descriptor.fields_by_number.get(number)
        if field is not None and isinstance(value, memoryview):
            if field.message_type is not None:
                budget = _left(value, field.message_type, budget)
            elif field.type not in (field.TYPE_STRING, field.TYPE_BYTES) and field.name not in _NUMBERS:
                budget -= len(value)  # packed: each takes a byte or more
        if budget < 0:
            break
    return budget
