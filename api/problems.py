"""Problems: every answer that is no success, as `application/problem+json` (RFC 9457).

Raise one wherever a request is handled. What people read is `detail`; it never says more than they
may know.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, ClassVar

from api.responses import NO_STORE, PROBLEM, Headers, Response, json_bytes


class Problem(Exception):
    """The request cannot be answered; the class says with which status and words."""

    status: ClassVar[HTTPStatus]
    detail: ClassVar[str]
    headers: ClassVar[Headers] = ()

    def __init__(self, **members: Any) -> None:
        super().__init__(self.detail)
        self._members = members
        """What this occurrence adds to the body."""

    @property
    def response(self) -> Response:
        """Give the answer; two of one class without members are equal to the byte."""
        return problem_response(self.status, self.detail, self.headers, **self._members)


def problem_response(
    status: HTTPStatus, detail: str, headers: Headers = (), **members: Any
) -> Response:
    """Give an answer in the form of all problems."""
    body = {
        "type": "about:blank",
        "title": status.phrase,
        "status": status.value,
        "detail": detail,
        **members,
    }
    return Response(status.value, (*PROBLEM, *NO_STORE, *headers), json_bytes(body))


class TenantMissing(Problem):
    """Say whose jobs are asked for."""

    status = HTTPStatus.BAD_REQUEST
    detail = "tenant가 필요합니다."


class BadRequest(Problem):
    """Something about the request is not of the form that it takes; members say what."""

    status = HTTPStatus.BAD_REQUEST
    detail = "요청 형식이 올바르지 않습니다."


class BadCredentials(Problem):
    """Come back with a valid token; which part of this one is not, stays unsaid."""

    status = HTTPStatus.UNAUTHORIZED
    detail = "유효한 인증 정보가 필요합니다."
    headers = ((b"www-authenticate", b"Bearer"),)


class Forbidden(Problem):
    """The token lacks the scope that this takes; the same answer whatever was asked for."""

    status = HTTPStatus.FORBIDDEN
    detail = "권한이 없습니다."


class NoSuchJob(Problem):
    """There is no such job in Redis, or none that the caller may know of: one answer for both."""

    status = HTTPStatus.NOT_FOUND
    detail = "진행 중인 작업이 아닙니다."


class NoSuchPage(Problem):
    """Nothing is served at this path."""

    status = HTTPStatus.NOT_FOUND
    detail = "없는 주소입니다."


class MethodNotAllowed(Problem):
    """Use a method of the `Allow` header."""

    status = HTTPStatus.METHOD_NOT_ALLOWED
    detail = "허용되지 않는 메서드입니다."
    headers = ((b"allow", b"GET, HEAD"),)


class TryLater(Problem):
    """A server that this one needs is away; ask again in a moment."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    detail = "일시적으로 조회할 수 없습니다. 잠시 후 다시 시도해 주세요."
    headers = ((b"retry-after", b"1"),)


class OurFault(Problem):
    """Something failed that should not; the log has it."""

    status = HTTPStatus.INTERNAL_SERVER_ERROR
    detail = "요청을 처리하지 못했습니다."
