package expr

import "strconv"

// primary reads an operand: a literal, a name, a call or what stands in brackets.
func (p *parser) primary() node {
	t := p.tok
	switch t.kind {
	case tokenString:
		p.advance()
		return p.made(&literal{t.span, t.text})
	case tokenDecimal:
		p.advance()
		return p.made(&literal{t.span, Number(t.text)})
	case tokenInteger:
		i, err := strconv.ParseInt(t.text, 10, 64)
		if err != nil {
			return p.fail(t.span, CodeSyntax, "expression: "+clip(t.text)+" does not fit in 64 bits", `number("…")`)
		}
		p.advance()
		return p.made(&literal{t.span, i})
	case tokenName:
		return p.named()
	case tokenSign:
		switch t.text {
		case "(":
			return p.parenthesis()
		case "[":
			return p.list()
		case "{":
			return p.mapping()
		}
	}
	return p.expected("a value")
}

func (p *parser) parenthesis() node {
	open := p.tok
	p.advance()
	x := p.expression()
	if p.failed != nil {
		return nil
	}
	if !p.is(")") {
		return p.fail(open.span, CodeSyntax, `expression: "(" without its ")"`, "")
	}
	p.advance()
	return x
}

func (p *parser) list() node {
	n := &listNode{span: p.tok.span}
	end, ok := p.sequence("[", "]", func() {
		if x := p.expression(); p.failed == nil {
			n.items = append(n.items, x)
		}
	})
	if !ok {
		return nil
	}
	n.end = end
	return p.made(n)
}

func (p *parser) mapping() node {
	n := &mapNode{span: p.tok.span}
	seen := map[string]bool{}
	end, ok := p.sequence("{", "}", func() {
		key := p.tok
		if key.kind != tokenString {
			hint := `{"key": value}`
			if key.kind == tokenName {
				hint = `{"` + clip(key.text) + `": …}`
			}
			p.fail(key.span, CodeSyntax, "expression: the key of a map is a quoted string", hint)
			return
		}
		if seen[key.text] {
			p.fail(key.span, CodeSyntax, "expression: the key "+quote(clip(key.text))+" comes twice", "")
			return
		}
		seen[key.text] = true
		p.advance()
		if !p.is(":") {
			p.expected(`":"`)
			return
		}
		p.advance()
		if x := p.expression(); p.failed == nil {
			n.keys = append(n.keys, key.text)
			n.values = append(n.values, x)
		}
	})
	if !ok {
		return nil
	}
	n.end = end
	return p.made(n)
}

// sequence reads items between brackets, with commas between them.
func (p *parser) sequence(open, shut string, item func()) (end int, ok bool) {
	start := p.tok
	p.advance()
	for first := true; p.failed == nil && (!first || !p.is(shut)); first = false {
		if p.failed == nil && (p.tok.kind == tokenEnd || !first && p.is(shut)) {
			p.expected("a value")
			break
		}
		item()
		if p.failed != nil || !p.is(",") {
			break
		}
		p.advance()
	}
	if p.failed != nil {
		return 0, false
	}
	if !p.is(shut) {
		if p.tok.kind == tokenEnd {
			p.fail(start.span, CodeSyntax, "expression: "+quote(open)+" without its "+quote(shut), "")
		} else {
			p.expected(`"," or ` + quote(shut))
		}
		return 0, false
	}
	end = p.tok.end
	p.advance()
	return end, p.failed == nil
}

// named reads what begins with a name: a constant, a call or a context.
func (p *parser) named() node {
	t := p.tok
	switch t.text {
	case "true", "false":
		p.advance()
		return p.made(&literal{t.span, t.text == "true"})
	case "null":
		p.advance()
		return p.made(&literal{t.span, nil})
	case "in":
		return p.expected("a value")
	}
	p.advance()
	if p.failed != nil {
		return nil
	}
	if !p.is("(") {
		if t.text == "not" && (p.tok.kind == tokenName || p.tok.kind == tokenString) {
			return p.fail(t.span, CodeNotLanguage, `"not" is not an operator here`, "!")
		}
		return p.made(&name{t.span, t.text})
	}
	fn := functions[t.text]
	if fn == nil {
		return p.fail(t.span, CodeNotLanguage, quote(clip(t.text))+" is not a function here"+didYouMean(t.text, functionNames()), functionHints[t.text])
	}
	n := &call{span: t.span, nameSpan: t.span, fn: fn}
	end, ok := p.sequence("(", ")", func() {
		if x := p.expression(); p.failed == nil {
			n.args = append(n.args, x)
		}
	})
	if !ok {
		return nil
	}
	n.end = end
	if len(n.args) < fn.least || len(n.args) > fn.most {
		return p.fail(n.span, CodeSyntax, "expression: "+fn.name+" is called as "+fn.usage, "")
	}
	if fn.status {
		return p.made(&statusCall{n.span, fn.name})
	}
	return p.made(n)
}
