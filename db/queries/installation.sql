-- Installation is who we are; a new epoch means that the database was restored.
-- name: Installation :one
SELECT
    i.id,
    i.epoch,
    i.tzdata_version,
    i.created_at
FROM installation AS i;

-- NoteTzdata remembers which release of the time zones next times were computed
-- with; no row means that it is the one already there.
-- name: NoteTzdata :execrows
UPDATE installation AS i
SET tzdata_version = @version
WHERE i.tzdata_version <> @version;

-- ServerSettings are those that promises depend on.
-- name: ServerSettings :one
SELECT
    current_setting('server_version_num')::integer AS version,
    current_setting('server_version')::text AS version_text,
    current_setting('server_encoding')::text AS encoding,
    pg_is_in_recovery()::boolean AS in_recovery,
    current_setting('default_transaction_read_only')::text AS read_only,
    current_setting('fsync')::text AS fsync,
    current_setting('full_page_writes')::text AS full_page_writes,
    current_setting('synchronous_commit')::text AS synchronous_commit,
    session_user::text AS session_user,
    (current_setting('is_superuser') = 'on')::boolean AS superuser;
