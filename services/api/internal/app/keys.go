package app

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strconv"
	"unicode/utf8"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/db"
)

// A keyed request carries an Idempotency-Key: of all that carry the same in one
// scope, one is carried out. Without a key it is a request like any other.
type keyed struct {
	scope, key string
	content    []byte // tells requests with one key apart
}

// take takes the key, before the transaction does anything else: whoever sends it
// at the same moment waits here. It gives what the key was used for before, which
// may be kept already as the id of a run; nil says that this is the first time.
// With other content it is refused.
func (k keyed) take(ctx context.Context, q *db.Queries, run *int64) (*db.KeptRequestRow, error) {
	if k.key == "" {
		return nil, nil
	}
	n, err := q.KeepRequest(ctx, db.KeepRequestParams{Scope: k.scope, Key: k.key, ContentHash: k.content, RunID: run})
	if err != nil {
		return nil, fmt.Errorf("keep a key: %w", err)
	}
	if n > 0 {
		return nil, nil
	}
	before, err := q.KeptRequest(ctx, k.scope, k.key)
	if err != nil {
		return nil, fmt.Errorf("look up a key: %w", err)
	}
	if !bytes.Equal(before.ContentHash, k.content) {
		return nil, api.Errorf(api.Conflict, "idempotency key %s was used before, with other content", show(k.key)).WithHint("a new request needs a new key")
	}
	return &before, nil
}

// made completes a key that this transaction has taken with the id of what it made,
// if that is no run.
func (k keyed) made(ctx context.Context, q *db.Queries, id int64) error {
	if k.key == "" {
		return nil
	}
	if err := q.SetAnswer(ctx, db.SetAnswerParams{Scope: k.scope, Key: k.key, Answer: []byte(strconv.FormatInt(id, 10))}); err != nil {
		return fmt.Errorf("complete a key: %w", err)
	}
	return nil
}

// madeBefore is the id of what a key made that is no run.
func madeBefore(before *db.KeptRequestRow) (id int64, err error) {
	if err := json.Unmarshal(before.Answer, &id); err != nil {
		return 0, fmt.Errorf("read the answer of a key: %w", err)
	}
	return id, nil
}

func runScope(id int64) string { return fmt.Sprintf("run:%d", id) }

func checkKey(key string) error {
	if key != "" && (utf8.RuneCountInString(key) > 255 || printable(key, 255) != key) {
		return api.Errorf(api.Unprocessable, "Idempotency-Key is 1 to 255 printable characters")
	}
	return nil
}

// contentHash is the same for the same request of a kind.
func contentHash(what string, req any) ([]byte, error) {
	text, err := json.Marshal(req)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(append([]byte(what+"\n"), text...))
	return sum[:], nil
}
