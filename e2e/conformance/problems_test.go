package conformance

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/e2e/conformance/internal/casefile"
)

func decodeValues(text string) (api.Values, error) {
	var v api.Values
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		return nil, fmt.Errorf("%s: %w", text, err)
	}
	return v, nil
}

// checkError is: CODE "part"…, each in the message, its hint, or a problem.
func checkError(err error, text string) error {
	e, ok := errors.AsType[*api.Error](err)
	if !ok {
		return errors.New("nothing went wrong")
	}
	words, failure := casefile.Words(text)
	if failure != nil {
		return failure
	}
	if len(words) == 0 || string(e.Code) != words[0] {
		return fmt.Errorf("it is %s: %w", e.Code, err)
	}
	said := e.Error() + "\n" + findings(err)
	for _, part := range words[1:] {
		if !strings.Contains(said, part) {
			return fmt.Errorf("%q is not in: %s", part, said)
		}
	}
	return nil
}

// checkFinding is: CODE [at FILE:LINE[:COL]] "part"…
func checkFinding(list []api.Finding, severity api.FindingSeverity, text string) error {
	words, err := casefile.Words(text)
	if err != nil {
		return err
	}
	if len(words) == 0 {
		return errors.New(`want CODE [at FILE:LINE:COL] "part"`)
	}
	code, words := words[0], words[1:]
	place := ""
	if len(words) > 1 && words[0] == "at" {
		place, words = words[1], words[2:]
	}
	for _, f := range list {
		where := fmt.Sprintf("%s:%d:%d", f.Where.File, f.Where.Line, f.Where.Col)
		fits := f.Severity == severity && f.Code == code && (place == "" || strings.HasPrefix(where+":", place+":"))
		for _, part := range words {
			fits = fits && strings.Contains(f.Message+" → "+f.Hint, part)
		}
		if fits {
			return nil
		}
	}
	return fmt.Errorf("none of these:\n%s", list2text(list))
}

func problems(err error) int {
	n := 0
	if e, ok := errors.AsType[*api.Error](err); ok {
		for _, f := range e.Problems {
			if f.Severity == api.FindingSeverityError {
				n++
			}
		}
	}
	return n
}

func findings(err error) string {
	if e, ok := errors.AsType[*api.Error](err); ok {
		return list2text(e.Problems)
	}
	return ""
}

func list2text(list []api.Finding) string {
	var b strings.Builder
	for _, f := range list {
		fmt.Fprintf(&b, "%s:%d:%d %s %s → %s\n", f.Where.File, f.Where.Line, f.Where.Col, f.Code, f.Message, f.Hint)
	}
	return b.String()
}
