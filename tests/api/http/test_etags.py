"""Entity tags as caches and proxies send them back."""

from __future__ import annotations

import pytest

from api.http.etags import etag_of, is_not_modified, known_tags, matches

TAG = etag_of(b"an answer")
OTHER = etag_of(b"another answer")
OPAQUE = TAG.strip(b'"')


@pytest.mark.parametrize(
    "value",
    [
        b"%b",
        b"W/%b",
        b" %b ",
        b"%b,",
        b"%b,%b",
        b'"a", %b',
        b'W/"a",W/%b',
        b'"a,b",\t%b',
        b'"", %b',
    ],
)
def test_matches__among_others(value: bytes) -> None:
    assert matches(value.replace(b"%b", TAG), TAG)
    assert not matches(value.replace(b"%b", OTHER), TAG)


@pytest.mark.parametrize("coding", [b"gzip", b"x-gzip", b"br", b"zstd", b"deflate", b"gzip-br"])
@pytest.mark.parametrize("joint", [b"-", b"--", b";", b":"])
def test_matches__tag_that_a_proxy_altered(coding: bytes, joint: bytes) -> None:
    for form in (b'"%b%b%b"', b'W/"%b%b%b"', b'"a", "%b%b%b", "b"'):
        assert matches(form % (OPAQUE, joint, coding), TAG)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b",",
        b'"',
        b'""',
        b"W/",
        OPAQUE,
        OPAQUE + b'"',
        b'"' + OPAQUE,
        b"w/" + TAG,
        b"W/ " + TAG,
        TAG + TAG,
        TAG + b" " + TAG,
        b"*" + TAG,
        b'"*"',
        b"**",
        b'"%b-other"' % OPAQUE,
        b'"%bgzip"' % OPAQUE,
        b'"%b-"' % OPAQUE,
        b'"%b0"' % OPAQUE,
        b'"0%b"' % OPAQUE,
        b'"%b"' % OPAQUE[:-1],
        b'"%b"' % OPAQUE.upper(),
        b"\xff\x00" + TAG,
        b'"a' * 4_000,
        b"," * 8_000,
        b" ," * 4_000,
    ],
)
def test_matches__not_the_tag_or_no_tag_at_all__does_not(value: bytes) -> None:
    assert not matches(value, TAG)


def test_matches__any() -> None:
    assert matches(b"*", TAG)
    assert matches(b" * ", TAG)


def test_known_tags__of_several_lines() -> None:
    headers = [(b"if-none-match", b'"a"'), (b"x", b"y"), (b"if-none-match", TAG)]
    assert known_tags(headers) == b'"a",' + TAG
    assert is_not_modified(headers, TAG)
    assert not is_not_modified([], TAG)
