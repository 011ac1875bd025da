"""Problems: every answer that is not a success, as `application/problem+json` (RFC 9457).

Code that handles a request raises one; `api.application` sends it. In the answer, `detail` is for
people and never reveals data that the caller may not read; `type` is a stable identifier for
programs. The first line of a class's docstring is its description in the OpenAPI document. Used by
`api`.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, ClassVar, Self

from api.http.catalogue import problem_detail
from api.http.languages import wants_english
from api.http.responses import NO_STORE, PROBLEM, Headers, RawResponse, json_bytes


class Problem(Exception):
    """The request cannot be answered; the class determines the status and the texts.

    A subclass has a `status` and a `problem_type`; its texts are in the catalogue of messages.

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

    def __init_subclass__(cls) -> None:
        """Take the texts of a type of problem from the catalogue."""
        super().__init_subclass__()
        if "problem_type" in cls.__dict__:
            cls.korean = problem_detail(cls.problem_type, "ko")
            cls.english = problem_detail(cls.problem_type, "en")

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
    problem_type = "tenant-missing"


class BadRequest(Problem):
    """The request is not valid; `parameter` and `reason`, if present, describe the error."""

    status = HTTPStatus.BAD_REQUEST
    problem_type = "bad-request"


class BadCredentials(Problem):
    """The credentials are missing or not valid; the answer does not reveal why."""

    status = HTTPStatus.UNAUTHORIZED
    problem_type = "bad-credentials"
    headers = ((b"www-authenticate", b"Bearer"),)


class Forbidden(Problem):
    """The caller may not use this endpoint; the answer is the same for every resource."""

    status = HTTPStatus.FORBIDDEN
    problem_type = "forbidden"


class NoSuchJob(Problem):
    """The job does not exist, has expired, or belongs to another tenant.

    The API's contract fixes its text, which is the same for all of these reasons.
    """

    status = HTTPStatus.NOT_FOUND
    problem_type = "no-such-job"


class NoSuchPage(Problem):
    """Not found."""

    status = HTTPStatus.NOT_FOUND
    problem_type = "no-such-page"


class MethodNotAllowed(Problem):
    """The method is not allowed; the `Allow` header lists the methods that are.

    Subclasses and Starlette replace the header where other methods are allowed.
    """

    status = HTTPStatus.METHOD_NOT_ALLOWED
    problem_type = "method-not-allowed"
    headers = ((b"allow", b"GET, HEAD"),)


class TryLater(Problem):
    """A required server is temporarily unavailable; retry after the seconds in `Retry-After`."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    problem_type = "try-later"
    headers = ((b"retry-after", b"1"),)


class InternalError(Problem):
    """An internal error occurred; the server's log has the details."""

    status = HTTPStatus.INTERNAL_SERVER_ERROR
    problem_type = "internal-error"
