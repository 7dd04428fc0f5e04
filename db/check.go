package db

import (
	"context"
	"errors"
	"fmt"
)

// A Finding is something about the server that the operator should know.
type Finding struct {
	// Fatal: no service may work on this database.
	Fatal   bool
	Setting string // as Postgres calls it
	Value   string
	Message string // what it means and what to do
}

func (f Finding) String() string {
	return fmt.Sprintf("%s = %s: %s", f.Setting, f.Value, f.Message)
}

// CheckServer looks for settings under which promises cannot be kept. The error
// says that it could not look.
func CheckServer(ctx context.Context, p *Pool) ([]Finding, error) {
	s, err := p.queries.ServerSettings(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the server's settings: %w", err)
	}
	findings := judge(s)
	if remoteWithoutTLS(p.pgx.Config().ConnConfig) {
		findings = append(findings, Finding{
			Setting: "sslmode", Value: "not verified",
			Message: "the password and all data cross the network without a checked certificate; use sslmode=verify-full",
		})
	}
	return findings, nil
}

func judge(s ServerSettingsRow) []Finding {
	var findings []Finding
	say := func(wrong, fatal bool, setting, value, message string) {
		if wrong {
			findings = append(findings, Finding{Fatal: fatal, Setting: setting, Value: value, Message: message})
		}
	}
	say(s.Version < 150000, true, "server_version", s.VersionText, "Postgres 15 or newer is needed")
	say(s.Encoding != "UTF8", true, "server_encoding", s.Encoding, "the database must be created with encoding UTF8")
	say(s.InRecovery, true, "pg_is_in_recovery", "on", "this is a standby; connect to the primary")
	say(!s.InRecovery && s.ReadOnly == "on", true, "default_transaction_read_only", s.ReadOnly, "nothing can be written; change it for the role or the database")
	say(s.Fsync != "on", false, "fsync", s.Fsync, "a crash of the machine can destroy the database")
	say(s.FullPageWrites != "on", false, "full_page_writes", s.FullPageWrites, "a crash of the machine can destroy the database")
	say(s.SynchronousCommit == "off", false, "synchronous_commit", s.SynchronousCommit, "what was acknowledged in the last moments before a crash is lost")
	say(s.Superuser, false, "session_user", s.SessionUser, "this login is a superuser; give every service a login that is a member of its own role (syn_api, syn_scheduler, syn_executor)")
	return findings
}

// What CheckSchema finds out of range.
var (
	// ErrNotMigrated: migrate has to run, or is running.
	ErrNotMigrated = errors.New("the database's schema is older than this program; run migrate")
	// ErrTooNew: the program has to be replaced.
	ErrTooNew = errors.New("the database's schema is newer than this program understands; use a newer release")
)

// CheckSchema reports whether this program works with the schema as it is.
func CheckSchema(ctx context.Context, p *Pool) error {
	var version, oldest int64
	err := p.pgx.QueryRow(ctx, `
		SELECT coalesce(max(g.version_id), 0), (SELECT i.oldest_schema FROM installation AS i)
		FROM goose_db_version AS g
		WHERE g.is_applied`).Scan(&version, &oldest)
	switch {
	case sqlState(err) == "42P01": // no such table
		return ErrNotMigrated
	case err != nil:
		return fmt.Errorf("read the schema's version: %w", err)
	}
	return inRange(version, oldest, minSchema, newestSchema())
}

// inRange: a newer schema is fine as long as it has only been added to.
func inRange(version, oldest, least, newest int64) error {
	switch {
	case version < least:
		return fmt.Errorf("%w (it has version %d, this program needs %d)", ErrNotMigrated, version, least)
	case oldest > newest:
		return fmt.Errorf("%w (it serves programs from version %d on, this one has %d)", ErrTooNew, oldest, newest)
	}
	return nil
}
