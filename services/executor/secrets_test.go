package executor_test

import (
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/synthesizer-dev/synthesizer/db/dbtest"
	"github.com/synthesizer-dev/synthesizer/services/executor"
	"github.com/synthesizer-dev/synthesizer/services/executor/internal/exectest"
	"github.com/synthesizer-dev/synthesizer/services/internal/secrets"
)

// A vault sets secrets as the api does.
type vault struct {
	w    *exectest.World
	path string
	keys *secrets.Keyring
}

func newVault(t *testing.T, w *exectest.World) *vault {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	if _, err := secrets.Create(path, false); err != nil {
		t.Fatal(err)
	}
	return &vault{w: w, path: path, keys: secrets.New(path)}
}

func (v *vault) set(namespace, name string, version int32, value string) {
	v.w.T.Helper()
	sealed, err := v.keys.Seal(secrets.Name{Namespace: namespace, Name: name, Version: version}, value)
	if err != nil {
		v.w.T.Fatal(err)
	}
	v.w.Exec(`INSERT INTO secret (namespace, name, version, sealed) VALUES ($1, $2, $3, $4)`, namespace, name, version, sealed)
}

// Tasks that print their secrets in every way there is: nothing of it is in any
// table afterwards.
func TestNoTableHoldsASecretInClear(t *testing.T) {
	t.Parallel()
	const (
		token = `c4n+ry/"t0ken"&x=1`
		key   = "-----BEGIN KEY-----\nc4naryLine0neOfTheKey\nshort\nc4naryLineTw0OfTheKey==\n-----END KEY-----\n"
		pin   = "c4n7" // long enough to be masked, too short to be refused as an output
	)
	w := exectest.New(t, `
name: p
tasks:
  prints:
    secrets: {T: TOKEN, K: KEY, P: PIN}
    env: {URL: "https://user:${{ secrets.TOKEN }}@host/"}
    run: |
      enc() { s=$1; while [ -n "$s" ]; do c=${s%"${s#?}"}; s=${s#?}; case $c in [A-Za-z0-9._~-]) printf %s "$c";; *) printf '%%%02X' "'$c";; esac; done; }
      echo "plain $T and $URL and $P"
      for before in "" a ab abc; do for behind in "" y yz; do printf '%s' "$before$T$behind" | base64 -w0; echo; done; done
      printf '%s' "$T" | base64 -w0 | tr '+/' '-_'; echo
      enc "$T"; echo
      printf '%s\n' "$K"
      printf '%s' "$K" | base64 -w0; echo
      printf '%s' "$K" | tail -n 3 | head -n 1
      printf '{"token": "%s"}\n' "$(printf %s "$T" | sed 's/"/\\"/g')"
      # cut at every place, over chunks and both streams' blocks
      i=0; while [ $i -lt 18 ]; do printf '%s' "$(printf %s "$T" | cut -c1-$i)"; sleep 0.02; printf '%s\n' "$(printf %s "$T" | cut -c$((i+1))-)"; i=$((i+1)); done
      echo "on stderr $T" >&2
      { echo "summary $T"; echo "$K"; printf '%s' "$T" | base64; } > "$SYN_SUMMARY"
  fails: {run: 'echo "x=$T" >> "$SYN_OUTPUT"; echo "failed for $T"; exit 3', secrets: {T: TOKEN}}
  leaks: {run: 'printf "x=%s\n" "$(printf %s "$T" | base64 -w0)" >> "$SYN_OUTPUT"', secrets: {T: TOKEN}, outputs: {x: {type: string}}}
  line: {run: 'printf "x=%s\n" "$(printf %s "$K" | sed -n 2p)" >> "$SYN_OUTPUT"', secrets: {K: KEY}, outputs: {x: {type: string}}}
  dir: {run: 'true', working_dir: "${{ env.D }}", env: {D: "/nowhere"}, secrets: {T: TOKEN}}
`)
	v := newVault(t, w)
	v.set("default", "TOKEN", 1, "an older value")
	v.set("default", "TOKEN", 2, token)
	v.set("default", "KEY", 1, key)
	v.set("default", "PIN", 1, pin)
	run := w.Run("p")
	w.Release(run, "p", "prints", "fails", "leaks", "line", "dir")
	r := start(t, w, func(c *executor.Config) { c.SecretKeyFile = v.path })
	w.UntilEnded()
	if got, want := w.Attempts(run), "prints#1 succeeded fails#1 failed:exit leaks#1 failed:outputs_secret line#1 failed:outputs_secret dir#1 failed:no_directory"; got != want {
		t.Errorf("attempts = %q, want %q", got, want)
	}
	out := w.Log(run)
	if !strings.Contains(out, "plain •••(TOKEN) and https://user:•••(TOKEN)@host/ and •••(PIN)\n") || strings.Count(out, "•••(TOKEN)") < 34 || !strings.Contains(out, "•••(KEY)") {
		t.Errorf("the log does not show where secrets were:\n%s", out)
	}
	forms := map[string]string{"plain": token, "URL-encoded": url.QueryEscape(token), "a line": "c4naryLine0neOfTheKey", "another": "c4naryLineTw0OfTheKey==", "pin": pin}
	for before := range 3 {
		text := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("a", before) + token))
		forms["base64 behind "+strings.Repeat("a", before)] = text[4 : len(text)-4]
		line := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("a", before) + "c4naryLine0neOfTheKey"))
		forms["base64 of a line behind "+strings.Repeat("a", before)] = line[4 : len(line)-4]
	}
	whole := base64.StdEncoding.EncodeToString([]byte(key))
	forms["base64 of all lines"] = whole[8 : len(whole)-8]
	for name, form := range forms {
		if strings.Contains(out, form) || strings.Contains(r.log.String(), form) {
			t.Errorf("%s: %q is in the output or the executor's log", name, form)
		}
		for _, text := range []string{form, hex.EncodeToString([]byte(form))} {
			found, err := dbtest.Holding(t.Context(), w.Pool, text)
			if err != nil {
				t.Fatal(err)
			}
			if len(found) > 0 {
				t.Errorf("%s: %q is in %v", name, form, found)
			}
		}
	}
	// The search finds what is there.
	if found, err := dbtest.Holding(t.Context(), w.Pool, "•••(TOKEN)"); err != nil || strings.Join(found, " ") != "attempt log_chunk" {
		t.Errorf("the masks are in %v, %v, want them in attempt and log_chunk", found, err)
	}
}

func TestTheNextClaimSeesARotatedSecret(t *testing.T) {
	t.Parallel()
	w := exectest.New(t, "name: p\ntasks:\n  a: {run: 'test \"$T\" = \"$WANT\"', env: {WANT: first-value}, secrets: {T: TOKEN}}\n  b: {run: 'test \"$T\" = \"$WANT\"', env: {WANT: second-value}, secrets: {T: TOKEN}}\n")
	v := newVault(t, w)
	v.set("default", "TOKEN", 1, "first-value")
	run := w.Run("p")
	start(t, w, func(c *executor.Config) { c.SecretKeyFile, c.Name = v.path, "wh-1" })
	w.Release(run, "p", "a")
	w.UntilEnded()
	// A new key, and with it a new value: the executor reads the key file again.
	if _, err := secrets.Rotate(v.path); err != nil {
		t.Fatal(err)
	}
	v.set("default", "TOKEN", 2, "second-value")
	w.Release(run, "p", "b")
	w.UntilEnded()
	if got, want := w.Attempts(run), "a#1 succeeded b#1 succeeded"; got != want {
		t.Errorf("attempts = %q, want %q", got, want)
	}
	if got := exectest.Value[string](w, `SELECT string_agg(namespace || '/' || name || ' ' || read_by || ' ' || (read_at > now() - interval '1 minute'), ' ') FROM secret_read`); got != "default/TOKEN wh-1 true" {
		t.Errorf("read: %q", got)
	}
}

func TestAnExecutorsOwnSecretGoesFirst(t *testing.T) {
	t.Parallel()
	w := exectest.New(t, "name: p\ntasks:\n  a: {run: 'test \"$A $B\" = \"of-the-file of-the-store\"', secrets: {A: ONE, B: TWO}}\n")
	v := newVault(t, w)
	v.set("default", "ONE", 1, "of-the-store")
	v.set("default", "TWO", 1, "of-the-store")
	file := filepath.Join(t.TempDir(), "secrets")
	if err := os.WriteFile(file, []byte("ONE=of-the-file\nother/TWO=x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	run := w.Run("p")
	w.Release(run, "p", "a")
	start(t, w, func(c *executor.Config) { c.SecretKeyFile, c.SecretsFile = v.path, file })
	w.UntilEnded()
	if got, want := w.Attempts(run), "a#1 succeeded"; got != want {
		t.Errorf("attempts = %q, want %q", got, want)
	}
}

func TestWhatIsWrongWithASecretIsSaid(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		config func(*vault, *executor.Config)
		want   string
	}{
		"not set":    {func(v *vault, c *executor.Config) { c.SecretKeyFile = v.path }, "secrets.TOKEN: secret TOKEN is not set in fin → synctl secret set TOKEN -n fin"},
		"no key":     {func(v *vault, _ *executor.Config) { v.set("fin", "TOKEN", 1, "c4nary-value") }, "secrets.TOKEN: secret TOKEN of fin cannot be read: this executor has no key → set SYN_SECRET_KEY_FILE for it"},
		"of another": {func(v *vault, c *executor.Config) { v.set("ops", "TOKEN", 1, "c4nary-value"); c.SecretKeyFile = v.path }, "secrets.TOKEN: secret TOKEN is not set in fin → synctl secret set TOKEN -n fin"},
		"another key": {func(v *vault, c *executor.Config) {
			v.set("fin", "TOKEN", 1, "c4nary-value")
			c.SecretKeyFile = v.path + "2"
			_, _ = secrets.Create(c.SecretKeyFile, false)
		}, "secrets.TOKEN: version 1 of secret TOKEN of fin opens with no key of the key file"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := exectest.New(t, "name: p\nnamespace: fin\ntasks:\n  a: {run: 'echo ran', secrets: {T: TOKEN}, retry: {limit: 3}}\n")
			v := newVault(t, w)
			run := w.Run("p")
			w.Release(run, "p", "a")
			start(t, w, func(cfg *executor.Config) { c.config(v, cfg) })
			w.UntilEnded()
			if got, want := w.Attempts(run), "a#1 failed:secret"; got != want {
				t.Errorf("attempts = %q, want %q", got, want)
			}
			if got := exectest.Value[string](w, `SELECT detail FROM attempt WHERE run_id = $1`, run); got != c.want {
				t.Errorf("detail = %q, want %q", got, c.want)
			}
			if out := w.Log(run); out != "" {
				t.Errorf("it ran: %q", out)
			}
		})
	}
}
