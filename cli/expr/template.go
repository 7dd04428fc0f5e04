package expr

import (
	"errors"
	"strings"
)

// A Template is a compiled text that may hold ${{ }}. It never changes and may
// be evaluated by many goroutines at once.
type Template struct {
	parts []part
	refs  []Ref
	typ   Type
	src   string
}

// A part is literal text or, if it has one, an expression.
type part struct {
	literal string
	program *Program
}

// maxErrors bounds the errors told of one text.
const maxErrors = 20

// Contains says whether the text holds an expression: ${{ that is not written
// as $${{.
func Contains(text string) bool {
	_, _, found := nextOpen(text, 0)
	return found
}

// nextOpen finds the next ${{ from pos on and gives the literal text before it.
func nextOpen(text string, pos int) (literal string, open int, found bool) {
	var b strings.Builder
	from := pos
	for {
		i := strings.Index(text[from:], "${{")
		if i < 0 {
			return b.String() + text[from:], len(text), false
		}
		i += from
		if i == from || text[i-1] != '$' {
			return b.String() + text[from:i], i, true
		}
		b.WriteString(text[from : i-1]) // without the $ that escapes
		b.WriteString("${{")
		from = i + 3
	}
}

// Escape writes text so that a Template gives it back as it is.
func Escape(text string) string { return strings.ReplaceAll(text, "${{", "$${{") }

// CompileTemplate reads a text that may hold expressions. One that stands alone
// gives its value, of the type the scope wants; among other text values are
// written into it. All mistakes are told together; Errors lists them.
func CompileTemplate(text string, s Scope) (*Template, error) {
	t := &Template{src: text}
	var wrong []error
	mixed := s
	mixed.AsText = true
	for pos := 0; len(wrong) < maxErrors; {
		literal, open, found := nextOpen(text, pos)
		if literal != "" {
			t.parts = append(t.parts, part{literal: literal})
		}
		if !found {
			break
		}
		p := parser{src: text, pos: open + 3, start: open + 3, braced: true, open: span{open, open + 3}}
		root, failed := p.parse()
		if failed != nil {
			wrong = append(wrong, failed)
			if failed.Code == CodeNotClosed {
				break
			}
			// Where this one ends is a guess; the next }} is a fair one, and the
			// parser may have read half of it.
			from := max(p.pos-1, open+3)
			next := strings.Index(text[from:], "}}")
			if next < 0 {
				break
			}
			pos = from + next + 2
			continue
		}
		pos = p.pos + 2
		scope := mixed
		if open == 0 && pos == len(text) {
			scope = s
		}
		prog, failed := compile(text, root, scope)
		if failed != nil {
			wrong = append(wrong, failed)
			continue
		}
		t.parts = append(t.parts, part{program: prog})
		t.refs = append(t.refs, prog.refs...)
	}
	if err := t.finish(s); err != nil && len(wrong) == 0 {
		wrong = append(wrong, err)
	}
	switch len(wrong) {
	case 0:
		return t, nil
	case 1:
		return nil, wrong[0]
	}
	return nil, errors.Join(wrong...)
}

// finish types the whole. A text that only has literal parts is left to the
// caller, who knows how the field's type is written.
func (t *Template) finish(s Scope) error {
	t.typ = Of(KindString)
	if t.Alone() {
		t.typ = t.parts[0].program.typ
	} else if _, literal := t.Literal(); !literal && !s.AsText && !t.typ.Fits(s.Want) {
		return span{0, len(t.src)}.at(t.src, CodeType, gives(t.typ, s.Field, s.Want), "the expression alone, without text around it")
	}
	return nil
}

// Alone says whether the text is one expression and nothing else.
func (t *Template) Alone() bool { return len(t.parts) == 1 && t.parts[0].program != nil }

// Literal gives the text, with $${{ read as ${{, if it holds no expression.
func (t *Template) Literal() (string, bool) {
	switch {
	case len(t.parts) == 0:
		return "", true
	case len(t.parts) == 1 && t.parts[0].program == nil:
		return t.parts[0].literal, true
	}
	return "", false
}

// Type is what Eval gives: the type of an expression standing alone, else a
// string.
func (t *Template) Type() Type { return t.typ }

// Refs lists what the expressions read. The slice must not be changed.
func (t *Template) Refs() []Ref { return t.refs }

// UsesStatus says whether an expression calls a status function.
func (t *Template) UsesStatus() bool {
	for _, p := range t.parts {
		if p.program != nil && p.program.status {
			return true
		}
	}
	return false
}

// Eval gives the typed value of an expression standing alone, else the text.
func (t *Template) Eval(vars Vars) (any, error) {
	if t.Alone() && !t.parts[0].program.scope.asText {
		return t.parts[0].program.Eval(vars)
	}
	return t.String(vars)
}

// String gives the text, as a field of strings wants it: values are written by
// the rules of Text, standing alone or not.
func (t *Template) String(vars Vars) (string, error) { return t.Encode(vars, nil) }

// Encode is String, with each value passed through encode before it is written
// into the text, but for one at the very start.
func (t *Template) Encode(vars Vars, encode func(string) string) (string, error) {
	var b strings.Builder
	for i, p := range t.parts {
		if p.program == nil {
			b.WriteString(p.literal)
			continue
		}
		s, err := p.program.text(&vars)
		if err != nil {
			return "", err
		}
		if i > 0 && encode != nil {
			s = encode(s)
		}
		if b.Len()+len(s) > maxResult {
			return "", p.program.root.place().at(t.src, "", "the result is larger than 256 KiB", "pass large data by address")
		}
		b.WriteString(s)
	}
	return b.String(), nil
}
