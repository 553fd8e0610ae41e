"""The messages of GRPCInferenceService.

They are made of the published proto files' descriptors when this is imported. There is no generated code, which would
ask for one range of protobuf's versions; and a pool of their own keeps them apart from those of tritonclient and kserve
in the same process. For mypy they are Any.
"""

from importlib.resources import files
from typing import Any

from google.protobuf import descriptor_pool, message_factory

_PACKAGE = "inference"
_FILES = ("model_config", "grpc_service")  # the second imports the first
_pool = descriptor_pool.DescriptorPool()
for _name in _FILES:
    _pool.AddSerializedFile((files(__package__) / "protocol" / f"{_name}.descriptor").read_bytes())

SERVICE = f"{_PACKAGE}.GRPCInferenceService"


def message_class(name: str) -> Any:
    """The class of a message of the protocol."""
    return message_factory.GetMessageClass(_pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))


def methods() -> dict[str, Any]:
    """The messages of each method that takes one message and gives one: its name → its request's class."""
    return {
        method.name: message_factory.GetMessageClass(method.input_type)
        for method in _pool.FindServiceByName(SERVICE).methods
        if not getattr(method, "server_streaming", False)
    }


ModelInferRequest = message_class("ModelInferRequest")
ModelInferResponse = message_class("ModelInferResponse")
