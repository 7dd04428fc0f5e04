package expr

import "maps"

// A function of the language.
type function struct {
	name, usage string
	least, most int
	status      bool // success() and the like, answered by the caller
	asks        bool // the first argument is asked about, not read
	check       func(*checker, *call, []Type) Type
	eval        func(*run, *call, []any) (any, *Error)
}

// functions are all there are.
var functions = table()

func table() map[string]*function {
	m := map[string]*function{}
	for _, f := range []function{
		{name: "string", usage: "string(x)", check: scalarTo(KindString), eval: evalString},
		{name: "integer", usage: "integer(x)", check: scalarTo(KindInteger), eval: evalInteger},
		{name: "number", usage: "number(x)", check: scalarTo(KindNumber), eval: evalNumber},
		{name: "boolean", usage: "boolean(x)", check: scalarTo(KindBoolean), eval: evalBoolean},
		{name: "timestamp", usage: "timestamp(text)", check: takes(KindInstant, KindString), eval: evalTimestamp},
		{name: "duration", usage: "duration(text)", check: takes(KindDuration, KindString), eval: evalDuration},
		{name: "size", usage: "size(x)", check: checkSize, eval: evalSize},
		{name: "lower", usage: "lower(text)", check: takes(KindString, KindString), eval: evalLower},
		{name: "upper", usage: "upper(text)", check: takes(KindString, KindString), eval: evalUpper},
		{name: "trim", usage: "trim(text)", check: takes(KindString, KindString), eval: evalTrim},
		{name: "replace", usage: "replace(text, old, new)", check: takes(KindString, KindString, KindString, KindString), eval: evalReplace},
		{name: "split", usage: "split(text, separator)", check: checkSplit, eval: evalSplit},
		{name: "join", usage: "join(list, separator)", check: checkJoin, eval: evalJoin},
		{name: "starts_with", usage: "starts_with(text, part)", check: takes(KindBoolean, KindString, KindString), eval: evalPart},
		{name: "ends_with", usage: "ends_with(text, part)", check: takes(KindBoolean, KindString, KindString), eval: evalPart},
		{name: "includes", usage: "includes(text, part)", check: takes(KindBoolean, KindString, KindString), eval: evalPart},
		{name: "regex", usage: "regex(text, pattern)", check: checkRegex, eval: evalRegex},
		{name: "sum", usage: "sum(list)", check: checkFold, eval: evalSum},
		{name: "min", usage: "min(list)", check: checkFold, eval: evalExtreme},
		{name: "max", usage: "max(list)", check: checkFold, eval: evalExtreme},
		{name: "keys", usage: "keys(map)", check: checkKeys, eval: evalKeys},
		{name: "has_key", usage: "has_key(map, key)", asks: true, check: checkHasKey, eval: evalHasKey},
		{name: "lookup", usage: "lookup(map, key, fallback)", asks: true, check: checkLookup, eval: evalLookup},
		{name: "date", usage: "date(t) or date(t, zone)", least: 1, most: 2, check: checkDate, eval: evalDate},
		{name: "format_time", usage: "format_time(t, layout) or format_time(t, layout, zone)", least: 2, most: 3, check: checkDate, eval: evalFormatTime},
		{name: "from_json", usage: "from_json(text)", check: takes(KindDynamic, KindString), eval: evalFromJSON},
		{name: "to_json", usage: "to_json(x)", check: func(*checker, *call, []Type) Type { return Of(KindString) }, eval: evalToJSON},
		{name: "success", usage: "success()", status: true},
		{name: "any_success", usage: "any_success()", status: true},
		{name: "failure", usage: "failure()", status: true},
		{name: "none_failed", usage: "none_failed()", status: true},
		{name: "always", usage: "always()", status: true},
		{name: "canceled", usage: "canceled()", status: true},
	} {
		if f.most == 0 && !f.status {
			n := 1
			for _, c := range f.usage {
				if c == ',' {
					n++
				}
			}
			f.least, f.most = n, n
		}
		m[f.name] = &f
	}
	return m
}

// functionHints say how to write what other languages have as a function.
var functionHints = map[string]string{
	"len": "size(x)", "length": "size(x)", "count": "size(x)",
	"contains": "includes(text, part), or x in list", "startsWith": "starts_with(text, part)", "endsWith": "ends_with(text, part)",
	"matches": "regex(text, pattern)", "match": "regex(text, pattern)",
	"int": "integer(x)", "float": "number(x)", "str": "string(x)", "bool": "boolean(x)",
	"toJSON": "to_json(x)", "fromJSON": "from_json(text)", "toLower": "lower(text)", "toUpper": "upper(text)",
	"now": "run.created_at, or interval", "cancelled": "canceled()", "has": "has_key(map, key)", "get": "lookup(map, key, fallback)",
	"default": "lookup(map, key, fallback)", "format": "format_time(t, layout)", "strftime": "format_time(t, layout)",
}

func functionNames() []string {
	return sortedKeys(maps.Collect(maps.All(functions)))
}

// argument refuses an argument of the wrong type.
func (c *checker) argument(n *call, i int, t Type, kinds ...Kind) bool {
	if t.is(append(kinds, KindDynamic)...) {
		return true
	}
	hint := ""
	switch {
	case kinds[0] == KindString && t.is(KindInteger, KindNumber, KindBoolean, KindInstant, KindDuration):
		hint = "string(…)"
	case kinds[0] == KindInstant && t.Kind == KindString:
		hint = "timestamp(…)"
	}
	c.wrong(n.args[i].place(), n.fn.name+" takes "+kinds[0].String()+" here, not "+t.String(), hint)
	return false
}

// takes is the check of a function with arguments of fixed kinds.
func takes(gives Kind, kinds ...Kind) func(*checker, *call, []Type) Type {
	return func(c *checker, n *call, types []Type) Type {
		for i, k := range kinds {
			c.argument(n, i, types[i], k)
		}
		return Of(gives)
	}
}

// convertible are the kinds that a conversion to a kind can come from.
var convertible = map[Kind][]Kind{
	KindString:  {KindString, KindInteger, KindNumber, KindBoolean, KindInstant, KindDuration},
	KindInteger: {KindInteger, KindNumber, KindString},
	KindNumber:  {KindNumber, KindInteger, KindString},
	KindBoolean: {KindBoolean, KindString},
}

func scalarTo(kind Kind) func(*checker, *call, []Type) Type {
	return func(c *checker, n *call, types []Type) Type {
		if t := types[0]; !t.is(append(convertible[kind], KindDynamic)...) {
			hint := ""
			if kind == KindString {
				hint = "to_json(…)"
			}
			return c.wrong(n.span, t.String()+" cannot be made "+kind.String(), hint)
		}
		return Of(kind)
	}
}

func checkSize(c *checker, n *call, types []Type) Type {
	if t := types[0]; !t.is(KindString, KindList, KindRecord, KindDict, KindDynamic) {
		return c.wrong(n.args[0].place(), "size takes a string, a list or a map, not "+t.String(), "")
	}
	return Of(KindInteger)
}

func checkSplit(c *checker, n *call, types []Type) Type {
	c.argument(n, 0, types[0], KindString)
	c.argument(n, 1, types[1], KindString)
	if l, ok := n.args[1].(*literal); ok && l.value == "" {
		return c.wrong(l.span, "split wants a separator", "")
	}
	return ListOf(Of(KindString))
}

func checkJoin(c *checker, n *call, types []Type) Type {
	if c.argument(n, 0, types[0], KindList) {
		if e := types[0].elem(); e.is(KindList, KindRecord, KindDict, KindNull) {
			return c.wrong(n.args[0].place(), "join writes no "+e.bare()+" into text", "to_json(…)")
		}
	}
	c.argument(n, 1, types[1], KindString)
	return Of(KindString)
}

func checkRegex(c *checker, n *call, types []Type) Type {
	c.argument(n, 0, types[0], KindString)
	c.argument(n, 1, types[1], KindString)
	if l, ok := n.args[1].(*literal); ok && c.failed == nil {
		p, err := compilePattern(l.value.(string))
		if err != nil {
			return c.wrong(l.span, "the pattern of regex: "+err.Error(), "RE2 syntax; a backslash is written twice in a string")
		}
		n.pattern = p
	}
	return Of(KindBoolean)
}

func checkFold(c *checker, n *call, types []Type) Type {
	t := types[0]
	if !c.argument(n, 0, t, KindList) {
		return Type{}
	}
	if e := t.elem(); !e.numeric() {
		return c.wrong(n.args[0].place(), n.fn.name+" takes a list of integers or numbers, not "+t.String(), "")
	}
	return Of(t.elem().Kind)
}

func checkKeys(c *checker, n *call, types []Type) Type {
	c.argument(n, 0, types[0], KindRecord, KindDict)
	return ListOf(Of(KindString))
}

// key checks the key of has_key and lookup: of a record it must be declared,
// for asking about a misspelt key would be a silent no.
func (c *checker) key(n *call, types []Type) Type {
	if !c.argument(n, 0, types[0], KindRecord, KindDict) || !c.argument(n, 1, types[1], KindString) {
		return Type{}
	}
	l, constant := n.args[1].(*literal)
	switch {
	case !constant && (types[0].Constant || types[0].Parts):
		return c.wrong(n.args[1].place(), "a key of "+show(n.args[0])+" must be a constant string", "")
	case types[0].Kind == KindDict:
		return types[0].elem()
	case types[0].Kind == KindRecord && constant:
		return c.declared(l.span, show(n.args[0]), types[0], l.value.(string))
	}
	return Type{}
}

func checkHasKey(c *checker, n *call, types []Type) Type {
	c.key(n, types)
	return Of(KindBoolean)
}

func checkLookup(c *checker, n *call, types []Type) Type {
	t := c.key(n, types)
	if t.Parts {
		return c.wrong(n.span, "lookup cannot give "+show(n.args[0])+" or its parts whole", "read a member")
	}
	return join(t, types[2])
}

// checkDate is of date and format_time, whose last argument may be a zone.
func checkDate(c *checker, n *call, types []Type) Type {
	c.argument(n, 0, types[0], KindInstant)
	for i := range types[1:] {
		c.argument(n, i+1, types[i+1], KindString)
	}
	if len(n.args) == n.fn.most && c.failed == nil {
		if l, ok := n.args[n.fn.most-1].(*literal); ok {
			zone, err := loadZone(l.value.(string))
			if err != nil {
				return c.wrong(l.span, "the zone of "+n.fn.name+": "+err.Error(), "")
			}
			n.zone = zone
		}
	}
	return Of(KindString)
}
