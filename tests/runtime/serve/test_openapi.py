"""The OpenAPI document matches the server: schemathesis sends what it allows and what it does not, and checks every
response.
"""

from contextlib import suppress

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi import checks
from tests.runtime.serve.conftest import Running
from tests.surroundings import PATIENCE_S

CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
    checks.unsupported_method,
]


@pytest.fixture(scope="module")
def document(served: Running) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_url(f"http://{served.address}/openapi.json", timeout=PATIENCE_S)


@pytest.mark.parametrize(("mode", "operations"), [(GenerationMode.POSITIVE, 15), (GenerationMode.NEGATIVE, 5)])
def test_every_answer_is_as_documented(
    document: schemathesis.BaseSchema, mode: GenerationMode, operations: int
) -> None:
    """Invalid requests can only be sent if there is something to get wrong."""
    tried = 0
    for found in document.get_all_operations():

        @settings(max_examples=30, derandomize=True, suppress_health_check=list(HealthCheck))
        @given(found.ok().as_strategy(generation_mode=mode))
        def test(case: schemathesis.Case) -> None:
            case.call_and_validate(checks=CHECKS, timeout=PATIENCE_S)

        with suppress(Unsatisfiable):
            test()
            tried += 1
    assert tried >= operations


def test_every_route_is_documented(served: Running, document: schemathesis.BaseSchema) -> None:
    pages = {"/", "/docs", "/openapi.json"}
    routes = {route.path for route in served.server.config.loaded_app.routes}
    assert {path for path in routes - pages if not path.startswith("/page/")} == set(document.raw_schema["paths"])
