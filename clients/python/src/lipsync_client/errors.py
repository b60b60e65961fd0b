"""What a call can fail with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import grpc
from google.rpc import error_details_pb2, status_pb2


@dataclass(frozen=True)
class FieldViolation:
    """A field of the request that is wrong, and why."""

    field: str
    description: str


class LipsyncError(Exception):
    """A call that failed. Subclasses say how; `reason` is the server's own word for it."""

    def __init__(
        self,
        message: str,
        *,
        code: grpc.StatusCode = grpc.StatusCode.UNKNOWN,
        reason: str = "",
        metadata: dict[str, str] | None = None,
        field_violations: Sequence[FieldViolation] = (),
        retry_delay: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        #: Such as CAPACITY_FULL: google.rpc.ErrorInfo's reason, empty where the gRPC layer itself refused.
        self.reason = reason
        #: What the reason is about: google.rpc.ErrorInfo's metadata.
        self.metadata = metadata or {}
        self.field_violations = tuple(field_violations)
        #: Seconds after which the server expects that it will do; None where it does not say.
        self.retry_delay = retry_delay


class InvalidRequestError(LipsyncError):
    """The request is wrong; `field_violations` names what."""


class NotFoundError(LipsyncError):
    """No such model."""


class UnusableModelError(LipsyncError):
    """The model's files or configuration are broken, or it cannot do what was asked for."""


class AuthError(LipsyncError):
    """No token, an unknown one, or one without the right to do this."""


class BusyError(LipsyncError):
    """A limit of the server is reached: try again after `retry_delay`."""


class UnavailableError(LipsyncError):
    """The server cannot be reached, or is going down."""


class TimedOutError(LipsyncError):
    """The deadline passed."""


class ServerError(LipsyncError):
    """The server failed."""


_KINDS: dict[grpc.StatusCode, type[LipsyncError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequestError,
    grpc.StatusCode.OUT_OF_RANGE: InvalidRequestError,
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.FAILED_PRECONDITION: UnusableModelError,
    grpc.StatusCode.UNAUTHENTICATED: AuthError,
    grpc.StatusCode.PERMISSION_DENIED: AuthError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: BusyError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: TimedOutError,
    grpc.StatusCode.INTERNAL: ServerError,
}


def from_rpc(error: grpc.RpcError) -> LipsyncError:
    """The exception for a call that ended with a status."""
    code = error.code() or grpc.StatusCode.UNKNOWN
    kind = _KINDS.get(code, LipsyncError)
    fields: list[FieldViolation] = []
    reason, metadata, retry_delay = "", {}, None
    for key, value in error.trailing_metadata() or ():
        if key != "grpc-status-details-bin":
            continue
        for detail in status_pb2.Status.FromString(value).details:
            if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
                info = error_details_pb2.ErrorInfo()
                detail.Unpack(info)
                reason, metadata = info.reason, dict(info.metadata)
            elif detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
                bad = error_details_pb2.BadRequest()
                detail.Unpack(bad)
                fields += [FieldViolation(v.field, v.description) for v in bad.field_violations]
            elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
                retry = error_details_pb2.RetryInfo()
                detail.Unpack(retry)
                retry_delay = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
    return kind(
        error.details() or code.name,
        code=code,
        reason=reason,
        metadata=metadata,
        field_violations=fields,
        retry_delay=retry_delay,
    )
