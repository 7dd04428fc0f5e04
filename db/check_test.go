package db_test

import (
	"strings"
	"testing"

	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/db/dbtest"
)

func TestServerSettingsAreJudged(t *testing.T) {
	t.Parallel()
	good := db.ServerSettingsRow{
		Version: 150004, VersionText: "15.4", Encoding: "UTF8", ReadOnly: "off", Fsync: "on", FullPageWrites: "on", SynchronousCommit: "on", SessionUser: "api",
	}
	if got := db.Judge(good); len(got) != 0 {
		t.Errorf("a good server: %v, want nothing", got)
	}
	for _, c := range []struct {
		setting string
		fatal   bool
		change  func(*db.ServerSettingsRow)
	}{
		{"server_version", true, func(s *db.ServerSettingsRow) { s.Version = 140011 }},
		{"server_encoding", true, func(s *db.ServerSettingsRow) { s.Encoding = "SQL_ASCII" }},
		{"pg_is_in_recovery", true, func(s *db.ServerSettingsRow) { s.InRecovery = true; s.ReadOnly = "on" }},
		{"default_transaction_read_only", true, func(s *db.ServerSettingsRow) { s.ReadOnly = "on" }},
		{"fsync", false, func(s *db.ServerSettingsRow) { s.Fsync = "off" }},
		{"full_page_writes", false, func(s *db.ServerSettingsRow) { s.FullPageWrites = "off" }},
		{"synchronous_commit", false, func(s *db.ServerSettingsRow) { s.SynchronousCommit = "off" }},
		{"session_user", false, func(s *db.ServerSettingsRow) { s.Superuser = true }},
	} {
		s := good
		c.change(&s)
		got := db.Judge(s)
		if len(got) != 1 || got[0].Setting != c.setting || got[0].Fatal != c.fatal || got[0].Message == "" {
			t.Errorf("%s: %v, want one finding, fatal %v", c.setting, got, c.fatal)
		}
	}
}

func TestServerIsAsked(t *testing.T) {
	t.Parallel()
	u := dbtest.URL(t)
	conn := connect(t, u)
	exec(t, conn, "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database()); END $$")
	got, err := db.CheckServer(t.Context(), dbtest.Open(t, db.Config{URL: u}))
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, f := range got {
		if f.Fatal {
			t.Errorf("the test server is refused: %v", f)
		}
		all.WriteString(f.String() + "\n")
	}
	if !strings.Contains(all.String(), "synchronous_commit = off") {
		t.Errorf("findings:\n%swant one about synchronous_commit", all.String())
	}
}

func TestConnectionsThatOthersCanReadAreTold(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]bool{
		"postgres://u@127.0.0.1/d?sslmode=disable":          false,
		"postgres://u@localhost/d?sslmode=disable":          false,
		"postgres:///d?host=/run/postgresql":                false,
		"postgres://u@db.example.com/d?sslmode=disable":     true,
		"postgres://u@db.example.com/d?sslmode=prefer":      true,
		"postgres://u@db.example.com/d?sslmode=require":     true,
		"postgres://u@db.example.com/d?sslmode=verify-full": false,
		"postgres://u@127.0.0.1,10.0.0.1/d?sslmode=disable": true,
	} {
		if got, err := db.RemoteWithoutTLS(url); err != nil || got != want {
			t.Errorf("%s: %v, %v, want %v", url, got, err, want)
		}
	}
}
