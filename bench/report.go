package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"
)

// A line is one figure of the report.
type line struct {
	Row   string  `json:"row"` // P1 …
	What  string  `json:"what"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	// Gate is what it must reach, Goal where it is to go; zero: it is only told.
	Gate float64 `json:"gate,omitzero"`
	Goal float64 `json:"goal,omitzero"`
	// More says that a larger value is better.
	More bool `json:"more,omitzero"`
	// Noisy: others used too much of the machine while it was measured.
	Noisy  bool      `json:"noisy,omitzero"`
	Note   string    `json:"note,omitzero"`
	Values []float64 `json:"values,omitzero"` // of each round
}

// reaches says whether a line's value is at least as good as a bar.
func (l line) reaches(bar float64) bool {
	if l.More {
		return l.Value >= bar
	}
	return l.Value <= bar
}

func (l line) verdict() string {
	switch {
	case l.Gate == 0 && l.Goal == 0:
		return ""
	case l.Goal != 0 && l.reaches(l.Goal):
		return "goal"
	case l.Gate == 0 || l.reaches(l.Gate):
		return "gate"
	}
	return "BELOW"
}

// A report is one run of the benchmark.
type report struct {
	Commit   string             `json:"commit"`
	At       time.Time          `json:"at"`
	Machine  string             `json:"machine"`
	Server   string             `json:"server"`
	Go       string             `json:"go"`
	Short    bool               `json:"short"`
	Lines    []line             `json:"lines"`
	Rounds   map[string][]round `json:"rounds"`
	Failures []string           `json:"failures"`
}

func newReport(short bool) *report {
	return &report{Commit: commit(), At: time.Now().UTC(), Machine: machine(), Go: runtime.Version(), Short: short, Rounds: map[string][]round{}, Failures: []string{}}
}

// write prints the table.
func (r *report) write(w io.Writer) {
	fmt.Fprintf(w, "\n%s, %s\n%s, %s\n\n", r.Commit, r.At.Format("2006-01-02 15:04 MST"), r.Machine, r.Server)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "row\twhat\tmeasured\tgate\tgoal\t\t")
	for _, l := range r.Lines {
		sign := "≤"
		if l.More {
			sign = "≥"
		}
		bar := func(v float64) string {
			if v == 0 {
				return ""
			}
			return sign + " " + number(v)
		}
		note := l.Note
		if l.Noisy {
			note = strings.TrimPrefix(note+"; others used the machine", "; ")
		}
		fmt.Fprintf(t, "%s\t%s\t%s %s\t%s\t%s\t%s\t%s\n", l.Row, l.What, number(l.Value), l.Unit, bar(l.Gate), bar(l.Goal), l.verdict(), note)
	}
	_ = t.Flush() // a failing write of the terminal has nobody to be told to
	if r.Short {
		fmt.Fprintln(w, "\nA short run: it checks that all is correct, its figures say nothing.")
	}
	for _, f := range r.Failures {
		fmt.Fprintln(w, "\nWRONG:", f)
	}
}

// number writes three significant digits.
func number(v float64) string {
	switch a := math.Abs(v); {
	case a >= 1000:
		return fmt.Sprintf("%.0f", v)
	case a >= 100:
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	case a >= 1:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

// save keeps the report by its commit: as JSON, and as text that benchstat reads.
func (r *report) save(dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	name := filepath.Join(dir, r.Commit+"-"+r.At.Format("20060102T150405"))
	text, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return "", fmt.Errorf("write the results: %w", err)
	}
	if err := os.WriteFile(name+".json", append(text, '\n'), 0o644); err != nil {
		return "", err
	}
	return name + ".json", os.WriteFile(name+".txt", []byte(r.benchstat()), 0o644)
}

// benchstat writes each round as a line of Go's benchmark format.
func (r *report) benchstat() string {
	var s strings.Builder
	fmt.Fprintf(&s, "commit: %s\nmachine: %s\n", r.Commit, r.Machine)
	for _, rounds := range r.Rounds {
		for _, round := range rounds {
			for _, t := range round {
				fmt.Fprintf(&s, "Benchmark/%s %d %.0f tasks/s %.1f client-µs/task %.1f postgres-µs/task %.0f WAL-B/task\n",
					t.Contender, t.Tasks, t.Rate, t.per(t.Client), t.per(t.Postgres), float64(t.WAL)/float64(t.Tasks))
			}
		}
	}
	name := strings.NewReplacer(" ", "_", "→", "-", ",", "", "/", "_")
	for _, l := range r.Lines {
		values := l.Values
		if len(values) == 0 {
			values = []float64{l.Value}
		}
		for _, v := range values {
			fmt.Fprintf(&s, "Benchmark%s/%s 1 %g %s\n", l.Row, name.Replace(l.What), v, strings.ReplaceAll(l.Unit, " ", "_"))
		}
	}
	return s.String()
}

// commit names the source that is measured.
func commit() string {
	out, err := exec.Command("git", "rev-parse", "--short=12", "HEAD").Output()
	if err != nil {
		return "unknown"
	}
	name := strings.TrimSpace(string(out))
	if out, err := exec.Command("git", "status", "--porcelain", "--untracked-files=no").Output(); err == nil && len(out) > 0 {
		name += "-changed"
	}
	return name
}

func machine() string {
	name := "unknown processor"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for l := range strings.Lines(string(text)) {
			if k, v, ok := strings.Cut(l, ":"); ok && strings.TrimSpace(k) == "model name" {
				name = strings.TrimSpace(v)
				break
			}
		}
	}
	return fmt.Sprintf("%d × %s, %s/%s", runtime.NumCPU(), name, runtime.GOOS, runtime.GOARCH)
}
