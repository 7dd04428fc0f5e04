package expr

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// The arguments of the functions were typed as far as they could be; what was
// dynamic is looked at here.

// textArg is an argument that must be a string.
func textArg(r *run, n *call, args []any, i int) (string, *Error) {
	s, ok := args[i].(string)
	if !ok {
		return "", wrongArg(r, n, args, i, KindString)
	}
	return s, nil
}

func wrongArg(r *run, n *call, args []any, i int, want Kind) *Error {
	hint := ""
	if _, ok := text(args[i]); ok && want == KindString {
		hint = "string(…)"
	} else if _, ok := args[i].(string); ok && want == KindInstant {
		hint = "timestamp(…)"
	}
	return r.fail(n.args[i], n.fn.name+" takes "+want.String()+" here, not "+kindOf(args[i]).String(), hint)
}

func texts(r *run, n *call, args []any) (out [3]string, err *Error) {
	for i := range args {
		if out[i], err = textArg(r, n, args, i); err != nil {
			return out, err
		}
	}
	return out, nil
}

func impossible(r *run, n *call, v any) *Error {
	hint := ""
	if v == nil {
		hint = "lookup(…) with a fallback"
	}
	return r.fail(n, kindOf(v).String()+" cannot be made "+kindOfResult(n.fn.name).String(), hint)
}

func kindOfResult(fn string) Kind {
	switch fn {
	case "integer":
		return KindInteger
	case "number":
		return KindNumber
	case "boolean":
		return KindBoolean
	}
	return KindString
}

func evalString(r *run, n *call, args []any) (any, *Error) {
	s, ok := text(args[0])
	if !ok {
		return nil, impossible(r, n, args[0])
	}
	return s, nil
}

func evalInteger(r *run, n *call, args []any) (any, *Error) {
	switch v := args[0].(type) {
	case int64:
		return v, nil
	case Number:
		if i, ok := v.Int(); ok {
			return i, nil
		}
		return nil, r.fail(n, "integer: the number is not whole, or not within 64 bits", "")
	case string:
		if plainNumber(v) {
			if i, err := strconv.ParseInt(v, 10, 64); err == nil {
				return i, nil
			}
		}
		return nil, r.fail(n, "integer: "+r.shown(v)+" is not an integer", "")
	}
	return nil, impossible(r, n, args[0])
}

func evalNumber(r *run, n *call, args []any) (any, *Error) {
	switch v := args[0].(type) {
	case int64:
		return Number(strconv.FormatInt(v, 10)), nil
	case Number:
		return v, nil
	case string:
		if plainNumber(v) {
			return Number(v), nil
		}
		return nil, r.fail(n, "number: "+r.shown(v)+" is not a number", "")
	}
	return nil, impossible(r, n, args[0])
}

func evalBoolean(r *run, n *call, args []any) (any, *Error) {
	switch v := args[0].(type) {
	case bool:
		return v, nil
	case string:
		if v == "true" || v == "false" {
			return v == "true", nil
		}
		return nil, r.fail(n, "boolean: "+r.shown(v)+" is neither true nor false", "")
	}
	return nil, impossible(r, n, args[0])
}

func evalSize(r *run, n *call, args []any) (any, *Error) {
	switch v := args[0].(type) {
	case string:
		return int64(utf8.RuneCountInString(v)), nil
	case []any:
		return int64(len(v)), nil
	case map[string]any:
		count := int64(0)
		for _, e := range v {
			if present(e) {
				count++
			}
		}
		return count, nil
	}
	return nil, r.fail(n.args[0], "size takes a string, a list or a map, not "+kindOf(args[0]).String(), "")
}

// present says whether has_key would say yes. A Lazy value is taken to be there:
// nothing is fetched to count it.
func present(v any) bool {
	_, gone := v.(Unreadable)
	return !gone
}

func evalLower(r *run, n *call, args []any) (any, *Error) { return mapped(r, n, args, strings.ToLower) }

func evalUpper(r *run, n *call, args []any) (any, *Error) { return mapped(r, n, args, strings.ToUpper) }

func evalTrim(r *run, n *call, args []any) (any, *Error) {
	return mapped(r, n, args, strings.TrimSpace)
}

func mapped(r *run, n *call, args []any, f func(string) string) (any, *Error) {
	s, err := textArg(r, n, args, 0)
	if err != nil {
		return nil, err
	}
	if err := r.charge(n, len(s)); err != nil {
		return nil, err
	}
	return f(s), nil
}

func evalReplace(r *run, n *call, args []any) (any, *Error) {
	t, err := texts(r, n, args)
	if err != nil {
		return nil, err
	}
	count := strings.Count(t[0], t[1])
	if t[1] == "" {
		return nil, r.fail(n.args[1], "replace wants a text to look for", "")
	}
	if err := r.charge(n, len(t[0])); err != nil {
		return nil, err
	}
	if more := len(t[2]) - len(t[1]); more > 0 {
		if more > maxMemory/max(count, 1) {
			return nil, r.charge(n, maxMemory+1)
		}
		if err := r.charge(n, count*more); err != nil {
			return nil, err
		}
	}
	return strings.ReplaceAll(t[0], t[1], t[2]), nil
}

func evalSplit(r *run, n *call, args []any) (any, *Error) {
	t, err := texts(r, n, args)
	if err != nil {
		return nil, err
	}
	if t[1] == "" {
		return nil, r.fail(n.args[1], "split wants a separator", "")
	}
	if err := r.charge(n, 64*(1+strings.Count(t[0], t[1]))); err != nil {
		return nil, err
	}
	list := []any{}
	for part := range strings.SplitSeq(t[0], t[1]) {
		list = append(list, part)
	}
	return list, nil
}

func evalJoin(r *run, n *call, args []any) (any, *Error) {
	list, ok := args[0].([]any)
	if !ok {
		return nil, wrongArg(r, n, args, 0, KindList)
	}
	separator, err := textArg(r, n, args, 1)
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	for i, e := range list {
		e, err := r.element(n.args[0], e)
		if err != nil {
			return nil, err
		}
		s, ok := text(e)
		if !ok {
			return nil, r.fail(n.args[0], "item "+itoa(i)+" is "+kindOf(e).String()+", which join writes into no text", "to_json(…)")
		}
		if i > 0 {
			b.WriteString(separator)
		}
		if err := r.charge(n, len(s)+len(separator)); err != nil {
			return nil, err
		}
		b.WriteString(s)
	}
	return b.String(), nil
}

func evalPart(r *run, n *call, args []any) (any, *Error) {
	t, err := texts(r, n, args)
	if err != nil {
		return nil, err
	}
	switch n.fn.name {
	case "starts_with":
		return strings.HasPrefix(t[0], t[1]), nil
	case "ends_with":
		return strings.HasSuffix(t[0], t[1]), nil
	default:
		return strings.Contains(t[0], t[1]), nil
	}
}

func evalFromJSON(r *run, n *call, args []any) (any, *Error) {
	s, err := textArg(r, n, args, 0)
	if err != nil {
		return nil, err
	}
	if err := r.charge(n, len(s)); err != nil {
		return nil, err
	}
	v, wrong := fromJSON([]byte(s), &r.memory)
	if wrong != nil {
		return nil, r.fail(n, "from_json: the text cannot be read: "+wrong.Error(), "")
	}
	return v, nil
}

func evalToJSON(r *run, n *call, args []any) (any, *Error) {
	out, err := appendJSON(nil, args[0], &r.memory, 0)
	if err != nil {
		return nil, r.placed(n, err)
	}
	return string(out), nil
}
