package expr

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"
)

var errMemory = errors.New("it needs more than 16 MiB of memory")

// FromJSON reads one JSON value strictly: numbers keep their digits, whole ones
// within 64 bits are int64, a key that comes twice is refused, and so are bytes
// that are not UTF-8 and more than 200 levels of nesting.
func FromJSON(data []byte) (any, error) {
	left := math.MaxInt
	return fromJSON(data, &left)
}

// fromJSON charges the memory it takes to left.
func fromJSON(data []byte, left *int) (any, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("it is not UTF-8")
	}
	if !json.Valid(data) {
		return nil, notJSON(data)
	}
	d := decoder{json.NewDecoder(bytes.NewReader(data)), left}
	d.UseNumber()
	return d.value(0)
}

func notJSON(data []byte) error {
	if len(bytes.TrimSpace(data)) == 0 {
		return errors.New("it is empty, not JSON")
	}
	var v json.RawMessage
	err := json.Unmarshal(data, &v)
	if s, ok := errors.AsType[*json.SyntaxError](err); ok {
		// Only the place: the text may hold what must not be repeated.
		return fmt.Errorf("it is not JSON at byte %d", s.Offset)
	}
	return errors.New("it is not JSON")
}

type decoder struct {
	*json.Decoder
	left *int
}

func (d decoder) charge(n int) error {
	if *d.left -= n; *d.left < 0 {
		return errMemory
	}
	return nil
}

func (d decoder) value(depth int) (any, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t := token.(type) {
	case json.Delim:
		if depth >= maxDepth {
			return nil, errors.New("it is nested deeper than 200 levels")
		}
		if t == '[' {
			return d.list(depth)
		}
		return d.object(depth)
	case json.Number:
		if err := d.charge(len(t) + 16); err != nil {
			return nil, err
		}
		return numberValue(string(t))
	case string:
		return t, d.charge(len(t) + 16)
	default:
		return t, nil
	}
}

func (d decoder) list(depth int) (any, error) {
	list := []any{}
	if err := d.charge(40); err != nil {
		return nil, err
	}
	for d.More() {
		if err := d.charge(32); err != nil {
			return nil, err
		}
		v, err := d.value(depth + 1)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	_, err := d.Token()
	return list, err
}

func (d decoder) object(depth int) (any, error) {
	m := map[string]any{}
	if err := d.charge(48); err != nil {
		return nil, err
	}
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return nil, err
		}
		key := token.(string)
		if err := d.charge(len(key) + 80); err != nil {
			return nil, err
		}
		if _, ok := m[key]; ok {
			return nil, errors.New("a key comes twice in one object")
		}
		if m[key], err = d.value(depth + 1); err != nil {
			return nil, err
		}
	}
	_, err := d.Token()
	return m, err
}

// ToJSON writes a value: compact, keys sorted, numbers with their digits,
// instants and durations as their text, nothing escaped that need not be. Equal
// values give equal bytes, but for the digits of numbers.
func ToJSON(v any) ([]byte, error) {
	left := math.MaxInt
	out, err := appendJSON(nil, v, &left, 0)
	if err != nil {
		return nil, err
	}
	return out, nil
}

func appendJSON(out []byte, v any, left *int, depth int) ([]byte, *Error) {
	if depth > maxDepth {
		return nil, &Error{Message: "the value is nested deeper than 200 levels"}
	}
	before := len(out)
	var err *Error
	switch x := lift(v).(type) {
	case nil:
		out = append(out, "null"...)
	case bool:
		out = strconv.AppendBool(out, x)
	case int64:
		out = strconv.AppendInt(out, x, 10)
	case Number:
		out = append(out, x...)
	case string:
		out = appendString(out, x)
	case []any:
		out = append(out, '[')
		for i, e := range x {
			if i > 0 {
				out = append(out, ',')
			}
			if out, err = appendJSON(out, e, left, depth+1); err != nil {
				return nil, err
			}
		}
		return append(out, ']'), charge(left, 2+len(x))
	case map[string]any:
		out = append(out, '{')
		for i, k := range sortedKeys(x) {
			if i > 0 {
				out = append(out, ',')
			}
			out = append(appendString(out, k), ':')
			if out, err = appendJSON(out, x[k], left, depth+1); err != nil {
				return nil, err
			}
			if err = charge(left, len(k)+32); err != nil {
				return nil, err
			}
		}
		return append(out, '}'), charge(left, 2)
	default:
		s, ok := text(x)
		if !ok {
			return nil, noText(x)
		}
		out = appendString(out, s)
	}
	return out, charge(left, len(out)-before)
}

func charge(left *int, n int) *Error {
	if *left -= n; *left < 0 {
		return &Error{Message: "the expression needs more than 16 MiB of memory"}
	}
	return nil
}

const hexDigits = "0123456789abcdef"

func appendString(out []byte, s string) []byte {
	out = append(out, '"')
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			out = utf8.AppendRune(out, r) // U+FFFD for a byte that is no UTF-8
			i += n
			continue
		}
		switch {
		case c == '"' || c == '\\':
			out = append(out, '\\', c)
		case c == '\n':
			out = append(out, '\\', 'n')
		case c == '\r':
			out = append(out, '\\', 'r')
		case c == '\t':
			out = append(out, '\\', 't')
		case c < 0x20 || c == 0x7f:
			out = append(out, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		default:
			out = append(out, c)
		}
		i++
	}
	return append(out, '"')
}
