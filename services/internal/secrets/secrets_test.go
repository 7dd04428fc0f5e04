package secrets_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/db/dbtest"
	"github.com/synthesizer-dev/synthesizer/services/internal/secrets"
)

const canary = "c4nary-value"

func create(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	if created, err := secrets.Create(path, false); err != nil || !created {
		t.Fatalf("Create = %v, %v", created, err)
	}
	return path
}

func seal(t *testing.T, k *secrets.Keyring, name secrets.Name) []byte {
	t.Helper()
	sealed, err := k.Seal(name, canary)
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

func TestWhatIsSealedOpensUnderItsOwnNameAlone(t *testing.T) {
	t.Parallel()
	k := secrets.New(create(t))
	name := secrets.Name{Namespace: "fin", Name: "DSN", Version: 3}
	sealed := seal(t, k, name)
	if strings.Contains(string(sealed), canary) || string(sealed) == string(seal(t, k, name)) {
		t.Error("sealed bytes hold the value, or are the same twice")
	}
	if got, err := k.Open(name, sealed); got != canary || err != nil {
		t.Errorf("Open = %q, %v", got, err)
	}
	for what, other := range map[string]secrets.Name{
		"namespace": {Namespace: "ops", Name: "DSN", Version: 3}, "name": {Namespace: "fin", Name: "DSN2", Version: 3},
		"version": {Namespace: "fin", Name: "DSN", Version: 2},
	} {
		if got, err := k.Open(other, sealed); err == nil {
			t.Errorf("it opens under another %s: %q", what, got)
		}
	}
	for i := range sealed {
		bad := append([]byte{}, sealed...)
		bad[i] ^= 1
		if _, err := k.Open(name, bad); err == nil {
			t.Fatalf("it opens with byte %d changed", i)
		}
	}
	if _, err := secrets.New(create(t)).Open(name, sealed); err == nil || !strings.Contains(err.Error(), "version 3 of secret DSN of fin opens with no key") {
		t.Errorf("Open with the key of somebody else = %v", err)
	}
}

func TestNoKeySaysSo(t *testing.T) {
	t.Parallel()
	var none *secrets.Keyring
	for _, k := range []*secrets.Keyring{none, secrets.New("")} {
		if _, err := k.Seal(secrets.Name{}, canary); !errors.Is(err, secrets.ErrNoKey) {
			t.Errorf("Seal = %v", err)
		}
		if _, err := k.Open(secrets.Name{}, nil); !errors.Is(err, secrets.ErrNoKey) {
			t.Errorf("Open = %v", err)
		}
	}
	dir := t.TempDir()
	for name, c := range map[string]struct {
		text string
		mode os.FileMode
		want string
	}{
		"open to the group": {"", 0o640, "mode 0640: others may read it → chmod 600"},
		"open to all":       {"", 0o604, "mode 0604"},
		"no keys":           {`{"primaryKeyId": "s3cret", "key": "s3cret"}`, 0o600, "holds no keys as api secret-key create makes them"},
		"empty":             {" ", 0o600, "holds no keys"},
	} {
		path := filepath.Join(dir, strings.ReplaceAll(name, " ", "_"))
		if c.text == "" {
			if _, err := secrets.Create(path, false); err != nil {
				t.Fatal(err)
			}
		} else if err := os.WriteFile(path, []byte(c.text), c.mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, c.mode); err != nil {
			t.Fatal(err)
		}
		if err := secrets.New(path).Check(); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v, want %q in it and nothing of the file", name, err, c.want)
		}
	}
	// A file that comes later is found.
	path := filepath.Join(dir, "later")
	k := secrets.New(path)
	if err := k.Check(); err == nil {
		t.Error("a file that is not there is no error")
	}
	if _, err := secrets.Create(path, false); err != nil {
		t.Fatal(err)
	}
	if err := k.Check(); err != nil {
		t.Errorf("after it was made: %v", err)
	}
}

func TestCreateLeavesWhatIsThere(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "key")
	var all sync.WaitGroup
	made := make(chan bool, 8)
	for range cap(made) {
		all.Go(func() {
			created, err := secrets.Create(path, false)
			if err != nil {
				t.Error(err)
			}
			made <- created
		})
	}
	all.Wait()
	close(made)
	n := 0
	for created := range made {
		if created {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d of 8 made the file, want 1", n)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".key-*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	group := filepath.Join(t.TempDir(), "key")
	if _, err := secrets.Create(group, true); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(group); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode for a group: %v, %v", info.Mode(), err)
	}
}

func TestRotationKeepsOldSecretsReadable(t *testing.T) {
	t.Parallel()
	path := create(t)
	k := secrets.New(path)
	name := secrets.Name{Namespace: "fin", Name: "DSN", Version: 1}
	old := seal(t, k, name)
	first, err := k.Info()
	if err != nil || len(first.Older) != 0 {
		t.Fatalf("Info = %+v, %v", first, err)
	}
	// Rotated by several at once, no key is lost.
	var all sync.WaitGroup
	for range 5 {
		all.Go(func() {
			if _, err := secrets.Rotate(path); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	info, err := k.Info()
	if err != nil || info.Primary == first.Primary || len(info.Older) != 5 {
		t.Errorf("after 5 rotations: %+v, %v; want a new primary and 5 older keys", info, err)
	}
	if got, err := k.Open(name, old); got != canary || err != nil {
		t.Errorf("what was sealed before = %q, %v", got, err)
	}
	if stat, err := os.Stat(path); err != nil || stat.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", stat.Mode(), err)
	}
}

func TestResealThenPrune(t *testing.T) {
	t.Parallel()
	url := dbtest.URL(t)
	pool := dbtest.Open(t, db.Config{URL: url, Purpose: db.Upkeep})
	path := create(t)
	k := secrets.New(path)
	const n = 120 // more than are read at once
	for i := range n {
		name := secrets.Name{Namespace: "fin", Name: "S", Version: int32(i + 1)}
		if _, err := pool.PGX().Exec(t.Context(), "INSERT INTO secret (namespace, name, version, sealed) VALUES ($1, $2, $3, $4)", name.Namespace, name.Name, name.Version, seal(t, k, name)); err != nil {
			t.Fatal(err)
		}
	}
	rotated, err := secrets.Rotate(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := secrets.Prune(t.Context(), url, path); err == nil || !strings.Contains(err.Error(), "still needs an older key → api secret-key reseal") {
		t.Errorf("Prune before Reseal = %v", err)
	}
	if info, err := k.Info(); err != nil || len(info.Older) != 1 {
		t.Errorf("a refused prune changed the file: %+v, %v", info, err)
	}
	if got, err := secrets.Reseal(t.Context(), url, k); got != n || err != nil {
		t.Errorf("Reseal = %d, %v, want %d", got, err, n)
	}
	info, err := secrets.Prune(t.Context(), url, path)
	if err != nil || info.Primary != rotated.Primary || len(info.Older) != 0 {
		t.Errorf("Prune = %+v, %v", info, err)
	}
	opened := 0
	err = db.EachSecret(t.Context(), url, func(row db.SealedAfterRow) error {
		got, err := k.Open(secrets.Name{Namespace: row.Namespace, Name: row.Name, Version: row.Version}, row.Sealed)
		if got == canary {
			opened++
		}
		return err
	})
	if err != nil || opened != n {
		t.Errorf("%d of %d open afterwards, %v", opened, n, err)
	}
}
