"""Errors of a request, each with its HTTP status. The body is `{"error": "…"}`, as in the Open Inference Protocol."""

from typing import ClassVar

from torchless.errors import ImageTooLargeError, InferenceError, TorchlessError


class RequestError(TorchlessError):
    """The request cannot be understood or granted: 400; subclasses have other statuses."""

    status: ClassVar[int] = 400

    @property
    def headers(self) -> dict[str, str]:
        return {}


class ClientGoneError(RequestError):
    """The client hung up, so nobody reads this response. 499 is nginx's number for it."""

    status = 499


class UnauthenticatedError(RequestError):
    """No API key, over gRPC."""

    status = 401


class NotAllowedError(RequestError):
    """Model control that was not allowed, or a page of another origin."""

    status = 403


class NotFoundError(RequestError):
    """No such model or version."""

    status = 404


class _ClosingError(RequestError):
    @property
    def headers(self) -> dict[str, str]:
        return {"connection": "close"}


class SlowBodyError(_ClosingError):
    """The body did not arrive in time."""

    status = 408


class BodyTooLargeError(_ClosingError):
    """More bytes than one request may have."""

    status = 413


class MediaTypeError(RequestError):
    """A body compressed in a way that is not understood. The answer says which are (RFC 9110, 15.5.16)."""

    status = 415

    @property
    def headers(self) -> dict[str, str]:
        return {"accept-encoding": "gzip, deflate"}


class OverloadedError(RequestError):
    """The queue is full, or there is no memory left for bodies. Try again in `retry_after_s` seconds."""

    status = 503

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message, retry_after_s)  # as another process, which raised it, sends it here
        self.message, self.retry_after_s = message, retry_after_s

    def __str__(self) -> str:
        return f"{self.message}; try again in {self.retry_after_s} s"

    @property
    def headers(self) -> dict[str, str]:
        return {"retry-after": str(self.retry_after_s)}


class UnloadedError(RequestError):
    """The model was unloaded while the request waited for it, or the server is stopping."""

    status = 503


class DeadlineError(RequestError):
    """The result did not come in time."""

    status = 504


def status_of(error: TorchlessError) -> int:
    """The HTTP status of a foreseen error: 413 for too many pixels, 500 if the model is at fault, 400 for other bad
    images.
    """
    if isinstance(error, RequestError):
        return error.status
    if isinstance(error, InferenceError):
        return 500
    return 413 if isinstance(error, ImageTooLargeError) else 400
