package pipeline

import (
	"strconv"
	"strings"

	"github.com/synthesizer-dev/synthesizer/cli/expr"
)

// plain writes a JSON value for a message, short.
func plain(v any) string {
	switch x := v.(type) {
	case nil:
		return "null"
	case string:
		return clip(strings.Trim(strconv.Quote(x), `"`), 60)
	case []any:
		return "a list"
	case map[string]any:
		return "a map"
	}
	data, err := expr.ToJSON(v)
	if err != nil {
		return "a value"
	}
	return clip(string(data), 60)
}

// plainNumber says whether text is a number as the format writes it; with
// fraction, one may follow.
func plainNumber(text string, fraction bool) bool {
	whole, rest, dotted := strings.Cut(strings.TrimPrefix(text, "-"), ".")
	if dotted && (!fraction || !digits(rest)) {
		return false
	}
	return digits(whole) && (whole == "0" || whole[0] != '0')
}

func digits(s string) bool {
	if s == "" {
		return false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}
