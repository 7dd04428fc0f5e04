package local

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
)

// The pipelines that the repository ships, on what this machine really has. They
// are outside of this module, and not there where only the module is.
const examples = "../../../examples"

// example gives the text of a shipped pipeline, once all of them are seen to be
// without fault together, warnings included.
func example(t *testing.T, name string) string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(examples, "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if len(paths) == 0 {
		t.Skip("EXAMPLES NOT TESTED: this is the module without its repository")
	}
	var files []pipeline.File
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, pipeline.File{Name: filepath.Base(path), Text: text})
	}
	if _, problems := pipeline.Parse(files, pipeline.Options{}); len(problems.List) > 0 {
		t.Fatalf("%s", problems.Text(files, false))
	}
	at := slices.IndexFunc(files, func(f pipeline.File) bool { return f.Name == name+".yaml" })
	if at < 0 {
		t.Fatalf("there is no example %s", name)
	}
	return string(files[at].Text)
}

// Every example has a test here: a new one without would go unnoticed.
func TestEveryExampleIsTested(t *testing.T) {
	example(t, "hello")
	paths, err := filepath.Glob(filepath.Join(examples, "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, path := range paths {
		names = append(names, strings.TrimSuffix(filepath.Base(path), ".yaml"))
	}
	if diff := cmp.Diff([]string{"broken", "debian_inventory", "hello", "tz_report"}, names); diff != "" {
		t.Errorf("examples (-tested +there):\n%s", diff)
	}
}

func TestExampleHello(t *testing.T) {
	s := run(t, t.Context(), example(t, "hello"), map[string]any{"name": "Zoë"}, nil)
	if got, want := s.told(), "greet:succeeded count:succeeded"; got != want {
		t.Fatalf("tasks %s, want %s\n%s", got, want, s.out.String())
	}
	if diff := cmp.Diff(map[string]any{"greeting": "hello, Zoë", "characters": int64(10)}, s.Outputs); diff != "" {
		t.Errorf("outputs (-want +got):\n%s", diff)
	}
	if !strings.HasPrefix(s.out.String(), "hello, Zoë\n") || !strings.Contains(s.out.String(), "said: hello, Zoë\n") {
		t.Errorf("printed %q", s.out.String())
	}
}

// installed asks dpkg-query, in a way of its own, for the packages of this
// machine: how many there are, their KiB, and the names of their sections.
func installed(t *testing.T) (packages, kib int64, sections []string) {
	t.Helper()
	query := exec.CommandContext(t.Context(), "dpkg-query", "-W", "-f", "${Status}|${Installed-Size}|${Section}\n")
	query.Env = append(os.Environ(), "LC_ALL=C")
	out, err := query.Output()
	if err != nil {
		t.Fatalf("dpkg-query: %v", err)
	}
	for line := range strings.Lines(string(out)) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), "|")
		if len(fields) != 3 || !strings.HasSuffix(fields[0], " ok installed") {
			continue
		}
		size, section := int64(0), fields[2][strings.LastIndexByte(fields[2], '/')+1:]
		if fields[1] != "" {
			if _, err := fmt.Sscan(fields[1], &size); err != nil {
				t.Fatalf("size %q: %v", fields[1], err)
			}
		}
		if section == "" {
			section = "unknown"
		}
		packages, kib, sections = packages+1, kib+size, append(sections, section)
	}
	slices.Sort(sections)
	return packages, kib, slices.Compact(sections)
}

// needDpkg skips a test, loudly, where there are no packages to count.
func needDpkg(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("dpkg-query"); err != nil {
		t.Skip("EXAMPLE debian_inventory NOT TESTED: this machine has no dpkg-query")
	}
	if info, err := os.Stat("/var/lib/dpkg/status"); err != nil || info.Size() == 0 {
		t.Skip("EXAMPLE debian_inventory NOT TESTED: this machine has no packages in /var/lib/dpkg/status")
	}
}

func TestExampleDebianInventory(t *testing.T) {
	needDpkg(t)
	s := run(t, t.Context(), example(t, "debian_inventory"), map[string]any{"top": int64(3)}, nil)
	if s.State != flow.Succeeded {
		t.Fatalf("%s %s: %s\n%s", s.State, s.Reason, s.told(), s.out.String())
	}
	packages, kib, sections := installed(t)
	if packages == 0 || kib == 0 || len(sections) < 2 {
		t.Fatalf("dpkg-query knows %d packages of %d KiB in %v", packages, kib, sections)
	}
	want := map[string]any{
		"packages": packages, "kib": kib, "sections": int64(len(sections)),
		"largest": s.Outputs["largest"], // compared with the items below
	}
	if diff := cmp.Diff(want, s.Outputs); diff != "" {
		t.Errorf("outputs (-dpkg-query +got):\n%s", diff)
	}

	// One item per section, and what they found adds up.
	var found []string
	var sum, most int64
	var largest string
	for _, item := range s.Tasks {
		if item.Name != "measure" || item.Index < 0 {
			continue
		}
		name, size := fmt.Sprint(item.Item), item.Outputs["kib"].(int64)
		found, sum = append(found, name), sum+size
		if size > most {
			most, largest = size, name
		}
	}
	if diff := cmp.Diff(sections, found); diff != "" {
		t.Errorf("items of measure (-dpkg-query +got):\n%s", diff)
	}
	if sum != kib || s.Outputs["largest"] != largest {
		t.Errorf("items add up to %d KiB, largest %s; want %d and %v", sum, largest, kib, s.Outputs["largest"])
	}
	summary := s.task("report").Attempts[0].Summary
	if rows := regexp.MustCompile(`(?m)^\| [a-z]\S* \| \d+ \| [\d.]+ \|$`).FindAllString(summary, -1); len(rows) != 3 ||
		!strings.HasPrefix(rows[0], "| "+largest+" |") || !strings.HasPrefix(summary, fmt.Sprintf("# %d packages, ", packages)) {
		t.Errorf("summary:\n%s", summary)
	}
}

// A sum that is not dpkg-query's fails the run: the check is one.
func TestExampleDebianInventoryNoticesADifference(t *testing.T) {
	needDpkg(t)
	real, err := os.ReadFile("/var/lib/dpkg/status")
	if err != nil {
		t.Fatal(err)
	}
	// dpkg-query reads the directory of a file, which holds another status file
	// than the one that the tasks read: with one package less.
	first, rest, ok := bytes.Cut(real, []byte("\n\n"))
	if !ok || !bytes.Contains(first, []byte(" installed\n")) {
		t.Skipf("the first paragraph of the status file is no installed package: %.80q", first)
	}
	dir := t.TempDir()
	for name, text := range map[string][]byte{"status": real, "less": rest} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s := run(t, t.Context(), example(t, "debian_inventory"), map[string]any{"status": filepath.Join(dir, "less")}, nil)
	total := s.task("total")
	if s.State != flow.Failed || total.State != flow.Failed || len(total.Attempts) != 1 || !strings.Contains(s.out.String(), "the sums differ") {
		t.Errorf("%s, total %s after %d attempts, printed:\n%s", s.State, total.State, len(total.Attempts), s.out.String())
	}
	if report := s.task("report"); report.State != flow.Skipped {
		t.Errorf("report %s", report.State)
	}
}

func TestExampleTzReport(t *testing.T) {
	zones := []any{"America/Santiago", "Asia/Tokyo", "Australia/Lord_Howe", "Nowhere/Land"}
	s := run(t, t.Context(), example(t, "tz_report"), map[string]any{"zones": zones, "days": int64(400)}, nil)
	if s.State != flow.Succeeded {
		t.Fatalf("%s %s: %s\n%s", s.State, s.Reason, s.told(), s.out.String())
	}
	if s.task("zones").State == flow.Skipped {
		if _, err := exec.LookPath("zdump"); err == nil {
			if _, err := os.Stat("/usr/share/zoneinfo/UTC"); err == nil {
				t.Errorf("skipped where zdump and its data are there:\n%s", s.out.String())
			}
		}
		t.Skipf("EXAMPLE tz_report SKIPPED ITSELF: %s", s.out.String())
	}
	out := s.out.String()
	if !strings.Contains(out, "Nowhere/Land: not in /usr/share/zoneinfo, left out\n") || !strings.Contains(out, "Asia/Tokyo: no change within 400 days\n") {
		t.Errorf("printed:\n%s", out)
	}
	// 400 days hold two or three changes of a zone that has two a year. Lord Howe
	// moves by half an hour, Santiago by a whole one.
	for zone, shift := range map[string]string{"America/Santiago": "60", "Australia/Lord_Howe": "30"} {
		line := regexp.MustCompile(`(?m)^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ ` + zone + ` [+-]` + shift + ` min, then \S+$`)
		if n := len(line.FindAllString(out, -1)); n != 2 && n != 3 {
			t.Errorf("%d changes of %s told, want 2 or 3:\n%s", n, zone, out)
		}
	}
	summary := s.task("report").Attempts[0].Summary
	if n := int64(strings.Count(summary, "\n- ")); n == 0 || s.Outputs["changes"] != n || s.Outputs["zones"] != int64(3) {
		t.Errorf("outputs %v, and the summary lists %d changes:\n%s", s.Outputs, n, summary)
	}
}

// Where there is nothing to read, it says so and is skipped.
func TestExampleTzReportWithoutData(t *testing.T) {
	s := run(t, t.Context(), example(t, "tz_report"), map[string]any{"dir": filepath.Join(t.TempDir(), "none")}, nil)
	if got, want := s.told(), "zones:skipped(exit_code) changes:skipped(upstream) report:skipped(upstream)"; got != want {
		t.Errorf("tasks %s, want %s", got, want)
	}
	if !strings.HasPrefix(s.out.String(), "no time zone data in ") {
		t.Errorf("printed %q", s.out.String())
	}
	if diff := cmp.Diff(map[string]any{"zones": int64(0), "changes": int64(0), "tzdata": "none"}, s.Outputs); diff != "" || s.State != flow.Succeeded {
		t.Errorf("%s %s, outputs (-want +got):\n%s", s.State, s.Detail, diff)
	}
}

func TestExampleBroken(t *testing.T) {
	s := run(t, t.Context(), example(t, "broken"), nil, nil)
	if got, want := s.told(), "extract:succeeded transform:succeeded load:failed(exit)"; got != want || s.State != flow.Failed {
		t.Fatalf("%s: tasks %s, want %s", s.State, got, want)
	}
	attempts := s.task("load").Attempts
	if len(attempts) != 2 {
		t.Fatalf("load had %d attempts, want 2", len(attempts))
	}
	for _, a := range attempts {
		if a.ExitCode == nil || *a.ExitCode != 3 {
			t.Errorf("attempt %d: %+v, want exit code 3", a.Number, a)
		}
	}
	want := "order 3: cannot load 7.00 XYZ\nValueError: unknown currency \"XYZ\" (EUR, USD and GBP are known)\n"
	if !strings.HasSuffix(s.out.String(), want) {
		t.Errorf("the last that it prints is not its error:\n%s", s.out.String())
	}
}

func TestExampleBrokenMended(t *testing.T) {
	s := run(t, t.Context(), example(t, "broken"), map[string]any{"currency": "EUR"}, nil)
	if s.State != flow.Succeeded || !strings.HasSuffix(s.out.String(), "loaded 3 orders\n") {
		t.Errorf("%s: %s\n%s", s.State, s.told(), s.out.String())
	}
}
