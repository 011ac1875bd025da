"""Problems: every answer that is no success, as `application/problem+json` (RFC 9457).

Raise one wherever a request is handled. What people read is `detail`; it never says more than they
may know. Programs read `type`, a word that stays.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, ClassVar

from api.http.languages import wants_english
from api.http.responses import NO_STORE, PROBLEM, Headers, Response, json_bytes


class Problem(Exception):
    """The request cannot be answered; the class says with which status and words."""

    status: ClassVar[HTTPStatus]
    word: ClassVar[str]
    """The problem's `type`: for programs, and stable."""
    detail: ClassVar[str]
    """For people."""
    english: ClassVar[str]
    """The same for those who prefer English."""
    headers: ClassVar[Headers] = ()

    def __init__(self, **members: Any) -> None:
        super().__init__(self.detail)
        self._members = members
        """What this occurrence adds to the body."""

    @property
    def response(self) -> Response:
        """The answer; two of one class without members are equal to the byte."""
        return self.response_with(self.headers)

    def response_with(self, headers: Headers) -> Response:
        """Return the answer with headers other than the class's own."""
        detail = self.english if wants_english() else self.detail
        return problem_response(self.status, self.word, detail, headers, **self._members)


def problem_response(
    status: HTTPStatus, word: str, detail: str, headers: Headers = (), **members: Any
) -> Response:
    """Return an answer in the form of all problems."""
    body = {
        "type": word,
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
    word = "tenant-missing"
    english = "A tenant is required."


class BadRequest(Problem):
    """Something about the request is not of the form that it takes; members say what."""

    status = HTTPStatus.BAD_REQUEST
    detail = "요청 형식이 올바르지 않습니다."
    word = "bad-request"
    english = "The request is not valid."


class BadCredentials(Problem):
    """Come back with a valid token; which part of this one is not, stays unsaid."""

    status = HTTPStatus.UNAUTHORIZED
    detail = "유효한 인증 정보가 필요합니다."
    word = "bad-credentials"
    english = "Valid credentials are required."
    headers = ((b"www-authenticate", b"Bearer"),)


class Forbidden(Problem):
    """The token lacks the scope that this takes; the same answer whatever was asked for."""

    status = HTTPStatus.FORBIDDEN
    detail = "권한이 없습니다."
    word = "forbidden"
    english = "Permission denied."


class NoSuchJob(Problem):
    """There is no such job in Redis, or none that the caller may know of: one answer for both."""

    status = HTTPStatus.NOT_FOUND
    detail = "진행 중인 작업이 아닙니다."
    word = "no-such-job"
    english = "This job is not in progress."


class NoSuchPage(Problem):
    """Nothing is served at this path."""

    status = HTTPStatus.NOT_FOUND
    detail = "없는 주소입니다."
    word = "no-such-page"
    english = "Nothing is served at this address."


class MethodNotAllowed(Problem):
    """Use a method of the `Allow` header."""

    status = HTTPStatus.METHOD_NOT_ALLOWED
    detail = "허용되지 않는 메서드입니다."
    word = "method-not-allowed"
    english = "This method is not allowed."
    headers = ((b"allow", b"GET, HEAD"),)


class TryLater(Problem):
    """A server that this one needs is away; ask again in a moment."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    detail = "일시적으로 조회할 수 없습니다. 잠시 후 다시 시도해 주세요."
    word = "try-later"
    english = "Temporarily unavailable. Try again in a moment."
    headers = ((b"retry-after", b"1"),)


class OurFault(Problem):
    """Something failed that should not; the log has it."""

    status = HTTPStatus.INTERNAL_SERVER_ERROR
    detail = "요청을 처리하지 못했습니다."
    word = "internal-error"
    english = "The request could not be processed."
