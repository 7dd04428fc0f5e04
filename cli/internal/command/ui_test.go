package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/client"
)

func TestNothingThatATerminalObeys(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain":                   "plain",
		"über – 日本 🎉":             "über – 日本 🎉",
		"a\x1b[31mred\x1b[0m":     "ared",
		"a\x1b]0;title\x07b":      "ab",
		"a\x1b]8;;http://x\x1b\\": "a",
		"a\x1bPq\x1b\\b":          "ab",
		"a\x1bcb":                 "ab",
		"a\x1b":                   "a",
		"a\x1b[":                  "a",
		"a\u009b31mb":             "ab",
		"bell\a back\b\x7f":       "bell back",
		"left\u202eright":         "leftright",
		"line\u2028break":         "linebreak",
		"bad \xff byte":           "bad \ufffd byte",
		"tab\tand\nline":          "tab\tand\nline",
		"cr\rlf":                  "crlf",
	} {
		if got := clean(in); got != want {
			t.Errorf("clean(%q) = %q, want %q", in, got, want)
		}
	}
	if got := logLine("10 %\r50 %\r100 %\r"); got != "100 %" {
		t.Errorf("progress = %q, want its last state", got)
	}
}

func FuzzClean(f *testing.F) {
	f.Add("a\x1b[31mred\x1b]0;x\x07\x9b1m\xff\u202e")
	f.Fuzz(func(t *testing.T, in string) {
		out := clean(in)
		if !utf8.ValidString(out) {
			t.Errorf("clean(%q) = %q is not UTF-8", in, out)
		}
		for _, r := range out {
			if harmful(r) && r != '\t' && r != '\n' {
				t.Errorf("clean(%q) = %q holds %q", in, out, r)
			}
		}
		if clean(out) != out {
			t.Errorf("clean(%q) is not clean", out)
		}
	})
}

// Whatever is in a table, and however narrow the terminal: no line is longer
// than it, and names and states stay.
func TestTablesFitTheirTerminal(t *testing.T) {
	t.Parallel()
	s := sheet{columns: []column{{name: "name", cut: true}, {name: "state"}, {name: "schedule", rank: 1, cut: true}, {name: "owner", rank: 2}, {name: "source", wide: true}}}
	s.add(same(strings.Repeat("long_", 12)), same("failed"), same("0 2 * * * America/Argentina/ComodRivadavia"), same("finance-data"), same("x"))
	s.add(same("日本語の名前"), same("ok"), same("every 6h"), same(""), same("x"))
	for width := 30; width < 200; width++ {
		out := s.fitted(width, false, false, "…")
		for line := range strings.Lines(out) {
			if n := text.StringWidthWithoutEscSequences(strings.TrimSuffix(line, "\n")); n > width {
				t.Fatalf("at %d columns a line has %d:\n%s", width, n, out)
			}
		}
		if !strings.Contains(out, "STATE") || !strings.Contains(out, "failed") {
			t.Fatalf("at %d columns the state is gone:\n%s", width, out)
		}
	}
	colored := s.fitted(60, false, true, "…")
	if plain := regexp.MustCompile("\x1b\\[[0-9]*m").ReplaceAllString(colored, ""); plain != s.fitted(60, false, false, "…") {
		t.Errorf("colours move columns:\n%s", colored)
	}
}

// The picture of a run is never higher or wider than the terminal.
func TestPictureFitsItsTerminal(t *testing.T) {
	t.Parallel()
	for _, tasks := range []int{0, 1, 5, 19, 20, 21, 300} {
		for _, size := range [][2]int{{80, 24}, {200, 50}, {40, 10}, {30, 6}} {
			u := newUI(Env{Getenv: func(name string) string { return map[string]string{"LANG": "C.UTF-8"}[name] }, Size: func() (int, int) { return size[0], size[1] }}, nil)
			p := &progress{name: "nightly_etl#12", run: api.Run{State: api.RunStateRunning, StartedAt: ago(time.Minute), Params: api.Values{"text": []byte(`"` + strings.Repeat("x", 300) + `"`)}}}
			for i := range tasks {
				state := []api.TaskState{api.TaskStateRunning, api.TaskStateWaiting, api.TaskStateSucceeded, api.TaskStateFailed, api.TaskStateReady}[i%5]
				p.put(api.Task{Name: fmt.Sprintf("task_with_quite_a_long_name_%d", i), State: state, StartedAt: ago(time.Minute), Detail: strings.Repeat("why ", 40)})
			}
			lines := p.picture(u, now)
			if len(lines) > size[1]-1 {
				t.Errorf("%d tasks at %v: %d lines", tasks, size, len(lines))
			}
			for _, l := range lines {
				if n := text.StringWidthWithoutEscSequences(l); n > size[0] {
					t.Errorf("%d tasks at %v: a line of %d: %q", tasks, size, n, l)
				}
			}
			if running := strings.Join(lines, "\n"); tasks > 0 && !strings.Contains(running, "▶ task_") && size[1] > 6 {
				t.Errorf("%d tasks at %v: no running task is shown:\n%s", tasks, size, running)
			}
		}
	}
}

// The whole run comes again after a lost connection, and says nothing twice.
func TestChangesAreToldOnce(t *testing.T) {
	t.Parallel()
	p := &progress{name: "r#1"}
	run, err := runOf("default", "nightly_etl", "1843")
	if err != nil {
		t.Fatal(err)
	}
	going := run
	going.State, going.EndedAt, going.Reason = api.RunStateRunning, nil, ""
	going.Tasks = run.Tasks[:2]
	var lines []string
	hear := func(e client.RunEvent) {
		for _, ch := range p.hear(e) {
			lines = append(lines, strings.SplitN(p.line(ch, now), " ", 2)[1])
		}
	}
	hear(client.RunEvent{Kind: "run", Run: &going})
	hear(client.RunEvent{Kind: "run", Run: &going})
	hear(client.RunEvent{Kind: "run", Run: &run})
	hear(client.RunEvent{Kind: "run", Run: &run})
	hear(client.RunEvent{Kind: "end", Run: &run})
	sorted := slices.Clone(lines)
	slices.Sort(sorted)
	if len(slices.Compact(sorted)) != len(lines) {
		t.Errorf("told twice:\n%s", strings.Join(lines, "\n"))
	}
	if first, last := lines[0], lines[len(lines)-1]; first != "r#1 running" || !strings.HasPrefix(last, "r#1 failed duration=10m00s failed=load skipped=report") {
		t.Errorf("first %q, last %q", first, last)
	}
}

// A reader that went away is no error, and ends what is going on.
func TestClosedPipe(t *testing.T) {
	t.Parallel()
	s := newContract(t)
	for _, line := range []string{"ls", "logs nightly_etl#1841", "run slow -f", "show nightly_etl#1841", "--help", "next --cron @daily"} {
		var stderr strings.Builder
		env := Env{
			Stdin: strings.NewReader(""), Stdout: broken{}, Stderr: &stderr, Local: time.UTC, Now: func() time.Time { return now }, Dial: client.New, Dir: t.TempDir(),
			Getenv: func(name string) string {
				return map[string]string{"SYNCTL_URL": s.URL, "SYNCTL_TOKEN": goodToken, "HOME": t.TempDir()}[name]
			},
			Hold: func(bool) {},
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		if code := Run(ctx, env, strings.Fields(line)); code != ExitOK {
			t.Errorf("synctl %s = %d, want 0; %s", line, code, stderr.String())
		}
		if strings.Contains(stderr.String(), "✕") || strings.Contains(stderr.String(), "x ") && strings.Contains(stderr.String(), "pipe") {
			t.Errorf("synctl %s says %q", line, stderr.String())
		}
		cancel()
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) {
	return 0, &os.PathError{Op: "write", Path: "|1", Err: syscall.EPIPE}
}

var _ io.Writer = broken{}

// Every code of the contract has a status, and every way to end its own.
func TestExitStatuses(t *testing.T) {
	t.Parallel()
	for code, want := range map[api.Code]int{
		api.Malformed: 1, api.Unauthenticated: 5, api.Refused: 5, api.NotFound: 4, api.NotAllowed: 1, api.Conflict: 6, api.Guarded: 5, api.Gone: 4,
		api.TooLarge: 1, api.Unsupported: 1, api.Unprocessable: 1, api.QueueFull: 6, api.TooMany: 1, api.Unavailable: 1, api.Internal: 1,
	} {
		if got := ExitOf(code); got != want {
			t.Errorf("ExitOf(%s) = %d, want %d", code, got, want)
		}
	}
	for state, want := range map[api.RunState]int{
		api.RunStateSucceeded: 0, api.RunStateFailed: 3, api.RunStateCanceled: 8, api.RunStateSkipped: 9, api.RunStateRunning: 1,
	} {
		if got := exitOfRun(state); got != want {
			t.Errorf("exitOfRun(%s) = %d, want %d", state, got, want)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errInterrupted)
	if got, _, _ := endOf(ctx, fmt.Errorf("read: %w", context.Canceled)); got != ExitInterrupted {
		t.Errorf("interrupted = %d, want %d", got, ExitInterrupted)
	}
	if got, text, _ := endOf(t.Context(), errors.New("disk full")); got != ExitError || text != "disk full" {
		t.Errorf("another error = %d %q", got, text)
	}
	for _, code := range []int{ExitOK, ExitError, ExitRunFailed, ExitNotFound, ExitRefused, ExitConflict, ExitTimeout, ExitCanceled, ExitRunSkipped, ExitUsage, ExitInterrupted} {
		if !strings.Contains(topics["exit-codes"], fmt.Sprintf("\n  %3d  ", code)) {
			t.Errorf("synctl help exit-codes does not say what %d means", code)
		}
	}
}

func TestTimes(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "0s", 640 * time.Millisecond: "640ms", time.Second: "1s", 1500 * time.Millisecond: "1.5s", 12 * time.Second: "12s", 125 * time.Second: "2m05s",
		3*time.Hour + 4*time.Minute: "3h04m", 52 * time.Hour: "2d 4h", -time.Second: "0s",
	} {
		if got := duration(d); got != want {
			t.Errorf("duration(%v) = %q, want %q", d, got, want)
		}
	}
	zone, err := time.LoadLocation("Europe/Amsterdam")
	if err != nil {
		t.Fatal(err)
	}
	k := clock{now: now, zone: zone}
	for text, want := range map[string]string{
		"2026-11-22T02:00:00Z": "2026-11-22T02:00:00Z", "2026-11-22 02:00": "2026-11-22T01:00:00Z", "2026-07-01": "2026-06-30T22:00:00Z",
		"-2h": "2026-11-22T19:00:00Z", "+30m": "2026-11-22T21:30:00Z", "now": "2026-11-22T21:00:00Z", "today": "2026-11-21T23:00:00Z",
		"yesterday": "2026-11-20T23:00:00Z", "tomorrow": "2026-11-22T23:00:00Z",
	} {
		got, err := k.parseTime("at", text)
		if err != nil || instant(got) != want {
			t.Errorf("parseTime(%q) = %v, %v, want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "soon", "-2", "2026-13-01", "2027-03-28 02:30"} {
		if got, err := k.parseTime("at", text); err == nil {
			t.Errorf("parseTime(%q) = %v, want an error", text, got)
		}
	}
	for at, want := range map[time.Time]string{
		now: "now", now.Add(-12 * time.Minute): "12m00s ago", now.Add(4 * time.Hour): "in 4h00m", now.Add(-48 * time.Hour): "Fri 20 Nov 22:00 CET", now.AddDate(-1, 0, 0): "22 Nov 2025 22:00 CET",
	} {
		if got := k.when(at); got != want {
			t.Errorf("when(%v) = %q, want %q", at, got, want)
		}
	}
}

// Every code that the format can report is explained.
func TestEveryCodeIsExplained(t *testing.T) {
	t.Parallel()
	code := regexp.MustCompile(`SYN1[0-9]{3}`)
	used := map[string]bool{}
	for _, dir := range []string{"pipeline", "schedule", "expr"} {
		files, err := filepath.Glob(filepath.Join("..", "..", dir, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no files of %s: %v", dir, err)
		}
		for _, f := range files {
			if strings.HasSuffix(f, "_test.go") {
				continue
			}
			source, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range code.FindAllString(string(source), -1) {
				used[c] = true
			}
		}
	}
	for c := range used {
		if !strings.Contains("\n"+codeTable, "\n"+c+"\t") {
			t.Errorf("synctl help %s has nothing to say", c)
		}
	}
	for row := range strings.Lines(codeTable) {
		if n := strings.Count(row, "\t"); n != 3 {
			t.Errorf("a row with %d tabs, want 3: %s", n, row)
		}
	}
}
