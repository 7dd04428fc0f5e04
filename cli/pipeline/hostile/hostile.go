// Package hostile holds texts made to hurt a reader of pipeline files, with
// what must be answered; tests of every layer that reads files use it.
package hostile

import (
	"fmt"
	"strings"

	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
)

// A Case is a set of files and the answer they deserve.
type Case struct {
	// Number is that of the catalogue of hostile inputs; Name tells its cases
	// apart.
	Number int
	Name   string
	Files  []pipeline.File

	// OK says that the files are fine, however odd.
	OK bool
	// Code, Line and Col are those of one of the problems, and Word stands in
	// its message or hint. Line 0: anywhere.
	Code      string
	Line, Col int
	Word      string
	// Not must not stand in any message.
	Not string
}

// ID names the case for a test.
func (c Case) ID() string { return fmt.Sprintf("%02d-%s", c.Number, c.Name) }

const (
	tasks = "tasks: {t: {run: x}}\n"
	head  = "name: a\n"
)

func refused(number int, name, text, code string, line, col int, word string) Case {
	return Case{Number: number, Name: name, Files: one(text), Code: code, Line: line, Col: col, Word: word}
}

func fine(number int, name, text string) Case {
	return Case{Number: number, Name: name, Files: one(text), OK: true}
}

func one(text string) []pipeline.File { return []pipeline.File{{Name: "a.yaml", Text: []byte(text)}} }

// lines joins n texts.
func lines(n int, format string, args ...any) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, append([]any{i}, args...)...)
	}
	return b.String()
}

// Cases gives all cases.
func Cases() []Case {
	var all []Case
	for _, part := range [][]Case{
		yamlCases(), sizeCases(), documentCases(), nameCases(), cronCases(),
		graphCases(), scalarCases(), taskCases(), textCases(),
	} {
		all = append(all, part...)
	}
	return all
}

func yamlCases() []Case {
	bomb := "a: &a [x, x, x, x, x, x, x, x, x]\n"
	for c := 'b'; c <= 'i'; c++ {
		bomb += fmt.Sprintf("%c: &%c [*%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c]\n", c, c, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1)
	}
	return []Case{
		refused(1, "alias-bomb", bomb, "SYN1004", 1, 4, "anchors"),
		refused(2, "alias-to-itself", "a: &a [*a]\n", "SYN1004", 1, 4, "anchors"),
		refused(3, "merge-key", "base: &base {run: x}\nname: a\ntasks:\n  t:\n    <<: *base\n", "SYN1004", 5, 5, "defaults:"),
		refused(3, "merge-key-inline", "name: a\ntasks:\n  t:\n    <<: {run: x}\n", "SYN1004", 4, 5, "defaults:"),
		refused(4, "brackets", strings.Repeat("[", 20_000), "SYN1003", 1, 0, "deeper than 32"),
		refused(4, "brackets-closed", strings.Repeat("[", 5_000)+strings.Repeat("]", 5_000), "SYN1003", 1, 0, "deeper than 32"),
		refused(4, "dashes", strings.Repeat("- ", 20_000), "SYN1003", 1, 0, "deeper than 32"),
		refused(4, "maps", deep(33), "SYN1003", 0, 0, "deeper than 32"),
		refused(5, "40000-keys", lines(30_000, "k%d: \n"), "SYN1003", 1, 1, "20 000 nodes"),
	}
}

func deep(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String() + strings.Repeat(" ", n) + "b: c\n"
}

func sizeCases() []Case {
	many := make([]pipeline.File, 1_001)
	for i := range many {
		many[i] = pipeline.File{Name: fmt.Sprintf("f%04d.yaml", i), Text: []byte(fmt.Sprintf("name: p%d\n%s", i, tasks))}
	}
	large := make([]pipeline.File, 70)
	for i := range large {
		large[i] = pipeline.File{Name: fmt.Sprintf("f%02d.yaml", i), Text: []byte("#" + strings.Repeat("x", 256<<10-1))}
	}
	return []Case{
		refused(6, "large-file", "#"+strings.Repeat("x", 256<<10), "SYN1003", 1, 1, "262 144 bytes"),
		{Number: 6, Name: "1001-files", Files: many, Code: "SYN1003", Line: 1, Col: 1, Word: "1 000 at most"},
		{Number: 6, Name: "16-mib", Files: large, Code: "SYN1003", Line: 1, Col: 1, Word: "16 777 216 bytes"},
		refused(22, "501-tasks", head+"tasks:\n"+lines(501, "  t%d: {run: x}\n"), "SYN1003", 2, 1, "500 at most"),
		refused(22, "matrix", head+"tasks: {t: {run: x, matrix: {a: ["+strings.Repeat("x,", 1000)+"], b: ["+strings.Repeat("x,", 1000)+"]}}}\n", "SYN1407", 2, 0, "1 000 000 items"),
		refused(22, "for-each", head+"tasks: {t: {run: x, for_each: ["+strings.Repeat("x,", 10_001)+"]}}\n", "SYN1407", 2, 0, "10 000 at most"),
	}
}

func documentCases() []Case {
	two := head + tasks + "---\nname: b\n" + tasks
	return []Case{
		fine(8, "two-documents", two),
		fine(8, "empty-between", head+tasks+"---\n---\n# nothing\n---\nname: b\n"+tasks),
		refused(8, "second-broken", head+tasks+"---\nname: b\nowner: [x\n", "SYN1001", 5, 8, "closed"),
		refused(8, "second-of-unknown-kind", head+tasks+"---\nkind: pipelin\nname: b\n", "SYN1011", 4, 7, "pipeline"),
		refused(8, "101-documents", lines(101, "---\nname: p%d\n"+tasks), "SYN1003", 301, 1, "100 documents"),
		refused(8, "same-twice", head+tasks+"---\n"+head+tasks, "SYN1102", 4, 7, "a.yaml:1"),
		{Number: 8, Name: "same-in-two-files", Files: []pipeline.File{{Name: "a.yaml", Text: []byte(head + tasks)}, {Name: "b.yaml", Text: []byte("\n" + head + tasks)}}, Code: "SYN1102", Line: 2, Col: 7, Word: "a.yaml:1"},
		refused(9, "empty", "", "SYN1005", 1, 1, "map"),
		refused(9, "comments", "# a\n\n# b\n", "SYN1005", 1, 1, "map"),
		refused(9, "null", "null\n", "SYN1005", 1, 1, "map"),
		refused(9, "scalar", "hello\n", "SYN1005", 1, 1, "map"),
		refused(9, "list", "- a\n", "SYN1005", 1, 1, "map"),
		refused(10, "not-utf8", "name: a\nowner: \xff\xfe\n"+tasks, "SYN1002", 2, 8, "byte 15"),
		refused(10, "nul", "name: a\nowner: x\x00y\n"+tasks, "SYN1002", 2, 9, "U+0000"),
		refused(10, "nul-escaped", "name: a\nowner: \"x\\0y\"\n"+tasks, "SYN1002", 2, 9, "U+0000"),
		refused(10, "utf16", "\xff\xfen\x00a\x00m\x00e\x00", "SYN1002", 1, 1, "UTF-16"),
		refused(10, "next-line", "name: a\nowner: x\u0085y\n"+tasks, "SYN1002", 2, 9, "U+0085"),
		refused(10, "line-separator", "name: a # x\u2028owner: y\n"+tasks, "SYN1002", 1, 12, "U+2028"),
		fine(10, "bom", "\ufeff"+head+tasks),
		fine(10, "crlf", "name: a\r\ntasks: {t: {run: x}}\r\n"),
		fine(10, "cr", "name: a\rtasks: {t: {run: x}}\r"),
		refused(11, "key-twice", head+"owner: x\nowner: y\n"+tasks, "SYN1007", 3, 1, "line 2"),
		refused(12, "typo", head+"shedule: '@daily'\n"+tasks, "SYN1006", 2, 1, "schedule"),
		refused(23, "task-twice", head+"tasks:\n  t: {run: x}\n  t: {run: y}\n", "SYN1007", 4, 3, "line 3"),
		refused(23, "task-in-another-case", head+"tasks:\n  t: {run: x}\n  T: {run: y}\n", "SYN1101", 4, 3, "a-z"),
		refused(39, "fields-of-the-server", head+"id: 3\n"+tasks, "SYN1006", 2, 1, "id"),
		{Number: 41, Name: "file-names", Files: []pipeline.File{{Name: "../x\u202e.yaml", Text: []byte("- a\n")}, {Name: "/" + strings.Repeat("n", 4096), Text: []byte("- b\n")}}, Code: "SYN1005", Line: 1, Col: 1, Word: "map", Not: "\u202e"},
	}
}

func nameCases() []Case {
	cases := []Case{
		fine(14, "no", "name: no\n"+tasks),
		fine(14, "123", "name: 123\n"+tasks),
		fine(14, "date", "name: 2024-01-01\n"+tasks),
		fine(14, "words", "name: a\nowner: on\nenv: {A: yes, B: off, y: 012, VERSION: 1.10, D: 2024-01-01}\n"+tasks),
		refused(14, "null", "name: ~\n"+tasks, "SYN1010", 1, 7, "no value"),
		refused(14, "on", head+"on: x\n"+tasks, "SYN1006", 2, 1, "schedule"),
		refused(14, "yes", head+"manual: yes\n"+tasks, "SYN1009", 2, 9, "true or false"),
		fine(15, "names-of-routes", "name: healthz\n"+tasks+"---\nname: login\n"+tasks),
	}
	for name, text := range map[string]string{
		"empty": `""`, "long": strings.Repeat("x", 300), "dots": "../../etc", "slash": "a/b", "dot": ".", "dash": "-rf",
		"space": `"a "`, "emoji": "\U0001f600", "rtl": "\"a\u202eb\"", "cyrillic": "p\u0430yroll",
	} {
		col := 7
		if text[0] == '"' {
			col = 8
		}
		cases = append(cases, Case{Number: 13, Name: name, Files: one("name: " + text + "\n" + tasks), Code: "SYN1101", Line: 1, Col: col, Word: "a-z", Not: "\u202e"})
	}
	return cases
}

func cronCases() []Case {
	cron := func(number int, name, text, code, word string) Case {
		return refused(number, name, head+"schedule: "+quote(text)+"\n"+tasks, code, 2, 0, word)
	}
	zone := func(name string) Case {
		return refused(21, "zone-"+strings.Trim(strings.ReplaceAll(name, "/", "_"), "."), head+"timezone: "+quote(name)+"\n"+tasks, "SYN1207", 2, 12, "zone")
	}
	return []Case{
		cron(16, "four-fields", "0 2 * *", "SYN1202", "four"),
		cron(16, "six-fields", "0 0 2 * * *", "SYN1202", "six"),
		cron(16, "eight-fields", "0 0 2 * * * * *", "SYN1202", "eight"),
		cron(16, "minute", "75 * * * *", "SYN1203", "59"),
		cron(16, "hour", "0 26 * * *", "SYN1203", "23"),
		cron(16, "day", "0 0 0 * *", "SYN1203", "1"),
		cron(16, "month", "0 0 1 14 *", "SYN1203", "12"),
		cron(16, "step", "*/0 * * * *", "SYN1203", "step"),
		cron(16, "backward", "40-20 * * * *", "SYN1203", "backward"),
		cron(16, "empty-item", "3,,9 * * * *", "SYN1203", "empty"),
		cron(16, "comma-at-end", "3, * * * *", "SYN1203", "empty"),
		cron(16, "sign", "+5 * * * *", "SYN1203", ""),
		cron(16, "open-range", "5- * * * *", "SYN1203", ""),
		cron(16, "two-dashes", "1-2-3 * * * *", "SYN1203", ""),
		cron(16, "bad-after-good", "7,99 * * * *", "SYN1203", "59"),
		cron(17, "tz", "TZ=UTC 0 2 * * *", "SYN1204", "timezone"),
		cron(17, "cron-tz", "CRON_TZ=Europe/Rome 0 2 * * *", "SYN1204", "timezone"),
		cron(17, "tz-alone", "TZ=UTC", "SYN1204", "timezone"),
		cron(18, "20-digits", "12345678901234567890 * * * *", "SYN1203", ""),
		cron(18, "commas", strings.Repeat(",", 30_000), "SYN1202", "256"),
		cron(18, "superscript", "\u00b2 * * * *", "SYN1203", ""),
		cron(18, "full-width", "\uff15 * * * *", "SYN1203", ""),
		cron(18, "nbsp", "0\u00a02 * * *", "", ""),
		fine(18, "tabs", head+"schedule: \"0\\t2 * * *\"\n"+tasks),
		cron(19, "never", "0 0 31 2,4 *", "SYN1205", "never"),
		cron(20, "every", "@every 1ns", "SYN1204", "every"),
		cron(20, "reboot", "@reboot", "SYN1204", "@daily"),
		cron(20, "fortnight", "@fortnight", "SYN1204", "@daily"),
		cron(20, "5minutes", "@5minutes", "SYN1204", "@daily"),
		cron(20, "sixth-friday", "0 0 * * FRI#6", "SYN1203", ""),
		cron(20, "l-as-minute", "L * * * *", "SYN1203", ""),
		cron(20, "l-minus", "0 0 L-3 * *", "SYN1203", ""),
		cron(20, "h", "H * * * *", "SYN1203", ""),
		cron(20, "question", "0 0 ? * *", "SYN1203", ""),
		fine(20, "last-day", head+"schedule: 0 0 L * *\n"+tasks),
		fine(20, "weekday", head+"schedule: 0 0 15W * *\n"+tasks),
		fine(20, "second-friday", head+"schedule: 0 0 * * FRI#2\n"+tasks),
		zone("Local"), zone("localtime"), zone("posixrules"), zone("right/Europe/Berlin"), zone("../../etc/passwd"),
		zone("europe/berlin"), zone("EST5EDT4"), zone(""),
	}
}

// quote writes text as a quoted scalar.
func quote(s string) string { return `"` + s + `"` }
