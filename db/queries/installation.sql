-- Installation is who we are; a new epoch means that the database was restored.
-- name: Installation :one
SELECT
    i.id,
    i.epoch,
    i.created_at
FROM installation AS i;
