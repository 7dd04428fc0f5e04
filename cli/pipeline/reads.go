package pipeline

import (
	"cmp"
	"slices"

	"github.com/synthesizer-dev/synthesizer/cli/expr"
)

// What a pipeline reads that is set outside of its file.
const (
	ReadSecret = "secret"
	ReadVar    = "var"
)

// A Read is a secret or a variable that a pipeline names, and the first place
// that does.
type Read struct {
	Kind, Name string
	Maybe      bool   // it may be missing: has_key or lookup asks about it
	Task       string // the task whose field it is; "" for the pipeline's own
	Line, Col  int    // in the file
}

// outside notes what an expression reads of secrets and variables. Those whose
// name is worked out are not known before it is evaluated.
func (d *document) outside(s site, refs []expr.Ref) {
	for _, r := range refs {
		if len(r.Path) < 2 {
			continue
		}
		read := Read{Name: r.Path[1], Maybe: r.Guard == expr.GuardKey}
		switch r.Path[0] {
		case "secrets":
			read.Kind = ReadSecret
		case "vars":
			read.Kind = ReadVar
		default:
			continue
		}
		if s.task != nil {
			read.Task = s.task.Name
		}
		at := d.within(s.Node, r.Offset, r.Len)
		read.Line, read.Col = at.line, at.col
		d.reads = append(d.reads, read)
	}
}

// firstReads keeps of each the first place that needs it, else the first at all,
// in order of kind and name.
func firstReads(all []Read) []Read {
	slices.SortStableFunc(all, func(a, b Read) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name), maybe(a)-maybe(b), a.Line-b.Line, a.Col-b.Col)
	})
	return slices.CompactFunc(all, func(a, b Read) bool { return a.Kind == b.Kind && a.Name == b.Name })
}

func maybe(r Read) int {
	if r.Maybe {
		return 1
	}
	return 0
}

// ValidVariable says whether text can name a variable or a secret.
func ValidVariable(text string) bool { return variableRE.MatchString(text) }

// LooksLikeCredential says whether a value should rather be a secret, by its
// name or by its form.
func LooksLikeCredential(name, value string) bool {
	return credentialValue.MatchString(value) || len(value) >= 4 && credentialName.MatchString(name)
}
