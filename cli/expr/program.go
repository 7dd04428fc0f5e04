package expr

import (
	"errors"
	"strings"
)

// A Program is a compiled expression. It never changes and may be evaluated by
// many goroutines at once.
type Program struct {
	src    string
	root   node
	typ    Type
	scope  outlet
	refs   []Ref
	status bool
	secret bool // it reads secrets: messages must not quote values
}

// outlet is what remains of the scope: what the field wants.
type outlet struct {
	field  string
	want   Type
	asText bool
}

// Compile reads a field that is an expression whole, such as a condition. Braces
// around it are allowed and change nothing.
func Compile(text string, s Scope) (*Program, error) {
	begin := len(text) - len(strings.TrimLeft(text, " \t\r\n"))
	p := parser{src: text, pos: begin, start: begin}
	if strings.HasPrefix(text[begin:], "${{") {
		p.braced = true
		p.open = span{begin, begin + 3}
		p.pos, p.start = begin+3, begin+3
	}
	root, failed := p.parse()
	if failed != nil {
		return nil, failed
	}
	if p.braced {
		rest := p.pos + 2
		rest += len(text[rest:]) - len(strings.TrimLeft(text[rest:], " \t\r\n"))
		if rest < len(text) {
			return nil, span{rest, len(text)}.at(text, CodeSyntax, "expression: there is more behind the }}", "braces hold the whole condition, or leave them out")
		}
	}
	prog, failed := compile(text, root, s)
	if failed != nil {
		return nil, failed
	}
	return prog, nil
}

// compile types a parsed expression and checks what it gives.
func compile(src string, root node, s Scope) (*Program, *Error) {
	c := checker{src: src, scope: &s}
	t := c.value(root)
	if c.failed != nil {
		return nil, c.failed
	}
	t.Optional = false
	switch {
	case s.AsText && t.is(KindNull, KindList, KindRecord, KindDict):
		return nil, insideText(root.place(), src, t)
	case !s.AsText && !t.Fits(s.Want):
		return nil, root.place().at(src, CodeType, gives(t, s.Field, s.Want), "")
	}
	p := &Program{src: src, root: root, typ: t, scope: outlet{s.Field, s.Want, s.AsText}, status: c.status}
	p.refs = collect(root, nil, src, nil)
	for _, r := range p.refs {
		p.secret = p.secret || r.Path[0] == "secrets"
	}
	return p, nil
}

func insideText(s span, src string, t Type) *Error {
	hint := "to_json(…)"
	if t.Kind == KindNull {
		hint = `"" for empty text`
	}
	return s.at(src, CodeType, t.Kind.String()+" inside text", hint)
}

func gives(t Type, field string, want Type) string {
	if field == "" {
		return "gives " + t.bare() + ", " + want.String() + " is wanted"
	}
	return "gives " + t.bare() + ", " + field + " wants " + want.String()
}

// Type is what the expression gives; dynamic if that is known only later.
func (p *Program) Type() Type { return p.typ }

// UsesStatus says whether the expression calls success() or another status
// function.
func (p *Program) UsesStatus() bool { return p.status }

// Refs lists what the expression reads, in the order it reads it. The slice must
// not be changed.
func (p *Program) Refs() []Ref { return p.refs }

// ReadsOutcome says whether the expression looks at the .result, .reason or
// .counts of a task in needs. A condition that does, or that UsesStatus, is taken
// at its word; any other also means success().
func (p *Program) ReadsOutcome() bool {
	for _, r := range p.refs {
		if len(r.Path) > 2 && r.Path[0] == "needs" {
			switch r.Path[2] {
			case "result", "reason", "counts":
				return true
			}
		}
	}
	return false
}

// Eval gives the value of the expression, of the type the scope wants. Errors
// are *Error, and unwrap to that of a Lazy value if one could not be fetched.
func (p *Program) Eval(vars Vars) (any, error) {
	v, err := p.eval(&vars)
	if err != nil {
		return nil, err
	}
	return v, nil
}

func (p *Program) eval(vars *Vars) (any, *Error) {
	v, r, err := p.raw(vars)
	if err != nil {
		return nil, err
	}
	if want := p.scope.want; want.Kind != KindDynamic && !p.scope.asText {
		if kind := Of(kindOf(v)); !kind.is(KindNumber) && !outermost(kind).Fits(outermost(want)) {
			return nil, r.fail(p.root, gives(kind, p.scope.field, want), "")
		}
		conformed, err := want.Conform(v)
		if e, ok := errors.AsType[*Error](err); ok {
			return nil, r.placed(p.root, e)
		}
		v = conformed
	}
	return v, nil
}

// outermost drops the parts of a type.
func outermost(t Type) Type {
	if t.Kind == KindRecord {
		return DictOf(Type{})
	}
	return Of(t.Kind)
}

// raw evaluates and bounds the result.
func (p *Program) raw(vars *Vars) (any, *run, *Error) {
	r := &run{vars: vars, src: p.src, memory: maxMemory, steps: maxMatchSteps, discreet: p.secret}
	v, err := p.root.eval(r)
	if err != nil {
		return nil, r, err
	}
	if err := checkResult(v); err != nil {
		return nil, r, r.placed(p.root, err)
	}
	return v, r, nil
}

// text evaluates to what stands inside text.
func (p *Program) text(vars *Vars) (string, *Error) {
	v, r, err := p.raw(vars)
	if err != nil {
		return "", err
	}
	s, ok := text(v)
	if !ok {
		return "", r.placed(p.root, noText(v))
	}
	return s, nil
}

// String evaluates to text, as a field of strings wants it: by the rules of
// Text.
func (p *Program) String(vars Vars) (string, error) {
	s, err := p.text(&vars)
	if err != nil {
		return "", err
	}
	return s, nil
}
