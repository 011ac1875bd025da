from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.keys import JOB_ID, InvalidTenant, JobKey, Keys, check_tenant

KEYS = Keys()
JOB = JobKey("42", "job", "a1")
VIDEO = JobKey("42", "video", "7")


def test_names_are_exactly_those_that_the_outside_relies_on() -> None:
    assert KEYS.stream("42") == "tenant:42:events"
    assert KEYS.dead("42") == "tenant:42:dead"
    assert KEYS.status(JOB) == "tenant:42:job:a1:status"
    assert KEYS.progress(JOB) == "tenant:42:job:a1:progress"
    assert KEYS.status(VIDEO) == "tenant:42:video:7:status"
    assert KEYS.progress(VIDEO) == "tenant:42:video:7:progress"
    assert KEYS.legacy_progress(JOB) == "job:a1:progress"
    assert KEYS.legacy_progress(VIDEO) == "job:video:7:progress"


tenants = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)
job_ids = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,20}", fullmatch=True)
jobs = st.builds(JobKey, tenants, st.sampled_from(["job", "video"]), job_ids)


@given(jobs, jobs)
@settings(deadline=None)
def test_two_jobs_never_share_a_key(one: JobKey, other: JobKey) -> None:
    """Ids may contain colons."""
    names = [
        {KEYS.status(job), KEYS.progress(job), KEYS.ended(job), KEYS.stream(job.tenant)}
        for job in (one, other)
    ]
    if one != other:
        shared = names[0] & names[1]
        assert shared == ({KEYS.stream(one.tenant)} if one.tenant == other.tenant else set())
    assert len(names[0]) == 4
    assert KEYS.dead(one.tenant) not in names[1]


@given(tenants)
@settings(deadline=None)
def test_tenant_is_read_back_from_its_log(tenant: str) -> None:
    assert check_tenant(tenant) == tenant
    assert KEYS.tenant_of(KEYS.stream(tenant)) == tenant


@pytest.mark.parametrize(
    "tenant", ["", "x" * 65, "a b", "a:b", "42\n", "한", "*", "{42}", 42, None]
)
def test_name_that_is_no_tenant_is_refused(tenant: str) -> None:
    with pytest.raises(InvalidTenant, match="is no tenant: 1 to 64 letters"):
        check_tenant(tenant)


def test_pattern_of_ids_takes_no_line_end() -> None:
    assert JOB_ID.match("a1")
    assert not JOB_ID.match("a1\n")
