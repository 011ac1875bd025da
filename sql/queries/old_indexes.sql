-- name: idx_student_tenant_name_phone
-- Active students by name and parent's phone, which an import must not create again.
CREATE INDEX CONCURRENTLY idx_student_tenant_name_phone
ON {students} (tenant_id, name, parent_phone) WHERE deleted_at IS NULL;

-- name: idx_student_tenant_name_phone_deleted
-- Deleted students by the same, which an import restores.
CREATE INDEX CONCURRENTLY idx_student_tenant_name_phone_deleted
ON {students} (tenant_id, name, parent_phone) WHERE deleted_at IS NOT NULL;

-- name: idx_student_tenant_ps_number
-- Numbers that are in use, also by deleted students.
CREATE INDEX CONCURRENTLY idx_student_tenant_ps_number
ON {students} (tenant_id, ps_number);

-- name: idx_aijob_tenant_status
-- A tenant's jobs in one state.
CREATE INDEX CONCURRENTLY idx_aijob_tenant_status
ON {aijob} (tenant_id, status);

-- name: idx_aijob_tenant_job_id
-- One job of a tenant.
CREATE INDEX CONCURRENTLY idx_aijob_tenant_job_id
ON {aijob} (tenant_id, job_id);

-- name: idx_video_tenant_status
-- A tenant's videos in one state.
CREATE INDEX CONCURRENTLY idx_video_tenant_status
ON {video} (tenant_id, status);

-- name: idx_video_session_status
-- A session's videos in one state.
CREATE INDEX CONCURRENTLY idx_video_session_status
ON {video} (session_id, status);
