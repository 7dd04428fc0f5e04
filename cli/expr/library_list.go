package expr

// numbersOf walks a list of integers or numbers.
func numbersOf(r *run, n *call, args []any, each func(any) *Error) *Error {
	list, ok := args[0].([]any)
	if !ok {
		return wrongArg(r, n, args, 0, KindList)
	}
	for i, e := range list {
		e, err := r.element(n.args[0], e)
		if err != nil {
			return err
		}
		if k := kindOf(e); k != KindInteger && k != KindNumber {
			return r.fail(n.args[0], n.fn.name+" takes numbers, and item "+itoa(i)+" is "+k.String(), "")
		}
		if err := each(e); err != nil {
			return err
		}
	}
	return nil
}

func evalSum(r *run, n *call, args []any) (any, *Error) {
	var total any = int64(0)
	err := numbersOf(r, n, args, func(v any) *Error {
		a, whole := total.(int64)
		b, wholeToo := v.(int64)
		if whole && wholeToo {
			c, ok := computeIntegers("+", a, b)
			if !ok {
				return r.fail(n, "the result does not fit in 64 bits", "")
			}
			total = c
			return nil
		}
		c, wrong := computeNumbers("+", total, v)
		if wrong != "" {
			return r.fail(n, wrong, "")
		}
		total = c
		return nil
	})
	if err != nil {
		return nil, err
	}
	return total, nil
}

func evalExtreme(r *run, n *call, args []any) (any, *Error) {
	want := 1
	if n.fn.name == "min" {
		want = -1
	}
	var best any
	err := numbersOf(r, n, args, func(v any) *Error {
		if best == nil || compareNumbers(v, best) == want {
			best = v
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if best == nil {
		return nil, r.fail(n, n.fn.name+" of an empty list", "size(list) > 0 ? … : …")
	}
	return best, nil
}

func evalKeys(r *run, n *call, args []any) (any, *Error) {
	m, ok := args[0].(map[string]any)
	if !ok {
		return nil, wrongArg(r, n, args, 0, KindRecord)
	}
	if err := r.charge(n, 64*len(m)); err != nil {
		return nil, err
	}
	list := []any{}
	for _, k := range sortedKeys(m) {
		if present(m[k]) {
			list = append(list, k)
		}
	}
	return list, nil
}

// find looks a key up. What cannot be read has no keys.
func find(r *run, n *call, args []any) (v any, ok bool, err *Error) {
	key, err := textArg(r, n, args, 1)
	if err != nil {
		return nil, false, err
	}
	switch m := args[0].(type) {
	case Unreadable:
		return nil, false, nil
	case map[string]any:
		v, ok = m[key]
		if !ok {
			return nil, false, nil
		}
		if v, err = r.element(n.args[0], v); err != nil {
			if err.cause != nil {
				return nil, false, err
			}
			return nil, false, nil
		}
		return v, true, nil
	}
	return nil, false, wrongArg(r, n, args, 0, KindRecord)
}

func evalHasKey(r *run, n *call, args []any) (any, *Error) {
	_, ok, err := find(r, n, args)
	if err != nil {
		return nil, err
	}
	return ok, nil
}

func evalLookup(r *run, n *call, args []any) (any, *Error) {
	v, ok, err := find(r, n, args)
	if err != nil {
		return nil, err
	}
	if !ok || v == nil {
		return args[2], nil
	}
	return v, nil
}
