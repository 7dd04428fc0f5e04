package expr

import "strings"

// Limits of the text of one expression.
const (
	maxText  = 4 << 10
	maxNodes = 500
)

// A parser reads one expression of src: up to the end of the text or, when
// braced, up to the }} that follows the complete expression. Reading the longest
// expression and then }} finds the first }} at which the inside parses, because
// no token or bracket can end in the middle of another.
type parser struct {
	src    string
	pos    int
	start  int // where the expression begins
	braced bool
	open   span // the ${{

	tok    token
	last   token // the one before tok
	nodes  int
	depth  int
	failed *Error
}

// parse reads the expression that begins at start; it leaves p.pos behind it,
// before the }} of a braced one.
func (p *parser) parse() (node, *Error) {
	p.last = token{kind: tokenEnd}
	if !p.advance() {
		return nil, p.failed
	}
	if p.atEnd() {
		if p.tok.kind == tokenEnd && p.braced {
			return nil, p.unclosed()
		}
		return nil, span{p.start, p.tok.end}.at(p.src, CodeSyntax, "expression: there is nothing in it", "")
	}
	n := p.expression()
	if p.failed != nil {
		return nil, p.failed
	}
	if !p.atEnd() {
		return nil, p.leftover()
	}
	if p.braced {
		if p.tok.kind == tokenEnd {
			return nil, p.unclosed()
		}
		p.pos = p.tok.start
	}
	return n, nil
}

// atEnd says whether the token ends the expression.
func (p *parser) atEnd() bool {
	if p.tok.kind == tokenEnd {
		return true
	}
	return p.braced && p.is("}") && strings.HasPrefix(p.src[p.tok.start:], "}}")
}

func (p *parser) unclosed() *Error {
	return p.open.at(p.src, CodeNotClosed, "${{ without }}", "$${{ writes a literal ${{")
}

func (p *parser) advance() bool {
	if p.failed != nil {
		return false
	}
	p.last = p.tok
	p.tok, p.failed = p.next()
	return p.failed == nil
}

func (p *parser) is(sign string) bool { return p.tok.kind == tokenSign && p.tok.text == sign }

// fail keeps the first error. At the end of an unclosed text that is the news.
func (p *parser) fail(s span, code, message, hint string) node {
	if p.failed == nil {
		if p.braced && p.tok.kind == tokenEnd {
			p.failed = p.unclosed()
		} else {
			p.failed = s.at(p.src, code, message, hint)
		}
	}
	return nil
}

// expected fails at the token.
func (p *parser) expected(what string) node {
	message := "expression: expected " + what
	if p.last.end > p.last.start {
		message += " after " + quoteToken(p.src[p.last.start:p.last.end])
	}
	return p.fail(p.tok.span, CodeSyntax, message, "")
}

func quoteToken(s string) string {
	if strings.HasPrefix(s, `"`) || strings.HasPrefix(s, "'") {
		return clip(s)
	}
	return `"` + clip(s) + `"`
}

var words = map[string]string{
	"and": "&&", "or": "||", "not": "!", "eq": "==", "ne": "!=",
	"contains": "includes(text, part)", "matches": "regex(text, pattern)",
	"startsWith": "starts_with(text, part)", "endsWith": "ends_with(text, part)",
}

// leftover is the error for what stands behind a complete expression.
func (p *parser) leftover() *Error {
	t := p.tok
	written := p.src[t.start:t.end]
	switch {
	case t.kind == tokenName && words[t.text] != "":
		return t.at(p.src, CodeNotLanguage, quote(t.text)+" is not an operator here", words[t.text])
	case t.kind == tokenSign && comparison(t.text):
		return t.at(p.src, CodeNotLanguage, "comparisons do not chain", "a < b && b < c")
	case p.is(")") || p.is("]") || p.is("}"):
		return t.at(p.src, CodeSyntax, "expression: "+quote(written)+" closes nothing", "")
	case p.is("("):
		return t.at(p.src, CodeNotLanguage, "only the functions of the language can be called", "")
	}
	return t.at(p.src, CodeSyntax, "expression: expected an operator before "+quoteToken(written), "")
}

// made counts a node.
func (p *parser) made(n node) node {
	if p.nodes++; p.nodes > maxNodes {
		return p.fail(span{p.start, p.tok.end}, CodeSize, "expression of more than 500 parts", "")
	}
	return n
}

// enter bounds the nesting, which parentheses deepen without making nodes.
func (p *parser) enter() bool {
	if p.depth++; p.depth > maxNodes {
		p.fail(p.tok.span, CodeSize, "expression nested deeper than 500 levels", "")
		return false
	}
	return p.failed == nil
}

func (p *parser) expression() node {
	if !p.enter() {
		return nil
	}
	defer func() { p.depth-- }()
	c := p.operators(1)
	if p.failed != nil || !p.is("?") {
		return c
	}
	p.advance()
	x := p.expression()
	if p.failed != nil {
		return nil
	}
	if !p.is(":") {
		return p.expected(`":" and the other value of "? :"`)
	}
	p.advance()
	y := p.expression()
	if p.failed != nil {
		return nil
	}
	return p.made(&choice{span{c.place().start, y.place().end}, c, x, y})
}

func comparison(op string) bool {
	switch op {
	case "<", "<=", ">", ">=", "==", "!=", "in":
		return true
	}
	return false
}

// level is how tightly an operator of two operands binds; 0 is none.
func (p *parser) level() int {
	if p.tok.kind == tokenName && p.tok.text == "in" {
		return 3
	}
	if p.tok.kind != tokenSign {
		return 0
	}
	switch p.tok.text {
	case "||":
		return 1
	case "&&":
		return 2
	case "==", "!=", "<", "<=", ">", ">=":
		return 3
	case "+", "-":
		return 4
	case "*", "/", "%":
		return 5
	}
	return 0
}

func (p *parser) operators(lowest int) node {
	x := p.unary()
	for p.failed == nil {
		level := p.level()
		if level < lowest || level == 0 {
			break
		}
		op := p.tok
		p.advance()
		y := p.operators(level + 1)
		if p.failed != nil {
			return nil
		}
		s := span{x.place().start, y.place().end}
		if level <= 2 {
			x = p.made(&logic{s, op.text, x, y})
		} else {
			x = p.made(&binary{s, op.text, x, y, op.span})
		}
		if level == 3 && p.failed == nil && p.level() == 3 {
			return p.fail(p.tok.span, CodeNotLanguage, "comparisons do not chain", "a < b && b < c, or parentheses")
		}
	}
	return x
}

func (p *parser) unary() node {
	if !p.is("!") && !p.is("-") {
		return p.postfix()
	}
	if !p.enter() {
		return nil
	}
	defer func() { p.depth-- }()
	op := p.tok
	p.advance()
	if op.text == "-" && p.tok.kind == tokenInteger && p.tok.text == "9223372036854775808" {
		// The smallest integer has no positive twin.
		p.tok.text = "-" + p.tok.text
		p.tok.start = op.start
		return p.postfix()
	}
	x := p.unary()
	if p.failed != nil {
		return nil
	}
	s := span{op.start, x.place().end}
	if l, ok := x.(*literal); ok && op.text == "-" {
		switch v := l.value.(type) {
		case int64:
			if v > 0 {
				return &literal{s, -v}
			}
		case Number:
			if v[0] != '-' {
				return &literal{s, "-" + v}
			}
		}
	}
	return p.made(&unary{s, op.text, x})
}

func (p *parser) postfix() node {
	x := p.primary()
	for p.failed == nil {
		switch {
		case p.is("."):
			x = p.dot(x)
		case p.is("["):
			x = p.bracket(x)
		case p.is("("):
			return p.callOn(x)
		default:
			return x
		}
	}
	return nil
}

func (p *parser) dot(x node) node {
	p.advance()
	if p.failed != nil {
		return nil
	}
	if p.tok.kind != tokenName {
		return p.expected("a name")
	}
	t := p.tok
	p.advance()
	return p.made(&member{span{x.place().start, t.end}, x, t.text, t.span})
}

func (p *parser) bracket(x node) node {
	p.advance()
	if p.failed != nil {
		return nil
	}
	if p.is(":") {
		return p.fail(p.tok.span, CodeNotLanguage, "slices are not in the language", "")
	}
	at := p.expression()
	if p.failed != nil {
		return nil
	}
	if p.is(":") {
		return p.fail(p.tok.span, CodeNotLanguage, "slices are not in the language", "")
	}
	if !p.is("]") {
		return p.expected(`"]"`)
	}
	s := span{x.place().start, p.tok.end}
	p.advance()
	if l, ok := at.(*literal); ok {
		if key, ok := l.value.(string); ok {
			return p.made(&member{s, x, key, l.span})
		}
	}
	return p.made(&index{s, x, at})
}

// callOn refuses a call on a value.
func (p *parser) callOn(x node) node {
	hint := ""
	if m, ok := x.(*member); ok && functions[m.key] != nil {
		hint = m.key + "(" + clip(p.src[m.of.place().start:m.of.place().end]) + ")"
	}
	return p.fail(x.place(), CodeNotLanguage, "calls on values are not in the language", hint)
}
