"""Logs on stderr: a line of text for people, or one JSON object per line for programs."""

import json
import logging
import logging.config
import time
from typing import Any, Literal

from torchless.serve.jobs import Runnable

_LOG = logging.getLogger("torchless.serve.requests")
_QUIET = frozenset({"/v2/health/live", "/v2/health/ready", "/metrics",
                    "/inference.GRPCInferenceService/ServerLive", "/inference.GRPCInferenceService/ServerReady",
                    "/grpc.health.v1.Health/Check"})  # fmt: skip


def configure(log_format: Literal["text", "json"]) -> None:
    """Sends the server's own log and uvicorn's to stderr."""
    formatter = JsonFormatter if log_format == "json" else TextFormatter
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"chosen": {"()": formatter}},
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "chosen"}},
            "loggers": {
                "torchless.serve": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
                "python_multipart": {"level": "CRITICAL"},  # it warns of every malformed form
                "uvicorn": {"handlers": ["stderr"], "level": "WARNING", "propagate": False},
            },
        }
    )


def request_log(scope: Any, status: int, seconds: float, model: Runnable | None) -> None:
    """One line per request. Requests that machines send every few seconds are left out unless they fail."""
    if status < 400 and scope["path"] in _QUIET:
        return
    fields = {"method": scope["method"], "path": scope["path"], "status": status, "ms": round(seconds * 1000, 1)}
    fields |= {"model": model.name, "version": model.version} if model is not None else {}
    fields |= {"client": scope["client"][0]} if scope.get("client") else {}
    _LOG.log(
        logging.ERROR if status >= 500 and status not in (503, 504) else logging.INFO,
        "request",
        extra={"fields": fields},
    )


class TextFormatter(logging.Formatter):
    """12:00:00 info request method=POST path=/classify …"""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        record.levelname = record.levelname.lower()
        fields = getattr(record, "fields", {})
        line, newline, rest = super().format(record).partition("\n")
        return " ".join([line, *(f"{name}={_quoted(value)}" for name, value in fields.items())]) + newline + rest


class JsonFormatter(logging.Formatter):
    """Time in UTC with milliseconds, level, message and a request's fields; a traceback is under `exception`."""

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        row = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        row |= getattr(record, "fields", {})
        if record.exc_info:
            row["exception"] = self.formatException(record.exc_info)
        return json.dumps(row)


def _quoted(value: object) -> str:
    """Text from a client cannot start a new line."""
    text = str(value)
    return text if text.isprintable() and " " not in text else json.dumps(text)
