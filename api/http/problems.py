"""Problems: every answer that is not a success, as `application/problem+json` (RFC 9457).

Code that handles a request raises one; `api.application` sends it. `detail` is for people and never
reveals data that the caller may not read. `type` is a stable word for programs. The first line of a
class's docstring is its description in the OpenAPI document.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, ClassVar

from api.http.languages import wants_english
from api.http.responses import NO_STORE, PROBLEM, Headers, RawResponse, json_bytes


class Problem(Exception):
    """The request cannot be answered; the class determines the status and the texts.

    Args:
        members: members to add to the answer's body.
    """

    status: ClassVar[HTTPStatus]
    word: ClassVar[str]
    """The problem's `type`, which never changes."""
    detail: ClassVar[str]
    """The text for people, in Korean."""
    english: ClassVar[str]
    """The text for people, in English."""
    headers: ClassVar[Headers] = ()

    def __init__(self, **members: Any) -> None:
        super().__init__(self.detail)
        self._members = members

    @property
    def response(self) -> RawResponse:
        """The answer; all answers of one class without members are equal to the byte."""
        return self.response_with(self.headers)

    def response_with(self, headers: Headers) -> RawResponse:
        """Return the answer with these headers instead of the class's."""
        detail = self.english if wants_english() else self.detail
        return problem_response(self.status, self.word, detail, headers, **self._members)


def problem_response(
    status: HTTPStatus, word: str, detail: str, headers: Headers = (), **members: Any
) -> RawResponse:
    """Return an answer in the form of all problems."""
    body = {
        "type": word,
        "title": status.phrase,
        "status": status.value,
        "detail": detail,
        **members,
    }
    return RawResponse(status.value, (*PROBLEM, *NO_STORE, *headers), json_bytes(body))


class TenantMissing(Problem):
    """The request has no tenant, or its name is not valid."""

    status = HTTPStatus.BAD_REQUEST
    detail = "tenant가 필요합니다."
    word = "tenant-missing"
    english = "A tenant is required."


class BadRequest(Problem):
    """The request is not valid; `parameter` and `reason` describe the error."""

    status = HTTPStatus.BAD_REQUEST
    detail = "요청 형식이 올바르지 않습니다."
    word = "bad-request"
    english = "The request is not valid."


class BadCredentials(Problem):
    """The credentials are missing or not valid; the answer does not reveal why."""

    status = HTTPStatus.UNAUTHORIZED
    detail = "유효한 인증 정보가 필요합니다."
    word = "bad-credentials"
    english = "Valid credentials are required."
    headers = ((b"www-authenticate", b"Bearer"),)


class Forbidden(Problem):
    """The token lacks the required scope; the answer is the same for every resource."""

    status = HTTPStatus.FORBIDDEN
    detail = "권한이 없습니다."
    word = "forbidden"
    english = "Permission denied."


class NoSuchJob(Problem):
    """The job does not exist, has expired, or belongs to another tenant."""

    status = HTTPStatus.NOT_FOUND
    detail = "진행 중인 작업이 아닙니다."
    word = "no-such-job"
    english = "This job is not in progress."


class NoSuchPage(Problem):
    """Not found."""

    status = HTTPStatus.NOT_FOUND
    detail = "요청한 주소를 찾을 수 없습니다."
    word = "no-such-page"
    english = "Nothing is served at this address."


class MethodNotAllowed(Problem):
    """The method is not allowed; the `Allow` header lists the methods that are."""

    status = HTTPStatus.METHOD_NOT_ALLOWED
    detail = "허용되지 않는 메서드입니다."
    word = "method-not-allowed"
    english = "This method is not allowed."
    headers = ((b"allow", b"GET, HEAD"),)


class TryLater(Problem):
    """A required server is temporarily unavailable; retry after `Retry-After`."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    detail = "일시적으로 조회할 수 없습니다. 잠시 후 다시 시도해 주세요."
    word = "try-later"
    english = "Temporarily unavailable. Try again in a moment."
    headers = ((b"retry-after", b"1"),)


class InternalError(Problem):
    """An internal error occurred; the server's log has the details."""

    status = HTTPStatus.INTERNAL_SERVER_ERROR
    detail = "요청을 처리하지 못했습니다."
    word = "internal-error"
    english = "The request could not be processed."
