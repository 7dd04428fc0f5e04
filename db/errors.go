package db

import (
	"context"
	"errors"
	"io"
	"net"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// ErrNoRows is what a :one query returns that found nothing.
var ErrNoRows = pgx.ErrNoRows

// ErrOutcomeUnknown is part of the error of a transaction whose commit was sent
// and not answered: it may or may not have happened.
var ErrOutcomeUnknown = errors.New("nobody knows whether it was committed")

// partitionDay is in the middle of the names of a partition's keys.
var partitionDay = regexp.MustCompile(`_\d{8}_`)

// Constraint is the name of the constraint that an error says was violated, or "".
// A partition's key goes by the name of its table's.
func Constraint(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return partitionDay.ReplaceAllString(e.ConstraintName, "_")
	}
	return ""
}

// IsDuplicate reports whether a row with that key exists already.
func IsDuplicate(err error) bool { return sqlState(err) == "23505" }

// IsBusy reports whether a lock could not be had in time.
func IsBusy(err error) bool { return sqlState(err) == "55P03" }

// IsNoPartition reports whether a row belongs to a day that has no partition: the
// clock jumped. The scheduler makes some and tries again.
func IsNoPartition(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && e.Code == "23514" && e.ConstraintName == "" && strings.HasPrefix(e.Routine, "ExecFindPartition")
}

// IsCutShort reports whether a statement took longer than it may, or a
// transaction lost against others to the last try. What it was about may be
// right: less at once, or later, may do.
func IsCutShort(err error) bool {
	switch sqlState(err) {
	case "57014", "40001", "40P01", "55P03":
		return true
	}
	return false
}

// IsUnavailable reports whether the database could not be reached, is starting,
// stopping or out of something: try later, nothing is wrong with the request.
func IsUnavailable(err error) bool {
	if err == nil {
		return false
	}
	if code := sqlState(err); code != "" {
		// 08 connection, 53 out of memory, disk or connections, 57P0x and 58 the
		// server itself, 25006 a primary that became a standby.
		return slices.ContainsFunc([]string{"08", "53", "57P0", "58", "25006"}, func(p string) bool { return strings.HasPrefix(code, p) })
	}
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return true
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrOutcomeUnknown) || pgconn.SafeToRetry(err)
}

// retryable reports whether a transaction lost against another one, or met a plan
// from before a migration, and will do better the second time.
func retryable(err error) bool {
	switch sqlState(err) {
	case "40001", "40P01", "55P03":
		return true
	case "0A000":
		return strings.Contains(err.Error(), "cached plan must not change result type")
	}
	return false
}

func sqlState(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code
	}
	return ""
}
