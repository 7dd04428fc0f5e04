package api_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/synthesizer-dev/synthesizer/cli/api"
)

var all = []api.Code{
	api.Malformed, api.Unauthenticated, api.Refused, api.NotFound, api.NotAllowed, api.Conflict, api.Guarded, api.Gone, api.TooLarge,
	api.Unsupported, api.Unprocessable, api.QueueFull, api.TooMany, api.Unavailable, api.Internal,
}

func TestAnErrorSurvivesTheWire(t *testing.T) {
	for _, code := range all {
		sent := api.Errorf(code, "pipeline %q is not there", "x").WithHint("synctl ls")
		sent.Where = api.Where{File: "a.yaml", Line: 3, Col: 7, Length: 2}
		sent.Problems = []api.Finding{{Severity: "error", Code: "SYN1203", Message: "minute 61 is above 59", Where: sent.Where}}
		sent.RequestID = "r1"
		sent.Cause = errors.New("secret of the database")
		body, err := json.Marshal(sent.Problem())
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(body), "secret") {
			t.Errorf("%s: the cause is on the wire: %s", code, body)
		}
		var p api.Problem
		if err := json.Unmarshal(body, &p); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(sent, p.Err(), cmpopts.IgnoreFields(api.Error{}, "Cause")); diff != "" {
			t.Errorf("%s: sent and received differ:\n%s", code, diff)
		}
		if got := api.CodeOf(code.Status()).Status(); got != code.Status() {
			t.Errorf("%s: status %d means a code of status %d", code, code.Status(), got)
		}
		if code.Title() == api.Internal.Title() && code != api.Internal {
			t.Errorf("%s has no title", code)
		}
	}
}

func TestEveryCodeIsInTheContract(t *testing.T) {
	for _, code := range all {
		if !strings.Contains(string(api.OpenAPI), string(code)+",") && !strings.Contains(string(api.OpenAPI), string(code)+"]") {
			t.Errorf("code %s is not in the document", code)
		}
	}
}

func TestAnUnknownCodeGoesByItsStatus(t *testing.T) {
	e := api.Problem{Code: "of_tomorrow", Status: http.StatusConflict, Title: "Conflict", Detail: "it moved"}.Err()
	if e.Code != api.Conflict || e.Message != "it moved" {
		t.Errorf("%+v, want a conflict", e)
	}
	for status, want := range map[int]api.Code{418: api.Malformed, 502: api.Unavailable, 504: api.Unavailable, 599: api.Internal, 404: api.NotFound} {
		if got := api.CodeOf(status); got != want {
			t.Errorf("CodeOf(%d) = %s, want %s", status, got, want)
		}
	}
}

func TestWhatIsNoErrorOfOursIsInternal(t *testing.T) {
	cause := errors.New(`relation "run" does not exist`)
	e := api.As(fmt.Errorf("list runs: %w", cause))
	if e.Code != api.Internal || strings.Contains(e.Error(), "relation") || !errors.Is(e, cause) {
		t.Errorf("As = %v", e)
	}
	if api.As(nil) != nil {
		t.Error("As(nil) is not nil")
	}
	wrapped := fmt.Errorf("find: %w", api.Errorf(api.NotFound, "no"))
	if !api.IsCode(wrapped, api.NotFound) || api.IsCode(cause, api.NotFound) || api.IsCode(nil, api.NotFound) {
		t.Error("IsCode is wrong")
	}
}

func TestAnErrorReadsAsALine(t *testing.T) {
	e := api.Errorf(api.Unprocessable, "minute 61 is above 59").WithHint("write 0 to 59")
	e.Where = api.Where{File: "a.yaml", Line: 7, Col: 12}
	if got, want := e.Error(), "a.yaml:7:12  minute 61 is above 59 → write 0 to 59"; got != want {
		t.Errorf("Error() = %q, want %q", got, want)
	}
}

func TestValuesAreAnObject(t *testing.T) {
	run := api.Run{Params: nil, Outputs: api.Values{"n": json.RawMessage("12345678901234567890")}}
	b, err := json.Marshal(run)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"params":{}`, `"outputs":{"n":12345678901234567890}`, `"started_at":null`, `"ended_at":null`} {
		if !strings.Contains(string(b), want) {
			t.Errorf("%s lacks %s", b, want)
		}
	}
	task, err := json.Marshal(api.Task{})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"item":null`, `"index":null`, `"reason":""`} {
		if !strings.Contains(string(task), want) {
			t.Errorf("%s lacks %s", task, want)
		}
	}
}

func TestAttemptWords(t *testing.T) {
	t.Parallel()
	tests := []struct {
		number, limit int
		want          string
	}{
		{1, 0, "attempt 1"},
		{1, 2, "attempt 1 of 3"},
		{3, 2, "attempt 3 of 3"},
		{4, 2, "attempt 4"}, // an executor was lost in between
	}
	for _, tt := range tests {
		if got := api.AttemptWords(tt.number, tt.limit); got != tt.want {
			t.Errorf("api.AttemptWords(%d, %d) = %q, want %q", tt.number, tt.limit, got, tt.want)
		}
	}
}
