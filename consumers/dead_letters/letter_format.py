"""The form of dead letters in Redis: keys, field names and scripts.

Used by `consumers.dead_letters.writer`, which writes letters, by `consumers.dead_letters.store`,
which reads them, and by `consumers.dead_letters.limits`, and also by
`consumers.dead_letters.letter`. It does not import the metrics of a consumer, so that commands
start faster.
"""

from __future__ import annotations

from importlib.resources import files

from streams.keys import Keys
from streams.wire import as_bytes

NO_EVENT = "no_event_field"
"""The reason of a letter whose entry has no field `event`."""
OTHER_PREFIX = b"found:"
"""The prefix of an entry's other fields in a letter, apart from the letter's own fields."""


def letter_keys(keys: Keys, tenant: str) -> list[bytes]:
    """Return the keys that the scripts take: stream, dead letters, index, settled entries."""
    names = (
        keys.stream(tenant),
        keys.dead(tenant),
        keys.dead_index(tenant),
        keys.dead_settled(tenant),
    )
    return list(map(as_bytes, names))


def script(name: str) -> str:
    """Return the text of a Lua script, preceded by the functions that all these scripts share."""
    folder = files("consumers.dead_letters")
    common = folder.joinpath("common.lua").read_text(encoding="utf-8")
    return common + folder.joinpath(name).read_text(encoding="utf-8")
