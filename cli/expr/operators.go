package expr

import (
	"math"
	"strings"
	"time"
)

func (n *binary) eval(r *run) (any, *Error) {
	x, err := n.x.eval(r)
	if err != nil {
		return nil, err
	}
	y, err := n.y.eval(r)
	if err != nil {
		return nil, err
	}
	switch n.op {
	case "==", "!=":
		same, err := n.equal(r, x, y)
		if err != nil {
			return nil, err
		}
		return same == (n.op == "=="), nil
	case "in":
		return n.in(r, x, y)
	case "<", "<=", ">", ">=":
		return n.compare(r, x, y)
	}
	return n.compute(r, x, y)
}

// mismatch is the error for operands that do not go together.
func (n *binary) mismatch(r *run, x, y any) *Error {
	for _, o := range []struct {
		n node
		v any
	}{{n.x, x}, {n.y, y}} {
		if o.v == nil {
			return r.fail(o.n, show(o.n)+" is null, which "+quote(n.op)+" does not take", "compare it with null, or lookup(…) with a fallback")
		}
	}
	a, b := Of(kindOf(x)), Of(kindOf(y))
	return r.fail(n, quote(n.op)+" does not go with "+a.bare()+" and "+b.bare(), conversion(a, b))
}

// equal compares for ==: values of different kinds are a mistake, not unequal.
func (n *binary) equal(r *run, x, y any) (bool, *Error) {
	switch a := x.(type) {
	case string:
		if b, ok := y.(string); ok {
			return a == b, nil
		}
	case bool:
		if b, ok := y.(bool); ok {
			return a == b, nil
		}
	}
	if x == nil || y == nil {
		return x == nil && y == nil, nil
	}
	if !comparable(Of(kindOf(x)), Of(kindOf(y))) {
		return false, n.mismatch(r, x, y)
	}
	return n.same(r, x, y, 0)
}

// same compares deeply; inside of lists and maps different kinds are unequal.
func (n *binary) same(r *run, x, y any, depth int) (bool, *Error) {
	x, err := r.element(n.x, x)
	if err != nil {
		return false, err
	}
	if y, err = r.element(n.y, y); err != nil {
		return false, err
	}
	if depth > maxDepth {
		return false, r.fail(n, "the value is nested deeper than 200 levels", "")
	}
	switch a := x.(type) {
	case int64, Number:
		if k := kindOf(y); k == KindInteger || k == KindNumber {
			return compareNumbers(a, y) == 0, nil
		}
		return false, nil
	case time.Time:
		b, ok := y.(time.Time)
		return ok && a.Equal(b), nil
	case []any:
		b, ok := y.([]any)
		if !ok || len(a) != len(b) {
			return false, nil
		}
		for i := range a {
			if ok, err := n.same(r, a[i], b[i], depth+1); !ok {
				return false, err
			}
		}
		return true, nil
	case map[string]any:
		b, ok := y.(map[string]any)
		if !ok || len(a) != len(b) {
			return false, nil
		}
		for _, k := range sortedKeys(a) {
			v, ok := b[k]
			if !ok {
				return false, nil
			}
			if ok, err := n.same(r, a[k], v, depth+1); !ok {
				return false, err
			}
		}
		return true, nil
	default: // nil, bool, string, time.Duration
		return x == y, nil
	}
}

// in looks for x in a list. Elements of other kinds are passed over, but a list
// of nothing else is a mistake: 200 is not in ["200"].
func (n *binary) in(r *run, x, y any) (any, *Error) {
	list, ok := y.([]any)
	if !ok {
		return nil, r.fail(n.y, `"in" looks into a list, not into `+kindOf(y).String(), "")
	}
	kind, other := Of(kindOf(x)), KindDynamic
	met := len(list) == 0
	for _, e := range list {
		e, err := r.element(n.y, e)
		if err != nil {
			return nil, err
		}
		if !comparable(kind, Of(kindOf(e))) {
			other = kindOf(e)
			continue
		}
		met = true
		same, err := n.same(r, x, e, 0)
		if same || err != nil {
			return same, err
		}
	}
	if !met {
		return nil, r.fail(n, kind.bare()+" is never in a list of "+plural(other), conversion(kind, Of(other)))
	}
	return false, nil
}

func (n *binary) compare(r *run, x, y any) (any, *Error) {
	var c int
	a, b := kindOf(x), kindOf(y)
	switch {
	case (a == KindInteger || a == KindNumber) && (b == KindInteger || b == KindNumber):
		c = compareNumbers(x, y)
	case a != b:
		return nil, n.mismatch(r, x, y)
	case a == KindString:
		c = strings.Compare(x.(string), y.(string))
	case a == KindInstant:
		c = x.(time.Time).Compare(y.(time.Time))
	case a == KindDuration:
		c = compareNumbers(int64(x.(time.Duration)), int64(y.(time.Duration)))
	default:
		return nil, n.mismatch(r, x, y)
	}
	switch n.op {
	case "<":
		return c < 0, nil
	case "<=":
		return c <= 0, nil
	case ">":
		return c > 0, nil
	default:
		return c >= 0, nil
	}
}

func (n *binary) compute(r *run, x, y any) (any, *Error) {
	switch a := x.(type) {
	case int64:
		switch b := y.(type) {
		case int64:
			if n.op != "/" {
				return n.integers(r, a, b)
			}
			return n.numbers(r, x, y)
		case Number:
			return n.numbers(r, x, y)
		}
	case Number:
		switch y.(type) {
		case int64, Number:
			return n.numbers(r, x, y)
		}
	case string:
		if b, ok := y.(string); ok && n.op == "+" {
			if err := r.charge(n, len(a)+len(b)); err != nil {
				return nil, err
			}
			return a + b, nil
		}
	case time.Time, time.Duration:
		return n.times(r, x, y)
	}
	return nil, n.mismatch(r, x, y)
}

func (n *binary) integers(r *run, a, b int64) (any, *Error) {
	if n.op == "%" && b == 0 {
		return nil, r.fail(n, "division by zero", "")
	}
	c, ok := computeIntegers(n.op, a, b)
	if !ok {
		return nil, r.fail(n, "the result does not fit in 64 bits", "number(…) for a number of any size")
	}
	return c, nil
}

func (n *binary) numbers(r *run, x, y any) (any, *Error) {
	if n.op == "%" {
		return nil, n.mismatch(r, x, y)
	}
	v, wrong := computeNumbers(n.op, x, y)
	if wrong != "" {
		return nil, r.fail(n, wrong, "")
	}
	return v, nil
}

// times adds and subtracts instants and durations.
func (n *binary) times(r *run, x, y any) (any, *Error) {
	sign := time.Duration(1)
	if n.op == "-" {
		sign = -1
	}
	var out any
	ok := false
	switch a := x.(type) {
	case time.Time:
		switch b := y.(type) {
		case time.Duration:
			if n.op == "+" || n.op == "-" {
				out, ok = addDuration(a, sign*b)
				// The smallest duration cannot change its sign.
				return n.inRange(r, out, ok && b != math.MinInt64)
			}
		case time.Time:
			if n.op == "-" {
				out, ok = subInstants(a, b)
				return n.inRange(r, out, ok)
			}
		}
	case time.Duration:
		switch b := y.(type) {
		case time.Duration:
			if n.op == "+" || n.op == "-" {
				c, ok := computeIntegers(n.op, int64(a), int64(b))
				return n.inRange(r, time.Duration(c), ok)
			}
		case time.Time:
			if n.op == "+" {
				out, ok = addDuration(b, a)
				return n.inRange(r, out, ok)
			}
		}
	}
	return nil, n.mismatch(r, x, y)
}

func (n *binary) inRange(r *run, v any, ok bool) (any, *Error) {
	if !ok {
		return nil, r.fail(n, "the result is out of range", "")
	}
	return v, nil
}
