package executor

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/executor/internal/given"
	"github.com/synthesizer-dev/synthesizer/services/executor/internal/poll"
	"github.com/synthesizer-dev/synthesizer/services/executor/internal/target"
	"github.com/synthesizer-dev/synthesizer/services/executor/internal/worker"
	"github.com/synthesizer-dev/synthesizer/services/internal/service"
)

// targets are those that the executor serves.
func (c Config) targets() ([]target.Target, error) {
	all, err := target.Read(c.TargetsFile)
	if err != nil {
		return nil, err
	}
	return target.Serve(all, c.Serves)
}

func names(targets []target.Target) []string {
	list := make([]string, len(targets))
	for i, t := range targets {
		list[i] = t.Name
	}
	return list
}

// newPoller makes what asks the targets for one member of the fleet.
func (e *executor) newPoller(installation, member uuid.UUID) *poll.Poller {
	v := &vault{e: e, member: member, sealed: map[secretKey]sealed{}}
	return poll.New(poll.Config{
		Targets: e.targets, Pool: e.control, Revisions: e.revisions, Given: given.New(installation), Secret: v.secret, Agent: "synthesizer/" + service.Version(),
		Notify: e.notify.Notify, Told: e.metrics.polled, Log: e.cfg.Log,
	})
}

// A vault resolves secrets for requests, which repeat themselves: what the
// database has is read anew only every half minute, and kept sealed.
type vault struct {
	e      *executor
	member uuid.UUID

	mu     sync.Mutex // guards what follows
	sealed map[secretKey]sealed
}

type secretKey struct{ namespace, name string }

// sealed is the newest version of a secret, as the database had it.
type sealed struct {
	row   db.NewestSecretsRow
	found bool
	at    time.Time
}

const (
	sealedFor  = 30 * time.Second
	sealedKept = 1000
)

// secret opens a secret: the executor's own, else that of the database.
func (v *vault) secret(ctx context.Context, namespace, name string) (string, error) {
	value, ok, err := v.e.secrets.Lookup(namespace, name)
	if ok || err != nil {
		return value, err
	}
	known, err := v.newest(ctx, secretKey{namespace, name})
	if err != nil {
		return "", err
	}
	return worker.OpenSecret(v.e.secrets.Lookup, v.e.keys, namespace, name, known.row, known.found)
}

// newest is what the database has, or had a moment ago.
func (v *vault) newest(ctx context.Context, k secretKey) (sealed, error) {
	v.mu.Lock()
	known := v.sealed[k]
	v.mu.Unlock()
	if time.Since(known.at) < sealedFor {
		return known, nil
	}
	var rows []db.NewestSecretsRow
	err := db.InOneTrip(ctx, v.e.control, func(q *db.Queries) (err error) {
		rows, err = q.NewestSecrets(ctx, []string{k.namespace}, []string{k.name})
		return err
	}, func(q *db.Queries) error {
		return q.NoteSecretReads(ctx, db.NoteSecretReadsParams{Executor: v.member, Namespaces: []string{k.namespace}, Names: []string{k.name}})
	})
	if err != nil {
		v.e.cfg.Log.Warn("read a secret", "namespace", k.namespace, "name", k.name, "err", err)
		return known, fmt.Errorf("secret %s of %s cannot be read now", k.name, k.namespace)
	}
	known = sealed{at: time.Now(), found: len(rows) > 0}
	if known.found {
		known.row = rows[0]
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.sealed) >= sealedKept {
		clear(v.sealed)
	}
	v.sealed[k] = known
	return known, nil
}
