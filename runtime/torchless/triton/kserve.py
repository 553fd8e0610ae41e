"""A Kubernetes manifest that makes KServe serve a model repository with Triton.

An InferenceService of serving.kserve.io/v1beta1.
"""

import re
from typing import Any

from torchless.errors import UsageError
from torchless.triton.options import Device

REPLICA_CPUS = 2

_URI = re.compile(r"[a-z][a-z0-9+.-]*://\S+")
_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")  # a valid name of a Kubernetes service (RFC 1035)


def inference_service(
    name: str,
    kserve: str,
    *,
    device: Device = "auto",
    cpus: int = REPLICA_CPUS,
    memory_gb: int = 4,
    min_replicas: int = 1,
    max_replicas: int = 4,
) -> dict[str, Any]:
    """The manifest of a service `name` for the repository that was copied to the address `kserve`. Raises UsageError.

    Resources are those of one replica. `kserve-tritonserver` is the name of KServe's own runtime for Triton.
    """
    if not _URI.fullmatch(kserve):
        raise UsageError(
            f"`kserve` takes the address that the repository is copied to, such as s3://bucket/repository; got "
            f"{kserve!r}"
        )
    if not _NAME.fullmatch(name) or len(name) > 63:
        raise UsageError(f"{name!r} is not a valid service name: use lower-case letters, digits and dashes")
    resources: dict[str, str] = {"cpu": str(cpus), "memory": f"{memory_gb}Gi"}
    if device == "cuda":
        resources["nvidia.com/gpu"] = "1"
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name},
        "spec": {
            "predictor": {
                "minReplicas": min_replicas,
                "maxReplicas": max_replicas,
                "model": {
                    "modelFormat": {"name": "onnx"},
                    "protocolVersion": "v2",
                    "runtime": "kserve-tritonserver",
                    "storageUri": kserve,
                    "resources": {"requests": resources, "limits": resources},
                },
            }
        },
    }


def service_name(text: str) -> str:
    """A model's or folder's name as a service name: efficientnet_v2_s → efficientnet-v2-s."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
