package app

import (
	"context"
	"encoding/binary"
	"errors"
	"time"

	"github.com/synthesizer-dev/synthesizer/db"
)

// SessionIdle is how long a page session lives without a request.
const SessionIdle = 24 * time.Hour

// Sessions keeps page sessions for the library that makes their tokens and
// cookies: by the hash of the token, and by the database's clock.
type Sessions struct{ app *App }

// Sessions is the store of page sessions.
func (a *App) Sessions() *Sessions { return &Sessions{a} }

// FindCtx gives what a session holds; found is false for one that is over.
func (s *Sessions) FindCtx(ctx context.Context, token string) (b []byte, found bool, err error) {
	row, err := s.app.queries().FindSession(ctx, token, SessionIdle.Seconds())
	if errors.Is(err, db.ErrNoRows) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	// However much it is used, it ends when it was meant to: that stands before the data.
	if len(row.Data) < 8 || row.Now.Unix() >= int64(binary.BigEndian.Uint64(row.Data)) {
		return nil, false, nil
	}
	return row.Data[8:], true, nil
}

// CommitCtx stores a session. It ends at expiry, or earlier when it is not used.
func (s *Sessions) CommitCtx(ctx context.Context, token string, b []byte, expiry time.Time) error {
	data := binary.BigEndian.AppendUint64(make([]byte, 0, 8+len(b)), uint64(expiry.Unix()))
	return s.app.queries().KeepSession(ctx, db.KeepSessionParams{Token: token, Data: append(data, b...), IdleSeconds: SessionIdle.Seconds()})
}

// DeleteCtx ends a session.
func (s *Sessions) DeleteCtx(ctx context.Context, token string) error {
	return s.app.queries().EndSession(ctx, token)
}

// Find is FindCtx for callers without a context.
func (s *Sessions) Find(token string) ([]byte, bool, error) {
	return s.FindCtx(context.Background(), token)
}

// Commit is CommitCtx for callers without a context.
func (s *Sessions) Commit(token string, b []byte, expiry time.Time) error {
	return s.CommitCtx(context.Background(), token, b, expiry)
}

// Delete is DeleteCtx for callers without a context.
func (s *Sessions) Delete(token string) error { return s.DeleteCtx(context.Background(), token) }
