-- TokenByHash finds the token that a secret belongs to, whatever its state.
-- name: TokenByHash :one
SELECT t.id, t.name, t.hash, t.role, t.namespaces, t.expires_at, t.revoked_at, t.last_used_at, now()::timestamptz AS now
FROM api_token AS t
WHERE t.hash = @hash;

-- TokenByID is TokenByHash for sessions, which keep the id.
-- name: TokenByID :one
SELECT t.id, t.name, t.hash, t.role, t.namespaces, t.expires_at, t.revoked_at, t.last_used_at, now()::timestamptz AS now
FROM api_token AS t
WHERE t.id = @id;

-- TouchToken notes that a token was used, a minute apart at most.
-- name: TouchToken :exec
UPDATE api_token AS t
SET last_used_at = now()
WHERE t.id = @id
  AND (t.last_used_at IS NULL OR t.last_used_at < now() - interval '1 minute');

-- InsertToken makes a token.
-- name: InsertToken :one
INSERT INTO api_token (name, hash, role, namespaces, created_by, expires_at)
VALUES (@name, @hash, @role, @namespaces, @created_by, sqlc.narg('expires_at'))
RETURNING id, created_at;

-- ListTokens gives a page of tokens after an id.
-- name: ListTokens :many
SELECT t.id, t.name, t.role, t.namespaces, t.created_at, t.created_by, t.expires_at, t.last_used_at, t.revoked_at
FROM api_token AS t
WHERE t.id > @after
ORDER BY t.id
LIMIT @page::int;

-- RevokeToken revokes a token. No row: there is none, or it was revoked before.
-- name: RevokeToken :execrows
UPDATE api_token AS t
SET revoked_at = now()
WHERE t.id = @id
  AND t.revoked_at IS NULL;

-- LockTokens lets one at a time decide about the first token.
-- name: LockTokens :exec
SELECT pg_advisory_xact_lock(hashtext('synthesizer first token'));

-- FirstTokens gives the tokens that the installation made for its operator.
-- name: FirstTokens :many
SELECT t.id, t.last_used_at, t.revoked_at
FROM api_token AS t
WHERE t.created_by = 'installation'
ORDER BY t.id;

-- CountTokens says how many tokens there ever were.
-- name: CountTokens :one
SELECT count(*)
FROM api_token AS t;
