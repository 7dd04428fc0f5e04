package web

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/api"
)

// A Moment is an instant as a page shows it.
type Moment struct {
	At    string // RFC 3339
	Title string
	Text  string
	Ago   bool // a script adds how long ago it was, or how soon it comes
	Rel   string
}

// moment shows an instant in the reader's zone: with its day unless that is today's.
func (b Base) moment(t time.Time) Moment {
	local := t.In(b.Zone)
	layout := "2 Jan 15:04"
	switch {
	case local.Year() != b.Now.In(b.Zone).Year():
		layout = "2 Jan 2006 15:04"
	case local.Format("2006-01-02") == b.Now.In(b.Zone).Format("2006-01-02"):
		layout = "15:04:05"
		if local.Second() == 0 {
			layout = "15:04"
		}
	}
	m := Moment{
		At: t.UTC().Format(time.RFC3339), Text: local.Format(layout),
		Title: t.UTC().Format("2006-01-02 15:04:05.000") + " UTC",
	}
	if b.Zone.String() != "UTC" {
		m.Title += " · " + local.Format("15:04:05") + " " + b.Zone.String()
	}
	return m
}

func (b Base) ago(t time.Time) Moment {
	m := b.moment(t)
	m.Ago = true
	if d := b.Now.Sub(t); d >= 0 {
		m.Rel = roughly(d) + " ago"
	} else {
		m.Rel = "in " + roughly(-d)
	}
	return m
}

func (b Base) maybe(t *time.Time) *Moment {
	if t == nil {
		return nil
	}
	m := b.ago(*t)
	return &m
}

// zone names the reader's zone for the head of a table.
func (b Base) zone() string { return b.Zone.String() }

// valueText is a JSON value on one line, cut at n characters.
func valueText(raw json.RawMessage, n int) string {
	s := string(raw)
	var text string
	if json.Unmarshal(raw, &text) == nil && len(s) > 0 && s[0] == '"' {
		s = text
	}
	return cut(tidy(strings.ReplaceAll(s, "\n", "⏎")), n)
}

// short is the beginning of a name that nobody reads to its end.
func short(s string, n int) string { return s[:min(len(s), n)] }

func cut(s string, n int) string {
	r := []rune(s)
	if len(r) > n {
		return string(r[:n]) + "…"
	}
	return s
}

// paramsText is a run's params on one line.
func paramsText(v api.Values, n int) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(v)) {
		parts = append(parts, name+"="+valueText(v[name], 40))
	}
	return cut(strings.Join(parts, " "), n)
}
