"""The rows that an import writes, and the number of its statements."""

from __future__ import annotations

from pathlib import Path
from threading import Thread
from typing import Any

import orjson
import psycopg
import pytest
import redis

from sql import sessions
from sql.sessions import Session
from tests.support.rosters import Database, counts, harm
from tests.support.servers import PostgresFactory
from tests.support.waiting import eventually
from tests.support.workbooks import KOREAN, phone, roster, student, with_openpyxl
from tests.workers.roster.conftest import Importing
from workers.roster.errors import RosterError
from workers.roster.store import connect


def told(created: int = 0, restored: int = 0, skipped: int = 0) -> dict[str, Any]:
    """Return the result of an import without failures."""
    total = created + restored + skipped
    return {
        "created": created, "restored": restored, "skipped": skipped, "failed": [], "total": total
    }  # fmt: skip


def delete(database: Database, name: str) -> None:
    """Delete a student as the product does: the row stays."""
    database.execute("UPDATE roster.students SET deleted_at = now() WHERE name = %s", (name,))
    database.execute("UPDATE roster.memberships SET is_active = false")


def test_import__every_column_in_its_place(
    importing: Importing, database: Database, tmp_path: Path
) -> None:
    result = importing(with_openpyxl(tmp_path / "a.xlsx", [KOREAN, student(7)]))

    assert result == told(created=1)
    row = database.execute(
        "SELECT s.name, s.parent_phone, s.phone, s.school_type, s.high_school, s.middle_school,"
        " s.high_school_class, s.major, s.grade, s.gender, s.memo, s.omr_code, s.uses_identifier,"
        " p.phone, u.username = s.ps_number, u.name, u.phone, u.must_change_password, m.role"
        " FROM roster.students s JOIN roster.parents p ON p.id = s.parent_id"
        " JOIN roster.users u ON u.id = s.user_id JOIN roster.memberships m ON m.user_id = u.id"
    ).fetchall()
    assert row == [
        ("학생7", "01000000007", "01050000007", "HIGH", "한빛고등학교", None, "3", "이과", 2, "F",
         "m7", "50000007", False, "01000000007", True, "학생7", "01050000007", True, "student")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("school", "column"),
    [
        ("대치중학교", "middle_school"),
        ("한빛고", "high_school"),
        ("별빛초등학교", "elementary_school"),
        ("한빛학원", "other_school"),
    ],
)
def test_import__school__in_the_column_of_its_type(
    importing: Importing, database: Database, tmp_path: Path, school: str, column: str
) -> None:
    rows = [["학교", "이름", "학부모 연락처"], [school, "김", phone(1)]]
    assert importing(with_openpyxl(tmp_path / "a.xlsx", rows)) == told(created=1)

    columns = "high_school middle_school elementary_school other_school".split()
    row = database.execute("SELECT to_jsonb(s) FROM roster.students AS s").fetchone()
    assert row
    assert {name: row[0][name] for name in columns if row[0][name]} == {column: school}


def test_import__no_own_phone__omr_code_is_of_the_parents(
    importing: Importing, database: Database, tmp_path: Path
) -> None:
    rows = [["이름", "학부모 연락처", "연락처"], ["김", phone(12_345_678), "02-123-4567"]]
    importing(with_openpyxl(tmp_path / "a.xlsx", rows))

    query = "SELECT phone, omr_code, uses_identifier FROM roster.students"
    assert database.execute(query).fetchall() == [(None, "12345678", True)]


def test_import__5000_rows__at_most_27_statements_at_the_server(
    importing: Importing, own_postgres: PostgresFactory, tmp_path: Path
) -> None:
    """The statements are counted in the server's log."""
    server = own_postgres()
    server.stop()
    with (server.data_dir / "cluster" / "postgresql.conf").open("a") as settings:
        settings.write("\nlog_statement = all\nlog_line_prefix = '%a|'\n")
    server.start()

    result = importing(roster(tmp_path / "a.xlsx", 5_000), database_url=server.url)

    assert result == told(created=5_000)
    lines = server.log_path.read_text().splitlines()
    said = [line for line in lines if line.startswith("jobtrail-roster|LOG:")]
    work = [line for line in said if "execute" in line]
    assert 25 < len(work) <= 27
    # The session's settings, once; no statement has a transaction of its own around it.
    assert len(said) - len(work) <= 3, said
    with psycopg.connect(server.url, autocommit=True) as database:
        assert counts(database) == (5_000,) * 4
        assert harm(database) == []


def test_import__brothers__share_their_parent(
    importing: Importing, database: Database, tmp_path: Path
) -> None:
    rows = [["이름", "보호자 전화"], ["형", phone(1)], ["아우", phone(1)]]
    assert importing(with_openpyxl(tmp_path / "a.xlsx", rows)) == told(created=2)
    assert counts(database) == (2, 2, 2, 1)


def test_import__active_student__skipped_and_unchanged(
    importing: Importing, database: Database, tmp_path: Path
) -> None:
    header = ["이름", "학부모 전화", "메모"]
    importing(with_openpyxl(tmp_path / "a.xlsx", [header, ["김", phone(1), "old"]]))
    path = with_openpyxl(tmp_path / "b.xlsx", [header, ["김", phone(1), "new"]])

    assert importing(path, job_id="b1") == told(skipped=1)
    assert database.execute("SELECT memo FROM roster.students").fetchall() == [("old",)]


def test_import__deleted_student__restored_with_what_the_row_says(
    importing: Importing, database: Database, tmp_path: Path
) -> None:
    """Values that the row lacks stay; the account is active again, with its old password."""
    importing(with_openpyxl(tmp_path / "a.xlsx", [KOREAN, student(7)]))
    delete(database, "학생7")
    database.execute("UPDATE roster.users SET must_change_password = false, password = 'theirs'")
    rows = [["이름", "학부모 전화", "학교", "메모"], ["학생7", phone(7), "대치중", "back"]]

    assert importing(with_openpyxl(tmp_path / "b.xlsx", rows), job_id="b1") == told(restored=1)

    row = database.execute(
        "SELECT s.deleted_at, s.phone, s.school_type, s.high_school, s.middle_school, s.major,"
        " s.grade, s.gender, s.memo, u.must_change_password, u.password, m.is_active"
        " FROM roster.students s JOIN roster.users u ON u.id = s.user_id"
        " JOIN roster.memberships m ON m.user_id = u.id"
    ).fetchall()
    assert row == [
        (None, phone(50_000_007), "MIDDLE", None, "대치중", None, 2, "F", "back", True, "theirs",
         True)
    ]  # fmt: skip
    assert counts(database) == (1, 1, 1, 1)


def test_import__deleted_twice__restores_the_one_deleted_last(
    importing: Importing, database: Database, tmp_path: Path
) -> None:
    path = with_openpyxl(tmp_path / "a.xlsx", [KOREAN, student(7)])
    importing(path)
    first = database.execute("UPDATE roster.students SET deleted_at = '2020-01-01'")
    assert first.rowcount == 1
    database.execute(
        "INSERT INTO roster.users (tenant, username, password, name) VALUES ('1', 'x', '!', 'x')"
    )
    database.execute(
        "INSERT INTO roster.students (tenant, user_id, parent_id, name, parent_phone, ps_number,"
        " deleted_at) SELECT s.tenant, u.id, s.parent_id, s.name, s.parent_phone, 'x', '2024-01-01'"
        " FROM roster.students s, roster.users u WHERE u.username = 'x'"
    )

    assert importing(path, job_id="b1") == told(restored=1)
    found = database.execute("SELECT ps_number FROM roster.students WHERE deleted_at IS NULL")
    assert found.fetchall() == [("x",)]


def test_import__same_pair_twice_in_the_file__one_student_and_the_second_reported(
    importing: Importing, database: Database, tmp_path: Path
) -> None:
    rows = [["이름", "학부모 전화"], ["김", phone(1)], ["이", phone(1)], [" 김 ", "10-0000-0001"]]
    result = importing(with_openpyxl(tmp_path / "a.xlsx", rows))

    assert (result["created"], result["total"]) == (2, 3)
    error = "2행과 이름, 학부모 전화번호가 같습니다."
    assert result["failed"] == [{"row": 4, "name": "김", "error": error}]
    assert counts(database) == (2, 2, 2, 1)


def test_import__a_row_that_the_database_refuses__fails_alone(
    importing: Importing, database: Database, tmp_path: Path
) -> None:
    database.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'not this one'; END $$"
    )
    database.execute(
        "CREATE TRIGGER refuse BEFORE INSERT ON roster.students FOR EACH ROW"
        " WHEN (NEW.name IN ('학생77', '학생180')) EXECUTE FUNCTION refuse()"
    )
    result = importing(roster(tmp_path / "a.xlsx", 300))

    assert result["created"] == 298
    assert result["failed"] == [
        {"row": row, "name": name, "error": "저장하지 못했습니다: not this one"}
        for row, name in ((79, "학생77"), (182, "학생180"))
    ]
    assert counts(database) == (298,) * 4
    assert harm(database) == []


def test_import__numbers_that_are_taken__others_are_drawn(
    importing: Importing, database: Database, tmp_path: Path
) -> None:
    """Numbers that were assigned by hand, or a sequence that was reset, fail no row."""
    importing(roster(tmp_path / "a.xlsx", 3))
    database.execute("ALTER SEQUENCE roster.ps_numbers RESTART")

    assert importing(roster(tmp_path / "b.xlsx", 3, first=10), job_id="b1") == told(created=3)
    assert harm(database) == []


def test_import__again_under_the_same_id__the_same_result_and_nothing_doubled(
    importing: Importing, database: Database, tmp_path: Path
) -> None:
    path = roster(tmp_path / "a.xlsx", 30)
    importing(roster(tmp_path / "old.xlsx", 10), job_id="old")
    delete(database, "학생3")
    first = importing(path)

    assert first == told(created=20, restored=1, skipped=9)
    assert importing(path) == first
    assert importing(path, job_id="other") == told(skipped=30)
    assert counts(database) == (30,) * 4


def test_import__tenants__never_meet(
    importing: Importing, database: Database, database_url: str, tmp_path: Path
) -> None:
    path = roster(tmp_path / "a.xlsx", 5)
    assert importing(path) == told(created=5)
    assert importing(path, tenant="2") == told(created=5)

    assert counts(database) == (10,) * 4
    with connect(database_url, "2") as session:
        assert counts(session) == (5,) * 4
        session.execute("UPDATE roster.students SET deleted_at = now()")
    with connect(database_url, "3") as session:
        assert counts(session) == (0,) * 4
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute(
                "INSERT INTO roster.parents (tenant, phone) VALUES ('1', %s)", [phone(9)]
            )
    assert importing(path, job_id="b1") == told(skipped=5)
    assert importing(path, tenant="2", job_id="b1") == told(restored=5)


def test_session_that_cannot_be_set_up__it_is_closed(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = list[Session]()

    def settings_that_take_too_long(session: Session, _own: object) -> str:
        opened.append(session)
        return "SET statement_timeout = 1; SELECT pg_sleep(60)"

    monkeypatch.setattr(sessions, "session_settings", settings_that_take_too_long)
    with pytest.raises(psycopg.errors.QueryCanceled):
        connect(database_url, "1")
    assert [session.closed for session in opened] == [True]


def test_import__students_of_a_tenant__point_at_its_own_users_and_parents_only(
    importing: Importing, database: Database, tmp_path: Path
) -> None:
    path = roster(tmp_path / "a.xlsx", 1)
    importing(path)
    importing(path, tenant="2")
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        database.execute(
            "UPDATE roster.students AS s SET parent_id = p.id FROM roster.parents AS p"
            " WHERE s.tenant = '1' AND p.tenant = '2'"
        )


def test_import__more_failures_than_an_event_holds__says_how_many_are_left_out(
    importing: Importing, redis_client: redis.Redis, tmp_path: Path
) -> None:
    rows = [["이름", "학부모 전화"], *([f"학생{number}", "-1"] for number in range(300))]
    result = importing(with_openpyxl(tmp_path / "a.xlsx", rows), failed_bytes=10_000)

    assert len(result["failed"]) + result["failed_omitted"] == result["total"] == 300
    assert 50 < len(result["failed"]) < 200
    last: Any = redis_client.xrevrange("tenant:1:events", count=1)
    assert orjson.loads(last[0][1][b"event"])["result"] == result
    assert len(last[0][1][b"event"]) < 12_000


def test_import__database_away__waits_for_it(
    importing: Importing, own_postgres: PostgresFactory, redis_client: redis.Redis, tmp_path: Path
) -> None:
    server, path = own_postgres(), roster(tmp_path / "a.xlsx", 300)
    server.stop()
    results: list[Any] = []
    thread = Thread(target=lambda: results.append(importing(path, database_url=server.url)))
    thread.start()
    eventually(lambda: b"saving" in _last_event(redis_client) or not thread.is_alive())
    assert thread.is_alive()

    server.start()
    thread.join(60)

    assert results == [told(created=300)]


def _last_event(client: redis.Redis) -> bytes:
    found: Any = client.xrevrange("tenant:1:events", count=1)
    return bytes(found[0][1][b"event"]) if found else b""


def test_import__no_password__failed_in_one_line_that_does_not_repeat_it(
    importing: Importing, redis_client: redis.Redis, database: Database, tmp_path: Path
) -> None:
    path = roster(tmp_path / "a.xlsx", 1)
    for password in (None, "", "  xyz  ", "xyz", "x" * 129):
        with pytest.raises(RosterError) as caught:
            importing(path, password=password)
        assert caught.value.code == "initial_password"
        assert "xyz" not in str(caught.value)
    assert orjson.loads(_last_event(redis_client))["code"] == "initial_password"
    assert counts(database) == (0,) * 4


@pytest.mark.parametrize(
    ("query", "index"),
    [("active_students", "students_active_pair"), ("deleted_students", "students_deleted_pair")],
)
def test_look_ups__use_their_partial_indexes(
    database_url: str, database: Database, query: str, index: str
) -> None:
    from sql import queries  # noqa: PLC0415 - the one test that looks at statements

    database.execute(
        "INSERT INTO roster.users (id, tenant, username, password, name)"
        " SELECT n, (n % 5)::text, n, '!', n FROM generate_series(1, 20000) AS n"
    )
    database.execute(
        "INSERT INTO roster.parents (id, tenant, phone)"
        " SELECT n, (n % 5)::text, '010' || lpad(n::text, 8, '0')"
        " FROM generate_series(1, 20000) AS n"
    )
    database.execute(
        "INSERT INTO roster.students (tenant, user_id, parent_id, name, parent_phone, ps_number,"
        " deleted_at) SELECT (n % 5)::text, n, n, n, '010' || lpad(n::text, 8, '0'), n,"
        " CASE WHEN n % 2 = 0 THEN now() END FROM generate_series(1, 20000) AS n"
    )
    database.execute("ANALYZE roster.students")
    pairs = {
        "tenant": "1", "import_id": "a", "import_file": b"a",
        "names": [str(n) for n in range(5_000)], "phones": [phone(n) for n in range(5_000)],
    }  # fmt: skip
    # Not the import's own session, which plans no sequential scans whatever they cost.
    with psycopg.connect(database_url, options="-c app.tenant_id=1") as session:
        plan = session.execute("EXPLAIN " + queries("roster")[query], pairs).fetchall()
    assert index in str(plan)
    assert "Seq Scan" not in str(plan)
