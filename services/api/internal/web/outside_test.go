package web_test

import (
	"bytes"
	"mime/multipart"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/services/internal/secrets"
)

const usesSecrets = "name: etl\nnamespace: fin\ntasks: {load: {run: x, secrets: {DSN: WAREHOUSE_DSN, KEY: MISSING_KEY}}}\n"

// upload sends a form as a browser does that may hold a file.
func (v *visitor) upload(path, file string, pairs ...string) answer {
	v.w.t.Helper()
	var body bytes.Buffer
	m := multipart.NewWriter(&body)
	for i := 0; i < len(pairs); i += 2 {
		if err := m.WriteField(pairs[i], pairs[i+1]); err != nil {
			v.w.t.Fatal(err)
		}
	}
	name := ""
	if file != "" {
		name = "key.pem"
	}
	part, err := m.CreateFormFile("file", name)
	if err != nil {
		v.w.t.Fatal(err)
	}
	if _, err := part.Write([]byte(file)); err != nil {
		v.w.t.Fatal(err)
	}
	m.Close()
	req, err := http.NewRequestWithContext(v.w.t.Context(), http.MethodPost, v.w.url+path, &body)
	if err != nil {
		v.w.t.Fatal(err)
	}
	req.Header.Set("Content-Type", m.FormDataContentType())
	resp, err := v.Client.Do(req)
	if err != nil {
		v.w.t.Fatal(err)
	}
	defer resp.Body.Close()
	var text bytes.Buffer
	if _, err := text.ReadFrom(resp.Body); err != nil {
		v.w.t.Fatal(err)
	}
	return answer{resp, text.String()}
}

// stored is the value that executors get.
func (w *world) stored(ns, name string) string {
	w.t.Helper()
	var version int32
	var sealed []byte
	if err := w.conn.QueryRow(w.t.Context(), "SELECT version, sealed FROM secret WHERE namespace = $1 AND name = $2 ORDER BY version DESC LIMIT 1", ns, name).Scan(&version, &sealed); err != nil {
		w.t.Fatal(err)
	}
	value, err := secrets.New(w.keys).Open(secrets.Name{Namespace: ns, Name: name, Version: version}, sealed)
	if err != nil {
		w.t.Fatal(err)
	}
	return value
}

func TestSecretsOnPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const canary = "c4nary-hunter2"
	w.register("etl.yaml", usesSecrets)
	author := w.as(api.RoleAuthor, "fin")
	w.want(author.get("/secrets"), http.StatusOK, "MISSING_KEY", "not set", `href="/p/fin/etl"`, "/secrets/set?name=WAREHOUSE_DSN&amp;namespace=fin", "nobody can read them back")

	form := author.get("/secrets/set?namespace=fin&name=WAREHOUSE_DSN")
	w.want(form, http.StatusOK, "Set WAREHOUSE_DSN", `type="password"`, `enctype="multipart/form-data"`, `<input type="hidden" name="namespace" value="fin">`)
	set := func(value, file string) answer {
		return author.upload("/secrets/set", file, "namespace", "fin", "name", "WAREHOUSE_DSN", "value", value)
	}
	a := set(canary, "")
	w.want(a, http.StatusSeeOther)
	if a.Header.Get("Location") != "/secrets" || strings.Contains(strings.Join(a.Header.Values("Set-Cookie"), " "), "c4nary") || w.stored("fin", "WAREHOUSE_DSN") != canary {
		t.Errorf("set: to %q with cookies %q", a.Header.Get("Location"), a.Header.Values("Set-Cookie"))
	}
	w.want(author.get("/secrets"), http.StatusOK, "WAREHOUSE_DSN is set, version 1.", "never", "/secrets/delete?name=WAREHOUSE_DSN")
	// A form without a file field works too, and a file keeps its lines.
	w.want(author.post("/secrets/set", "namespace", "fin", "name", "WAREHOUSE_DSN", "value", canary+"2"), http.StatusSeeOther)
	w.want(set("", canary+"\nand a second line\n"), http.StatusSeeOther)
	if got := w.stored("fin", "WAREHOUSE_DSN"); got != canary+"\nand a second line" {
		t.Errorf("of a file: %q", got)
	}
	for name, a := range map[string]answer{
		"both":    set(canary, canary),
		"empty":   set("", ""),
		"large":   set("", strings.Repeat(canary, 5000)),
		"no name": author.upload("/secrets/set", "", "namespace", "fin", "name", "no name", "value", canary),
	} {
		w.want(a, http.StatusUnprocessableEntity, `role="alert"`)
		if strings.Contains(a.text, "c4nary") {
			t.Errorf("%s: the form that comes again holds the value", name)
		}
	}
	w.want(set("", strings.Repeat(canary, 20_000)), http.StatusRequestEntityTooLarge)
	w.want(author.upload("/secrets/set", "", "namespace", "ops", "name", "DSN", "value", canary), http.StatusForbidden, "no right in namespace ops")
	for _, path := range []string{"/secrets", "/secrets/set", "/secrets/set?namespace=fin&name=WAREHOUSE_DSN", "/secrets/delete?namespace=fin&name=WAREHOUSE_DSN"} {
		a := author.get(path)
		if a.Header.Get("Cache-Control") != "no-store" || a.Header.Get("ETag") != "" {
			t.Errorf("GET %s may be kept: %q, ETag %q", path, a.Header.Get("Cache-Control"), a.Header.Get("ETag"))
		}
		if strings.Contains(a.text, "c4nary") {
			t.Errorf("GET %s holds the value", path)
		}
	}

	// Who may not change anything sees names, and no way to change them.
	viewer := w.as(api.RoleViewer)
	a = viewer.get("/secrets")
	w.want(a, http.StatusOK, "WAREHOUSE_DSN", "<button disabled>New secret</button>")
	if strings.Contains(a.text, "/secrets/delete") {
		t.Error("a viewer is led to delete")
	}
	w.want(viewer.get("/secrets/set?namespace=fin&name=WAREHOUSE_DSN"), http.StatusOK, "<button disabled>Set</button>")
	w.want(viewer.post("/secrets/set", "namespace", "fin", "name", "X", "value", "x"), http.StatusForbidden)

	// To delete takes the name.
	gone := author.get("/secrets/delete?namespace=fin&name=WAREHOUSE_DSN")
	w.want(gone, http.StatusOK, "Delete WAREHOUSE_DSN?", "tasks of theirs fail without it", `href="/p/fin/etl"`)
	del := func(confirm string) answer {
		return author.post("/secrets/delete", "namespace", "fin", "name", "WAREHOUSE_DSN", "confirm", confirm)
	}
	w.want(del(""), http.StatusUnprocessableEntity, "That is not its name")
	w.want(del("MISSING_KEY"), http.StatusUnprocessableEntity)
	w.want(del("WAREHOUSE_DSN"), http.StatusSeeOther)
	w.want(author.get("/secrets"), http.StatusOK, "WAREHOUSE_DSN is deleted.")
	w.want(del("WAREHOUSE_DSN"), http.StatusNotFound)
	w.want(w.as(api.RoleAuthor, "ops").get("/secrets/delete?namespace=fin&name=MISSING_KEY"), http.StatusNotFound)
}

func TestVariablesOnPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.register("v.yaml", "kind: vars\nname: v\nvalues: {SITE: ams}\n")
	author := w.as(api.RoleAuthor)
	w.want(author.get("/vars"), http.StatusOK, "SITE", "ams", "in a file", "repo")
	w.want(author.get("/vars/set"), http.StatusOK, "Set a variable", `value="default"`)
	w.want(author.post("/vars/set", "namespace", "default", "name", "REGION", "value", "eu\r\nus"), http.StatusSeeOther)
	w.want(author.get("/vars"), http.StatusOK, "REGION is set; runs from now on read it.", "eu", "/vars/delete?name=REGION")
	w.want(author.get("/vars/set?namespace=default&name=REGION"), http.StatusOK, "eu\nus</textarea>")
	w.want(author.post("/vars/set", "namespace", "default", "name", "SITE", "value", "x"), http.StatusConflict, "belongs to source", ">x</textarea>")
	w.want(author.get("/vars/delete?namespace=default&name=SITE"), http.StatusOK, "take it out of its file", "<button disabled>Delete</button>")
	w.want(author.post("/vars/delete", "namespace", "default", "name", "SITE", "confirm", "SITE"), http.StatusConflict, "belongs to source")
	w.want(author.post("/vars/delete", "namespace", "default", "name", "REGION", "confirm", "REGION"), http.StatusSeeOther)
	w.want(author.get("/vars"), http.StatusOK, "REGION is deleted.")
	w.want(author.get("/vars?nothing=1"), http.StatusBadRequest)
	w.want(author.get("/vars/set?namespace=default&name=NOPE"), http.StatusNotFound)
}

// keyFile makes the key of a world.
func keyFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	if _, err := secrets.Create(path, false); err != nil {
		t.Fatal(err)
	}
	return path
}
