package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
	"github.com/synthesizer-dev/synthesizer/cli/pipeline/hostile"
	"github.com/synthesizer-dev/synthesizer/db/dbtest"
)

// growth is by how much one hostile input may let the api grow.
const growth = 64 << 20

// Every input of the catalogue gets a clear answer from the real api, in time;
// nothing of it is stored, and the process neither dies nor swells.
func TestHostileInputsOverHTTP(t *testing.T) {
	t.Parallel()
	s := newSystem(t, dbtest.URL(t))
	a := attacker{s}
	// What it takes to work at all is not growth.
	for range 3 {
		a.send(t, body([]pipeline.File{{Name: "a.yaml", Text: []byte("# " + strings.Repeat("x", 200<<10))}}, true))
	}
	pid := s.API.PID()

	for _, c := range hostile.Cases() {
		request := body(c.Files, c.OK) // what is fine is not stored either
		rested := forgetPeak(t, pid)
		began := time.Now()
		status, problem, text := a.send(t, request)
		took := time.Since(began)
		if peak := memory(t, pid, "VmHWM"); peak > rested+growth {
			t.Errorf("%s: the api grew from %d to %d MiB", c.ID(), rested>>20, peak>>20)
		}
		if c.OK != (status == http.StatusOK) || !c.OK && (status < 400 || status >= 500) {
			t.Errorf("%s: status %d, fine: %v: %.300s", c.ID(), status, c.OK, text)
		}
		if took > 2*time.Second { // one, and the load of a test machine
			t.Errorf("%s: the answer took %v", c.ID(), took)
		}
		if !c.OK {
			checkAnswer(t, c, problem, text)
		}
	}
	for _, c := range bodies() {
		rested := forgetPeak(t, pid)
		status, problem, text := a.send(t, c.body, c.header...)
		if peak := memory(t, pid, "VmHWM"); peak > rested+growth {
			t.Errorf("%s: the api grew from %d to %d MiB", c.name, rested>>20, peak>>20)
		}
		if status != c.status || problem.Code == "" || problem.Detail == "" || len(text) > 4<<10 {
			t.Errorf("%s: %d, want %d and why: %.300s", c.name, status, c.status, text)
		}
	}

	if s.API.PID() != pid || !s.API.Running() {
		t.Error("the api did not survive")
	}
	for _, table := range []string{"source", "pipeline", "revision", "schedule", "pool", "var", "event WHERE kind <> 'token'"} {
		if n := value[int64](s, "SELECT count(*) FROM "+table); n != 0 {
			t.Errorf("%d rows of %s are stored", n, table)
		}
	}
	s.register("fine.yaml", "name: fine\ntasks: {a: {run: x}}\n")
	s.check(nil)
}

// checkAnswer compares an answer with what the catalogue wants. What cannot even
// travel in JSON is refused earlier, without a place in a file.
func checkAnswer(t *testing.T, c hostile.Case, problem api.Problem, text string) {
	t.Helper()
	if problem.Code == "" || problem.Detail == "" {
		t.Errorf("%s: no problem told: %.300s", c.ID(), text)
		return
	}
	if len(problem.Problems) == 0 && (problem.Status == http.StatusBadRequest || problem.Status == http.StatusRequestEntityTooLarge) {
		return
	}
	found := false
	for _, f := range problem.Problems {
		if c.Not != "" && strings.Contains(f.Message+f.Hint, c.Not) {
			t.Errorf("%s: %q is repeated: %q", c.ID(), c.Not, f.Message)
		}
		if len(f.Message)+len(f.Hint) > 4<<10 {
			t.Errorf("%s: a message of %d bytes", c.ID(), len(f.Message)+len(f.Hint))
		}
		if f.Where.File == "" || f.Where.Line < 1 || f.Where.Col < 1 || f.Code == "" {
			t.Errorf("%s: no place or code: %+v", c.ID(), f)
		}
		found = found || (c.Code == "" || f.Code == c.Code) && (c.Line == 0 || f.Where.Line == c.Line) && strings.Contains(f.Message+" "+f.Hint, c.Word)
	}
	if !found {
		t.Errorf("%s: want %s at line %d with %q: %.500s", c.ID(), c.Code, c.Line, c.Word, text)
	}
}

type badBody struct {
	name   string
	body   io.Reader
	header []string
	status int
}

// bodies are requests that are wrong before any file is read.
func bodies() []badBody {
	fine := `{"source":"e2e","files":[{"name":"a.yaml","text":"name: a\ntasks: {a: {run: x}}\n"}]}`
	return []badBody{
		{"300 MB without an end", io.MultiReader(strings.NewReader(`{"source":"`), io.LimitReader(letters{}, 300<<20)), nil, http.StatusRequestEntityTooLarge},
		{"17 MiB of one file", body([]pipeline.File{{Name: "a.yaml", Text: bytes.Repeat([]byte("#"), 17<<20)}}, false), nil, http.StatusRequestEntityTooLarge},
		{"a bomb of gzip", bytes.NewReader([]byte{0x1f, 0x8b, 8, 0}), []string{"Content-Encoding", "gzip"}, http.StatusUnsupportedMediaType},
		{"a name in another case", strings.NewReader(strings.Replace(fine, "source", "Source", 1)), nil, http.StatusUnprocessableEntity},
		{"a name twice", strings.NewReader(strings.Replace(fine, `"source":"e2e"`, `"source":"e2e","source":"x"`, 1)), nil, http.StatusUnprocessableEntity},
		{"what only the server writes", strings.NewReader(strings.Replace(fine, `"source"`, `"created_at":"x","source"`, 1)), nil, http.StatusUnprocessableEntity},
		{"half a body", strings.NewReader(fine[:60]), nil, http.StatusBadRequest},
		{"20 000 levels", strings.NewReader(`{"source":` + strings.Repeat("[", 20_000)), nil, http.StatusBadRequest},
		{"as plain text", strings.NewReader(fine), []string{"Content-Type", "text/plain"}, http.StatusUnsupportedMediaType},
		{"from another site", strings.NewReader(fine), []string{"Origin", "https://elsewhere.example", "Sec-Fetch-Site", "cross-site"}, http.StatusForbidden},
		{"without a token", strings.NewReader(fine), []string{"Authorization", "Bearer syn_" + strings.Repeat("0", 64)}, http.StatusUnauthorized},
	}
}

// One bad file among 500 changes none of them.
func TestOneBadFileAmongMany(t *testing.T) {
	t.Parallel()
	s := newSystem(t, dbtest.URL(t))
	s.mustRegister(t, 0)
	next := generation(1)
	next.Files[321].Text = strings.Replace(next.Files[321].Text, "needs: [a]", "needs: [x]", 1)
	_, err := s.Register(t.Context(), next)
	if !api.IsCode(err, api.Unprocessable) || !strings.Contains(findings(err), "p321.yaml:6:") {
		t.Errorf("register = %v, want the place in p321.yaml\n%s", err, findings(err))
	}
	if number := s.generationStored(t); number != 1 {
		t.Errorf("revision %d is stored, want 1", number)
	}
}

type attacker struct{ s *system }

// send posts a register. What cannot be sent to its end, because the api closes,
// is answered all the same.
func (a attacker) send(t *testing.T, body io.Reader, header ...string) (status int, problem api.Problem, text string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, a.s.URL()+"/api/v1/register", body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+a.s.Token)
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Errorf("no answer: %v", err)
		return 0, problem, ""
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if resp.StatusCode >= 400 {
		_ = json.Unmarshal(answer, &problem)
	}
	return resp.StatusCode, problem, string(answer)
}

// body writes a request by hand, so that texts travel as they are, even those
// that are no text.
func body(files []pipeline.File, dry bool) io.Reader {
	var b bytes.Buffer
	fmt.Fprintf(&b, `{"source":"e2e","dry_run":%v,"files":[`, dry)
	for i, f := range files {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`{"name":`)
		quoteRaw(&b, f.Name)
		b.WriteString(`,"text":`)
		quoteRaw(&b, string(f.Text))
		b.WriteByte('}')
	}
	b.WriteString("]}")
	return &b
}

// quoteRaw writes a JSON string and leaves bytes that are not UTF-8 as they are.
func quoteRaw(b *bytes.Buffer, text string) {
	b.WriteByte('"')
	for i := range len(text) {
		switch c := text[i]; {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < 0x20:
			fmt.Fprintf(b, `\u%04x`, c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
}

// letters are the same letter without an end.
type letters struct{}

func (letters) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

// forgetPeak lets a process's peak of memory begin anew, and returns what it has
// now.
func forgetPeak(t *testing.T, pid int) int64 {
	t.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0); err != nil {
		t.Fatal(err)
	}
	return memory(t, pid, "VmRSS")
}

// memory is what the kernel says about a process's memory: VmRSS now, VmHWM at
// most.
func memory(t *testing.T, pid int, name string) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatalf("no %s of process %d", name, pid)
	return 0
}
