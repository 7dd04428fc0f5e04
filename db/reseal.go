package db

import (
	"context"
	"fmt"
)

// sealedBatch is how many secrets are read at once: they have 64 KiB at most.
const sealedBatch = 50

// EachSecret calls visit with every version of every secret, in order of their
// names, as they are sealed. It needs the rights of the schema's owner.
func EachSecret(ctx context.Context, url string, visit func(SealedAfterRow) error) error {
	return eachSecret(ctx, url, func(_ *Queries, row SealedAfterRow) error { return visit(row) })
}

// ResealSecrets replaces what every version of every secret is sealed as, and
// says how many there were. A version that somebody replaces at the same moment is
// left alone. It needs the rights of the schema's owner, and may be repeated.
func ResealSecrets(ctx context.Context, url string, reseal func(SealedAfterRow) ([]byte, error)) (n int, err error) {
	err = eachSecret(ctx, url, func(q *Queries, row SealedAfterRow) error {
		sealed, err := reseal(row)
		if err != nil {
			return err
		}
		changed, err := q.ReplaceSealed(ctx, ReplaceSealedParams{Namespace: row.Namespace, Name: row.Name, Version: row.Version, Before: row.Sealed, Sealed: sealed})
		n += int(changed)
		return err
	})
	return n, err
}

func eachSecret(ctx context.Context, url string, visit func(*Queries, SealedAfterRow) error) error {
	pool, err := Open(ctx, Config{URL: url, AppName: "synthesizer secret-key", Purpose: Upkeep, MaxConns: 1})
	if err != nil {
		return err
	}
	defer pool.Close()
	if err := CheckSchema(ctx, pool); err != nil {
		return err
	}
	q := pool.Queries()
	after := SealedAfterParams{Batch: sealedBatch}
	for {
		rows, err := q.SealedAfter(ctx, after)
		if err != nil {
			return fmt.Errorf("read secrets: %w", err)
		}
		for _, row := range rows {
			if err := visit(q, row); err != nil {
				return err
			}
			after.Namespace, after.Name, after.Version = row.Namespace, row.Name, row.Version
		}
		if len(rows) < sealedBatch {
			return nil
		}
	}
}
