package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/internal/secrets"
)

type secretKey struct{ namespace, name string }

// askSecrets reads the newest versions of the secrets that a batch names. They
// are not kept: whoever sets a secret knows that the next claim has it.
func (r *reading) askSecrets(ctx context.Context) []func(*db.Queries) error {
	if len(r.secrets) == 0 {
		return nil
	}
	// In order: the rows that note the reading are locked in that of their keys.
	named := slices.SortedFunc(maps.Keys(r.secrets), func(a, b secretKey) int {
		return cmp.Or(cmp.Compare(a.namespace, b.namespace), cmp.Compare(a.name, b.name))
	})
	var namespaces, names []string
	for _, k := range named {
		namespaces, names = append(namespaces, k.namespace), append(names, k.name)
	}
	asks := []func(*db.Queries) error{func(q *db.Queries) error {
		rows, err := q.NewestSecrets(ctx, namespaces, names)
		for _, row := range rows {
			r.sealed[secretKey{row.Namespace, row.Name}] = row
		}
		return err
	}}
	note := db.NoteSecretReadsParams{Executor: r.w.cfg.Executor}
	for _, k := range named {
		if r.w.reads.due(k) {
			note.Namespaces, note.Names = append(note.Namespaces, k.namespace), append(note.Names, k.name)
		}
	}
	if len(note.Names) > 0 {
		asks = append(asks, func(q *db.Queries) error { return q.NoteSecretReads(ctx, note) })
	}
	return asks
}

// secret opens a secret that an attempt names.
func (w *Worker) secret(namespace, name string, sealed map[string]db.NewestSecretsRow) (string, error) {
	row, found := sealed[name]
	return OpenSecret(w.cfg.OwnSecret, w.cfg.Secrets, namespace, name, row, found)
}

// OpenSecret gives the value of a secret: that of the executor's own, or that of
// a row, if there is one. Errors name it and what sets it.
func OpenSecret(own func(namespace, name string) (string, bool, error), keys *secrets.Keyring, namespace, name string, row db.NewestSecretsRow, found bool) (string, error) {
	value, ok, err := own(namespace, name)
	if err != nil || ok {
		return value, err
	}
	if !found {
		return "", fmt.Errorf("secret %s is not set in %s → synctl secret set %s -n %s", name, namespace, name, namespace)
	}
	value, err = keys.Open(secrets.Name{Namespace: namespace, Name: name, Version: row.Version}, row.Sealed)
	if errors.Is(err, secrets.ErrNoKey) {
		err = fmt.Errorf("secret %s of %s cannot be read: this executor has no key → set SYN_SECRET_KEY_FILE for it", name, namespace)
	}
	return value, err
}

// noteEvery is how often it is noted, at most, that a secret is read.
const noteEvery = 30 * time.Second

// secretReads are when it was last noted that secrets are read.
type secretReads struct {
	mu sync.Mutex
	at map[secretKey]time.Time // guarded by mu
}

// due tells whether a reading is to be noted.
func (s *secretReads) due(k secretKey) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, ok := s.at[k]
	return !ok || time.Since(at) >= noteEvery
}

// noted takes over that secrets have been read.
func (s *secretReads) noted(read map[secretKey]db.NewestSecretsRow) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at == nil || len(s.at) > 10_000 {
		s.at = map[secretKey]time.Time{}
	}
	for k := range read {
		if at, ok := s.at[k]; !ok || time.Since(at) >= noteEvery {
			s.at[k] = time.Now()
		}
	}
}
