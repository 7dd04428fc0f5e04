package db_test

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/db/dbtest"
)

func TestLoginsCanLogInAndHaveTheirServicesRights(t *testing.T) {
	t.Parallel()
	address := dbtest.URL(t)
	user := fmt.Sprintf("syn_test_%d", time.Now().UnixNano())
	admin := connect(t, address)
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		conn, err := pgx.Connect(ctx, address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(ctx)
		if _, err := conn.Exec(ctx, "DROP OWNED BY "+user+"; DROP ROLE "+user); err != nil {
			t.Error(err)
		}
	})
	for _, password := range []string{"first", "second 'quoted\\"} { // a repetition changes the password
		logins := []db.Login{{User: user, Group: "syn_executor", Password: password}}
		if err := db.EnsureLogins(t.Context(), address, logins); err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		u.User = url.UserPassword(user, password)
		conn, err := pgx.Connect(t.Context(), u.String())
		if err != nil {
			t.Fatalf("log in with %q: %v", password, err)
		}
		if _, err := conn.Exec(t.Context(), "SELECT 1 FROM ready"); err != nil {
			t.Errorf("an executor may not read ready: %v", err)
		}
		if _, err := conn.Exec(t.Context(), "SELECT 1 FROM api_token"); err == nil {
			t.Error("an executor may read api tokens")
		}
		conn.Close(t.Context())
	}
	var stored string
	if err := admin.QueryRow(t.Context(), "SELECT rolpassword FROM pg_authid WHERE rolname = $1", user).Scan(&stored); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(stored, "SCRAM-SHA-256$4096:") {
		t.Errorf("the password is stored as %.20q…", stored)
	}
}

func TestParseLogins(t *testing.T) {
	t.Parallel()
	got, err := db.ParseLogins("# made by init\napi syn_api one\n\nexecutor syn_executor two\n")
	if err != nil || len(got) != 2 || got[1] != (db.Login{User: "executor", Group: "syn_executor", Password: "two"}) {
		t.Errorf("ParseLogins = %v, %v", got, err)
	}
	for _, text := range []string{"api syn_api", "api postgres secret", "a b c d"} {
		if _, err := db.ParseLogins(text); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("ParseLogins(%q) = %v, want an error without the password", text, err)
		}
	}
}
