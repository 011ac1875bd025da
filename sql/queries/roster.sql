-- name: active_students
-- Those of these pairs (by their index in the arrays) that are active students, and what this import has
-- done with them before. With LATERAL and LIMIT the look-up uses the partial index, whatever sizes the
-- planner estimates.
SELECT wanted.place - 1, known.outcome
FROM unnest(%(names)b::text[], %(phones)b::text[])
    WITH ORDINALITY AS wanted (name, parent_phone, place),
LATERAL (
    SELECT CASE
        WHEN (s.import_id, s.import_file) = (%(import_id)s, %(import_file)b) THEN s.import_outcome
        ELSE 'skipped'
    END AS outcome
    FROM roster.students AS s
    WHERE s.tenant = %(tenant)s
      AND s.name = wanted.name
      AND s.parent_phone = wanted.parent_phone
      AND s.deleted_at IS NULL
    LIMIT 1
) AS known;

-- name: deleted_students
-- Those of these pairs that are deleted students; of several, the one deleted last.
SELECT wanted.place - 1, known.id
FROM unnest(%(names)b::text[], %(phones)b::text[])
    WITH ORDINALITY AS wanted (name, parent_phone, place),
LATERAL (
    SELECT s.id
    FROM roster.students AS s
    WHERE s.tenant = %(tenant)s
      AND s.name = wanted.name
      AND s.parent_phone = wanted.parent_phone
      AND s.deleted_at IS NOT NULL
    ORDER BY s.deleted_at DESC, s.id DESC
    LIMIT 1
) AS known;

-- name: save_chunk
-- Students, users, memberships and parents of one chunk, all or none. Each import takes its locks in the
-- same order (deleted students by id, parents by number, pairs), so that imports never deadlock.
WITH given AS MATERIALIZED (
    SELECT
        row_number, student_id, name, parent_phone, phone, school_type, school,
        high_school_class, major, grade, gender, memo,
        nextval('roster.users_id_seq') AS user_id,
        -- The factor has no divisor in common with the modulus: no two numbers become the same.
        to_char(nextval('roster.ps_numbers') * 618033989 %% 1000000000, 'FM000000000') AS ps_number
    FROM json_to_recordset(%(rows)s::json) AS each_row (
        row_number integer, student_id bigint, name text, parent_phone text, phone text,
        school_type text, school text, high_school_class text, major text, grade smallint,
        gender text, memo text
    )
),
locked AS MATERIALIZED (
    -- One by one in order of id; LATERAL keeps it a look-up by the key, as above.
    SELECT known.id
    FROM (SELECT student_id FROM given WHERE student_id IS NOT NULL ORDER BY student_id) AS wanted,
    LATERAL (
        SELECT s.id
        FROM roster.students AS s
        WHERE s.id = wanted.student_id AND s.tenant = %(tenant)s AND s.deleted_at IS NOT NULL
        FOR UPDATE
    ) AS known
),
parent AS (
    INSERT INTO roster.parents (tenant, phone)
    SELECT DISTINCT %(tenant)s, parent_phone
    FROM given
    WHERE (SELECT count(*) FROM locked) >= 0 -- their locks come first
    ORDER BY parent_phone
    -- An update, though nothing changes: only then the number is returned, whoever inserted it.
    ON CONFLICT (tenant, phone) DO UPDATE SET phone = excluded.phone
    RETURNING id, phone
),
restored AS (
    UPDATE roster.students AS s
    SET deleted_at = NULL,
        updated_at = now(),
        phone = coalesce(g.phone, s.phone),
        school_type = coalesce(g.school_type, s.school_type),
        high_school = CASE WHEN g.school IS NULL THEN s.high_school
            WHEN g.school_type = 'HIGH' THEN g.school END,
        middle_school = CASE WHEN g.school IS NULL THEN s.middle_school
            WHEN g.school_type = 'MIDDLE' THEN g.school END,
        elementary_school = CASE WHEN g.school IS NULL THEN s.elementary_school
            WHEN g.school_type = 'ELEMENTARY' THEN g.school END,
        other_school = CASE WHEN g.school IS NULL THEN s.other_school
            WHEN g.school_type = 'OTHER' THEN g.school END,
        high_school_class = CASE WHEN g.school IS NULL THEN s.high_school_class
            ELSE g.high_school_class END,
        major = CASE WHEN g.school IS NULL THEN s.major ELSE g.major END,
        grade = coalesce(g.grade, s.grade),
        gender = coalesce(g.gender, s.gender),
        memo = coalesce(g.memo, s.memo),
        import_id = %(import_id)s,
        import_file = %(import_file)b,
        import_outcome = 'restored'
    FROM given AS g
    JOIN locked ON locked.id = g.student_id
    WHERE s.id = g.student_id
    RETURNING g.row_number, s.user_id, s.phone
),
created AS (
    INSERT INTO roster.students (
        tenant, user_id, parent_id, name, parent_phone, phone, school_type,
        high_school, middle_school, elementary_school, other_school,
        high_school_class, major, grade, gender, memo, ps_number,
        import_id, import_file, import_outcome
    )
    SELECT
        %(tenant)s, g.user_id, parent.id, g.name, g.parent_phone, g.phone, g.school_type,
        CASE WHEN g.school_type = 'HIGH' THEN g.school END,
        CASE WHEN g.school_type = 'MIDDLE' THEN g.school END,
        CASE WHEN g.school_type = 'ELEMENTARY' THEN g.school END,
        CASE WHEN g.school_type = 'OTHER' THEN g.school END,
        g.high_school_class, g.major, g.grade, g.gender, g.memo, g.ps_number,
        %(import_id)s, %(import_file)b, 'created'
    FROM given AS g
    JOIN parent ON parent.phone = g.parent_phone
    WHERE g.student_id IS NULL
    ORDER BY g.parent_phone, g.name
    -- Another import was faster: its student stands, and no user is made here.
    ON CONFLICT (tenant, name, parent_phone) WHERE deleted_at IS NULL DO NOTHING
    RETURNING user_id, ps_number, name, phone
),
accounts AS (
    INSERT INTO roster.users (id, tenant, username, password, name, phone, must_change_password)
    SELECT user_id, %(tenant)s, ps_number, %(password)s, name, phone, true
    FROM created
    RETURNING id
),
reopened AS (
    UPDATE roster.users AS u
    SET is_active = true, must_change_password = true, phone = restored.phone
    FROM restored
    WHERE u.id = restored.user_id AND u.tenant = %(tenant)s
    RETURNING u.id
),
members AS (
    INSERT INTO roster.memberships (tenant, user_id, role)
    SELECT %(tenant)s, id, 'student' FROM (TABLE accounts UNION ALL TABLE reopened) AS each_user
    ORDER BY id
    ON CONFLICT (tenant, user_id, role) DO UPDATE SET is_active = true
)
SELECT g.row_number, 'created' FROM given AS g JOIN created USING (user_id)
UNION ALL
SELECT row_number, 'restored' FROM restored;
