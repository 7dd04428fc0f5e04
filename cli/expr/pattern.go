package expr

import (
	"errors"
	"regexp"
	"regexp/syntax"
	"strings"
)

// A pattern is a compiled regular expression and its size, which times the
// length of the text is the time a match may take.
type pattern struct {
	*regexp.Regexp
	size int
}

const (
	maxPattern     = 500      // bytes of a pattern
	maxPatternSize = 10_000   // instructions it may become: x{1000} is a thousand
	maxMatchSteps  = 32 << 20 // instructions times bytes of text in one evaluation
)

func compilePattern(s string) (*pattern, error) {
	if len(s) > maxPattern {
		return nil, errors.New("it is longer than 500 bytes")
	}
	tree, err := syntax.Parse(s, syntax.Perl)
	if err != nil {
		if e, ok := errors.AsType[*syntax.Error](err); ok {
			// Without the text, which may be data.
			return nil, errors.New(strings.Replace(string(e.Code), "invalid", "wrong", 1))
		}
		return nil, errors.New("it is not RE2")
	}
	size := patternSize(tree)
	if size > maxPatternSize {
		return nil, errors.New("its repetitions are too many")
	}
	re, err := regexp.Compile(s)
	if err != nil {
		return nil, errors.New("it is not RE2")
	}
	return &pattern{re, size}, nil
}

func patternSize(re *syntax.Regexp) int {
	size := 1 + len(re.Rune)/2
	for _, sub := range re.Sub {
		size += patternSize(sub)
	}
	if re.Op == syntax.OpRepeat {
		size = min(size, maxPatternSize+1) * max(re.Min, re.Max, 1)
	}
	return size
}

func evalRegex(r *run, n *call, args []any) (any, *Error) {
	t, err := texts(r, n, args)
	if err != nil {
		return nil, err
	}
	p := n.pattern
	if p == nil {
		var wrong error
		if p, wrong = compilePattern(t[1]); wrong != nil {
			return nil, r.fail(n.args[1], "the pattern of regex: "+wrong.Error(), "")
		}
	}
	if r.steps -= p.size * (len(t[0]) + 1); r.steps < 0 {
		return nil, r.fail(n, "regex would take too long: the pattern is too large for a text of this length", "")
	}
	return p.MatchString(t[0]), nil
}
