package pipeline

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/schedule"
)

// A Duration is a length of time. Its JSON is the text of the format: "1h30m".
type Duration time.Duration

// Std gives the duration as the standard library has it.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// String gives the text of the format: "90d" for whole days, else the longest
// units first.
func (d Duration) String() string {
	if n := time.Duration(d) / day; n > 0 && time.Duration(d)%day == 0 {
		return strconv.FormatInt(int64(n), 10) + "d"
	}
	return schedule.FormatDuration(time.Duration(d))
}

// MarshalJSON writes the text of the format.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(d.String()) }

// UnmarshalJSON reads the text of the format.
func (d *Duration) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return fmt.Errorf("read a duration: %w", err)
	}
	parsed, err := schedule.ParseDuration(text)
	if err != nil {
		return fmt.Errorf("read a duration: %w", err)
	}
	*d = Duration(parsed)
	return nil
}
