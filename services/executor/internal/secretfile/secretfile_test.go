package secretfile_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/synthesizer-dev/synthesizer/services/executor/internal/secretfile"
)

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func TestLookup(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"lines": "# comment\n\nTOKEN=a=b \nfin/TOKEN=other\r\nEMPTY=\n",
		"json":  `{"default": {"TOKEN": "a=b ", "EMPTY": ""}, "fin": {"TOKEN": "other"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "s")
			write(t, path, text, 0o600)
			f, err := secretfile.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range []struct{ namespace, name, want string }{
				{"default", "TOKEN", "a=b "}, {"fin", "TOKEN", "other"}, {"default", "EMPTY", ""},
			} {
				if got, ok, err := f.Lookup(c.namespace, c.name); got != c.want || !ok || err != nil {
					t.Errorf("Lookup(%q, %q) = %q, %v, %v, want %q", c.namespace, c.name, got, ok, err, c.want)
				}
			}
			if got, ok, err := f.Lookup("fin", "EMPTY"); got != "" || ok || err != nil {
				t.Errorf("Lookup of what is not there = %q, %v, %v", got, ok, err)
			}
			// A change is seen at the next look.
			write(t, path, "TOKEN=new", 0o600)
			later := time.Now().Add(time.Second)
			if err := os.Chtimes(path, later, later); err != nil {
				t.Fatal(err)
			}
			if got, _, err := f.Lookup("default", "TOKEN"); got != "new" || err != nil {
				t.Errorf("Lookup after a change = %q, %v", got, err)
			}
			// One that others may read is not believed any more.
			if err := os.Chmod(path, 0o640); err != nil {
				t.Fatal(err)
			}
			if _, _, err := f.Lookup("default", "TOKEN"); err == nil || f.Check() == nil {
				t.Error("a file that others may read was used")
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, c := range map[string]struct {
		text string
		mode os.FileMode
		want string
	}{
		"open to others": {"A=b", 0o604, "chmod 600"},
		"no value":       {"A=s3cret\nB", 0o600, "line 2: expected NAME=VALUE"},
		"twice":          {"A=s3cret\nA=s3cret", 0o600, "line 2: A is set twice"},
		"not JSON":       {`{"a": "s3cret"`, 0o600, "is not a JSON object"},
		"JSON and more":  {`{} {}`, 0o600, "something follows"},
		"values of JSON": {`{"default": {"A": 1}}`, 0o600, "is not a JSON object"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(dir, strings.ReplaceAll(name, " ", "_"))
			write(t, path, c.text, c.mode)
			_, err := secretfile.Open(path)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("Open = %v, want %q in it and no value", err, c.want)
			}
		})
	}
	if _, err := secretfile.Open(filepath.Join(dir, "nothing")); err == nil {
		t.Error("a file that is not there was opened")
	}
	if _, err := secretfile.Open(dir); err == nil {
		t.Error("a directory was opened")
	}
	none, err := secretfile.Open("")
	if none != nil || err != nil || none.Check() != nil {
		t.Errorf("Open of nothing = %v, %v", none, err)
	}
	if _, ok, err := none.Lookup("default", "A"); ok || err != nil {
		t.Error("no file has a secret")
	}
}
