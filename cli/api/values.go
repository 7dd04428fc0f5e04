package api

import "encoding/json"

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
