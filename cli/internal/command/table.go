package command

import (
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// A column of a table. Those of the highest rank are dropped first where a
// terminal is too narrow; rank 0 stays.
type column struct {
	name string
	rank int
	wide bool // shown with -o wide and in a pipe only
	cut  bool // may be shortened in the middle
}

// A cell is a value twice: for people and for programs.
type cell struct {
	human, program string
	shade          shade
}

func same(text string) cell { return cell{human: text, program: text} }

// A sheet is a table that a command prints.
type sheet struct {
	columns []column
	rows    [][]cell
}

func (s *sheet) add(cells ...cell) { s.rows = append(s.rows, cells) }

// table prints a sheet: fitted to a terminal; whole and separated by tabs
// elsewhere.
func (u *ui) table(s sheet) error {
	if !u.env.StdoutTTY {
		return u.out(s.tsv())
	}
	columns, _ := u.size()
	for _, row := range s.rows {
		for i := range row {
			row[i].human = u.fit(row[i].human)
		}
	}
	return u.out(s.fitted(columns, u.format == formatWide, u.colorOut, u.fit("…")))
}

func (s *sheet) tsv() string {
	var b strings.Builder
	for i, c := range s.columns {
		if i > 0 {
			b.WriteByte('\t')
		}
		b.WriteString(strings.ToUpper(c.name))
	}
	b.WriteByte('\n')
	for _, row := range s.rows {
		for i := range s.columns {
			if i > 0 {
				b.WriteByte('\t')
			}
			b.WriteString(cleanLine(row[i].program))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

const (
	gap    = 2
	minCut = 12
)

// fitted is the sheet on a terminal: no line is longer than it is wide.
func (s *sheet) fitted(width int, wide, color bool, dots string) string {
	shown := make([]int, 0, len(s.columns)) // the columns, by index
	widths := make([]int, len(s.columns))
	for i, c := range s.columns {
		if c.wide && !wide {
			continue
		}
		shown = append(shown, i)
		widths[i] = text.StringWidthWithoutEscSequences(c.name)
		for _, row := range s.rows {
			widths[i] = max(widths[i], text.StringWidthWithoutEscSequences(cleanLine(row[i].human)))
		}
	}
	total := func(least bool) int {
		n := gap * (len(shown) - 1)
		for _, i := range shown {
			if least && s.columns[i].cut {
				n += min(widths[i], minCut)
			} else {
				n += widths[i]
			}
		}
		return n
	}
	for !wide && total(true) > width {
		worst := -1
		for at, i := range shown {
			if s.columns[i].rank > 0 && (worst < 0 || s.columns[i].rank >= s.columns[shown[worst]].rank) {
				worst = at
			}
		}
		if worst < 0 {
			break
		}
		shown = append(shown[:worst:worst], shown[worst+1:]...)
	}
	for _, i := range shown {
		if over := total(false) - width; !wide && over > 0 && s.columns[i].cut {
			widths[i] = max(minCut, widths[i]-over)
		}
	}

	w := table.NewWriter()
	w.SetStyle(table.Style{Box: table.BoxStyle{PaddingRight: strings.Repeat(" ", gap)}})
	header := make(table.Row, 0, len(shown))
	for _, i := range shown {
		header = append(header, paint(color, dim, strings.ToUpper(s.columns[i].name)))
	}
	w.AppendRow(header)
	for _, row := range s.rows {
		r := make(table.Row, 0, len(shown))
		for _, i := range shown {
			r = append(r, paint(color, row[i].shade, middle(cleanLine(row[i].human), widths[i], dots)))
		}
		w.AppendRow(r)
	}
	var b strings.Builder
	for line := range strings.Lines(w.Render() + "\n") {
		b.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	return b.String()
}

// middle shortens a text in its middle.
func middle(s string, width int, dots string) string {
	room := width - len([]rune(dots))
	if text.StringWidthWithoutEscSequences(s) <= width || room < 2 {
		return s
	}
	r := []rune(s)
	head, tail := min((room+1)/2, len(r)), min(room/2, len(r))
	for head+tail > 0 {
		short := string(r[:head]) + dots + string(r[len(r)-tail:])
		if text.StringWidthWithoutEscSequences(short) <= width {
			return short
		}
		if head > tail {
			head--
		} else {
			tail--
		}
	}
	return dots
}
