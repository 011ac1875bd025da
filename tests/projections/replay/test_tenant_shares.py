from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from projections.replay.tenant_shares import ALL, Share, divided

names = st.text(st.sampled_from("aB0_-z"), min_size=1, max_size=4)
counts = st.dictionaries(names, st.integers(0, 100))


@given(counts, st.integers(1, 5), names)
def test_every_tenant_belongs_to_exactly_one_share(
    counts: dict[str, int], most: int, later: str
) -> None:
    """A tenant that is added after the division belongs to one, too."""
    shares = divided(counts, most)
    assert 1 <= len(shares) <= most
    for tenant in (*counts, later):
        assert sum(share.holds(tenant) for share in shares) == 1


@given(counts.filter(lambda counts: any(counts.values())), st.integers(1, 5))
def test_no_share_is_larger_than_its_part_and_one_tenant(counts: dict[str, int], most: int) -> None:
    whole = sum(counts.values())
    for share in divided(counts, most)[:-1]:
        size = sum(count for tenant, count in counts.items() if share.holds(tenant))
        assert size <= whole / most + max(counts.values())


def test_equal_tenants_are_divided_equally() -> None:
    assert divided(dict.fromkeys("abcd", 10), 2) == [Share(None, "c"), Share("c", None)]


def test_one_tenant_is_never_divided() -> None:
    assert divided({"a": 10**6}, 4) == [ALL]
    assert divided({}, 4) == [ALL]
