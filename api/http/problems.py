"""Problems: every answer that is not a success, as `application/problem+json` (RFC 9457).

Code that handles a request raises one; `api.application` sends it. In the answer, `detail` is for
people and never reveals data that the caller may not read; `type` is a stable identifier for
programs. The first line of a class's docstring is its description in the OpenAPI document.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, ClassVar, Self

from api.http.languages import wants_english
from api.http.responses import NO_STORE, PROBLEM, Headers, RawResponse, json_bytes


class Problem(Exception):
    """The request cannot be answered; the class determines the status and the texts.

    Args:
        members: members to add to the answer's body.
    """

    status: ClassVar[HTTPStatus]
    problem_type: ClassVar[str]
    """The answer's `type`, which never changes."""
    korean: ClassVar[str]
    """The answer's `detail`, unless the request prefers English."""
    english: ClassVar[str]
    """The answer's `detail` for a request that prefers English."""
    headers: ClassVar[Headers] = ()
    """Headers in addition to those of all problems."""

    def __init__(self, **members: Any) -> None:
        super().__init__(self.korean)
        self._members = members
        self._more_headers: Headers = ()

    def with_headers(self, headers: Headers) -> Self:
        """Return this problem, with headers in addition to those of its class."""
        self._more_headers = headers
        return self

    @property
    def response(self) -> RawResponse:
        """The answer, in the language of the current request (`api.http.languages`).

        In one language, all answers of a class without members are byte-for-byte equal, so that
        they reveal nothing about the job.
        """
        return self.response_with((*self.headers, *self._more_headers))

    def response_with(self, headers: Headers) -> RawResponse:
        """Return the answer with these headers instead of the class's."""
        detail = self.english if wants_english() else self.korean
        return problem_response(self.status, self.problem_type, detail, headers, **self._members)


def problem_response(
    status: HTTPStatus, problem_type: str, detail: str, headers: Headers = (), **members: Any
) -> RawResponse:
    """Return an answer in the form of all problems."""
    body = {
        "type": problem_type,
        "title": status.phrase,
        "status": status.value,
        "detail": detail,
        **members,
    }
    return RawResponse(status.value, (*PROBLEM, *NO_STORE, *headers), json_bytes(body))


class TenantMissing(Problem):
    """The request has no tenant, or its name is not valid."""

    status = HTTPStatus.BAD_REQUEST
    korean = "tenant가 필요합니다."
    problem_type = "tenant-missing"
    english = "A tenant is required."


class BadRequest(Problem):
    """The request is not valid; `parameter` and `reason`, if present, describe the error."""

    status = HTTPStatus.BAD_REQUEST
    korean = "요청 형식이 올바르지 않습니다."
    problem_type = "bad-request"
    english = "The request is not valid."


class BadCredentials(Problem):
    """The credentials are missing or not valid; the answer does not reveal why."""

    status = HTTPStatus.UNAUTHORIZED
    korean = "유효한 인증 정보가 필요합니다."
    problem_type = "bad-credentials"
    english = "Valid credentials are required."
    headers = ((b"www-authenticate", b"Bearer"),)


class Forbidden(Problem):
    """The caller may not use this endpoint; the answer is the same for every resource."""

    status = HTTPStatus.FORBIDDEN
    korean = "권한이 없습니다."
    problem_type = "forbidden"
    english = "Permission denied."


class NoSuchJob(Problem):
    """The job does not exist, has expired, or belongs to another tenant.

    The API's contract fixes its text, which is the same for all of these reasons.
    """

    status = HTTPStatus.NOT_FOUND
    korean = "진행 중인 작업이 아닙니다."
    problem_type = "no-such-job"
    english = "This job is not in progress."


class NoSuchPage(Problem):
    """Not found."""

    status = HTTPStatus.NOT_FOUND
    korean = "요청한 주소를 찾을 수 없습니다."
    problem_type = "no-such-page"
    english = "Nothing is served at this address."


class MethodNotAllowed(Problem):
    """The method is not allowed; the `Allow` header lists the methods that are.

    Subclasses and Starlette replace the header where other methods are allowed.
    """

    status = HTTPStatus.METHOD_NOT_ALLOWED
    korean = "허용되지 않는 메서드입니다."
    problem_type = "method-not-allowed"
    english = "This method is not allowed."
    headers = ((b"allow", b"GET, HEAD"),)


class TryLater(Problem):
    """A required server is temporarily unavailable; retry after the seconds in `Retry-After`."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    korean = "일시적으로 조회할 수 없습니다. 잠시 후 다시 시도해 주세요."
    problem_type = "try-later"
    english = "Temporarily unavailable. Try again in a moment."
    headers = ((b"retry-after", b"1"),)


class InternalError(Problem):
    """An internal error occurred; the server's log has the details."""

    status = HTTPStatus.INTERNAL_SERVER_ERROR
    korean = "요청을 처리하지 못했습니다."
    problem_type = "internal-error"
    english = "The request could not be processed."
