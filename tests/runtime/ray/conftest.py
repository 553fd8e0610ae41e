"""A real Ray cluster on this machine, which all tests share that need one: they stay with one worker
(tests/conftest.py).
"""

import logging
import os
from collections.abc import Iterator

import pytest
from tests.runtime.ray.processes import ray_processes
from tests.server_process import wait_until

from torchless.ray.folders import remove_abandoned
from torchless.ray.serve import PROXY_CALLBACK, PROXY_VARIABLE


@pytest.fixture(scope="package")
def ray_cluster() -> Iterator[str]:
    """Its address. It counts with four processors, however many there are, and with a GPU that does not exist."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    os.environ[PROXY_VARIABLE] = PROXY_CALLBACK
    import ray

    ray.init(
        "local",
        num_cpus=4,
        num_gpus=1,
        include_dashboard=False,
        object_store_memory=100 << 20,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    yield ray.get_runtime_context().gcs_address
    ray.shutdown()
    wait_until(lambda: not ray_processes(""))
    remove_abandoned()  # as the next run on this machine would
