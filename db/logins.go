package db

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// A Login is a database user that a service logs in as.
type Login struct {
	User     string
	Group    string // the service role it is a member of: syn_api, syn_scheduler or syn_executor
	Password string
}

// ParseLogins reads lines of `user group password`; blank lines and those that
// begin with # are passed over.
func ParseLogins(text string) ([]Login, error) {
	var logins []Login
	for i, line := range strings.Split(text, "\n") {
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if len(fields) != 3 {
			return nil, fmt.Errorf("line %d of the logins has %d words → user group password", i+1, len(fields))
		}
		l := Login{User: fields[0], Group: fields[1], Password: fields[2]}
		if !slices.Contains(serviceRoles, l.Group) {
			return nil, fmt.Errorf("line %d of the logins: there is no group %q → one of %s", i+1, l.Group, strings.Join(serviceRoles, ", "))
		}
		logins = append(logins, l)
	}
	return logins, nil
}

// EnsureLogins makes the users that are missing, sets everybody's password and
// membership, and lets them connect. It may be repeated, after Migrate.
// Passwords do not reach the server: it is sent what it would have made of
// them, so they cannot end up in its log.
func EnsureLogins(ctx context.Context, url string, logins []Login) error {
	if len(logins) == 0 {
		return nil
	}
	cfg, err := connConfig(url, "synthesizer migrate")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	// One at a time per database; two databases of one server may race, and then
	// the loser's error says so and a repetition mends it.
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock(hashtext('synthesizer logins'))"); err != nil {
		return fmt.Errorf("wait for another migrate: %w", err)
	}
	var database string
	if err := conn.QueryRow(ctx, "SELECT current_database()").Scan(&database); err != nil {
		return fmt.Errorf("read the name of the database: %w", err)
	}
	for _, l := range logins {
		if err := ensureLogin(ctx, conn, database, l); err != nil {
			return fmt.Errorf("user %s: %w", l.User, err)
		}
	}
	return nil
}

func ensureLogin(ctx context.Context, conn *pgx.Conn, database string, l Login) error {
	verifier, err := scramVerifier(l.Password)
	if err != nil {
		return err
	}
	var there bool
	if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_roles AS r WHERE r.rolname = $1)", l.User).Scan(&there); err != nil {
		return fmt.Errorf("look for it: %w", err)
	}
	user := pgx.Identifier{l.User}.Sanitize()
	verb := "CREATE"
	if there {
		verb = "ALTER"
	}
	// None of these takes parameters. The names are quoted; the verifier is
	// base64 and punctuation.
	for _, sql := range []string{
		fmt.Sprintf("%s ROLE %s LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD '%s'", verb, user, verifier),
		fmt.Sprintf("GRANT %s TO %s", pgx.Identifier{l.Group}.Sanitize(), user),
		fmt.Sprintf("GRANT CONNECT ON DATABASE %s TO %s", pgx.Identifier{database}.Sanitize(), user),
	} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("set it up: %w", err)
		}
	}
	return nil
}

// scramVerifier is what Postgres stores of a password (RFC 5803).
func scramVerifier(password string) (string, error) {
	const iterations = 4096
	salt := make([]byte, 16)
	rand.Read(salt)
	salted, err := pbkdf2.Key(sha256.New, password, salt, iterations, sha256.Size)
	if err != nil {
		return "", fmt.Errorf("derive a key from the password: %w", err)
	}
	sum := func(text string) []byte {
		h := hmac.New(sha256.New, salted)
		h.Write([]byte(text))
		return h.Sum(nil)
	}
	stored := sha256.Sum256(sum("Client Key"))
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", iterations, b64(salt), b64(stored[:]), b64(sum("Server Key"))), nil
}
