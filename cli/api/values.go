package api

import (
	"encoding/json"
	"fmt"
)

// RawJSON is a JSON value kept as it was written: its digits never pass through
// a float. Empty means null.
type RawJSON = json.RawMessage

// Values are named JSON values: params, outputs. A nil map is an empty object.
type Values map[string]json.RawMessage

// MarshalJSON writes an object, never null.
func (v Values) MarshalJSON() ([]byte, error) {
	if v == nil {
		return []byte("{}"), nil
	}
	return json.Marshal(map[string]json.RawMessage(v))
}

// AttemptWords names an attempt by its number: "attempt 2 of 3" where retryLimit
// failures may be followed by another. One beyond that count, as after a lost
// executor, is named without it.
func AttemptWords(number, retryLimit int) string {
	if retryLimit > 0 && number <= retryLimit+1 {
		return fmt.Sprintf("attempt %d of %d", number, retryLimit+1)
	}
	return fmt.Sprintf("attempt %d", number)
}
