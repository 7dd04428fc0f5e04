package rest

import (
	"strconv"
	"strings"
)

// wording says what the generated code says about parameters in our words.
func wording(message string) string {
	if name, _, ok := strings.Cut(strings.TrimPrefix(message, "Invalid format for parameter "), ":"); ok && name != message {
		return "parameter " + name + " cannot be read"
	}
	if name, ok := strings.CutPrefix(message, "Query argument "); ok {
		return "parameter " + strings.TrimSuffix(name, " is required, but not found") + " is missing"
	}
	if rest, ok := strings.CutPrefix(message, "Expected one value for "); ok {
		return "one value is expected for " + rest
	}
	return "a parameter cannot be read"
}

func quote(s string) string { return strconv.QuoteToGraphic(s) }
