package conformance

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// filesToken is what the target http/files sends along: a secret of the operator.
const filesToken = "only-the-operator-knows"

// A service is what tasks of cases can wait for: it answers with the files of
// their directories, and notes there what it was asked.
type service struct {
	url string

	mu   sync.Mutex
	dirs map[string]string // by the namespace of the case
}

func newService(t *testing.T) *service {
	s := &service{dirs: map[string]string{}}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

// targets is the operator's file. Nobody listens on the second address.
func (s *service) targets() string {
	return fmt.Sprintf("targets:\n  http/files:\n    kind: http\n    hosts: [%q, \"127.0.0.1:1\"]\n    allow_http: true\n    auth: {bearer: {secret: FILES_TOKEN, namespace: operator}}\n",
		strings.TrimPrefix(s.url, "http://"))
}

func (s *service) serve(namespace, dir string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dirs[namespace] = dir
}

// ServeHTTP answers GET /NAMESPACE/NAME with the file NAME, and 404 as long as it
// is not there. A first line of three digits is the status instead.
func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	namespace, name := filepath.Split(strings.TrimPrefix(r.URL.Path, "/"))
	dir, ok := s.dirs[strings.TrimSuffix(namespace, "/")]
	if !ok {
		http.NotFound(w, r)
		return
	}
	if err := note(filepath.Join(dir, "asked"), r); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	answer, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		http.Error(w, "not there yet", http.StatusNotFound)
		return
	}
	first, rest, _ := strings.Cut(string(answer), "\n")
	if status, err := strconv.Atoi(first); err == nil && len(first) == 3 {
		w.WriteHeader(status)
		answer = []byte(rest)
	}
	_, _ = w.Write(answer) // whoever asked may be gone
}

// note adds a request to a file: its line, its headers, its body.
func note(file string, r *http.Request) error {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s\n", r.Method, r.URL.RequestURI())
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		fmt.Fprintf(&b, "%s: %s\n", name, strings.Join(r.Header[name], ", "))
	}
	fmt.Fprintf(&b, "%s\n", body)
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(b.String())
	return err
}
