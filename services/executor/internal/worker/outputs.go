package worker

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/synthesizer-dev/synthesizer/cli/expr"
	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
	"github.com/synthesizer-dev/synthesizer/cli/process"
	"github.com/synthesizer-dev/synthesizer/services/executor/internal/output"
	"github.com/synthesizer-dev/synthesizer/services/internal/ending"
)

// collectOutputs reads what a task wrote. Of a success it checks it, and what
// is wrong with it makes it a failure; of a failure it keeps it for people.
func (w *Worker) collectOutputs(h *held, place *process.Attempt, masker *output.Masker, report *ending.Report) {
	succeeded := report.State == flow.AttemptSucceeded
	fail := func(reason, detail string) {
		if succeeded {
			report.State, report.Reason, report.Detail = flow.AttemptFailed, reason, detail
		}
	}
	raw, err := process.ReadOutputs(place.Output)
	if err != nil {
		reason := process.ReasonOutputsSyntax
		if e, ok := errors.AsType[*process.OutputError](err); ok {
			reason = e.Reason
		}
		fail(reason, err.Error())
		return
	}
	if len(raw) == 0 && len(h.task.Outputs) == 0 {
		return
	}
	written := make(map[string]pipeline.RawOutput, len(raw))
	for key, v := range raw {
		// A masked value would go on as data, so there is no masking here.
		if name, found := masker.Contains(v.Text); found {
			fail(reasonOutputsSecret, fmt.Sprintf("output %s holds the secret %s", key, name))
			return
		}
		if v.JSON {
			written[key] = pipeline.RawOutput{JSON: json.RawMessage(v.Text)}
		} else {
			written[key] = pipeline.RawOutput{Text: v.Text}
		}
	}
	values := rawValues(written)
	if holdsNUL(values) {
		fail(process.ReasonOutputsSyntax, "$SYN_OUTPUT: holds the character U+0000")
		return
	}
	asWritten := toJSON(values)
	if name, found := masker.Contains(asWritten); found {
		fail(reasonOutputsSecret, "the outputs hold the secret "+name)
		return
	}
	report.RawOutputs = asWritten
	if !succeeded {
		return
	}
	checked, bad := h.task.CheckOutputs(written)
	if bad != nil {
		fail(bad.Reason, bad.Detail)
		return
	}
	if holdsNUL(checked) {
		fail(process.ReasonOutputsSyntax, "$SYN_OUTPUT: holds the character U+0000")
		report.RawOutputs = ""
		return
	}
	data := toJSON(checked)
	if name, found := masker.Contains(data); found {
		fail(reasonOutputsSecret, "the outputs hold the secret "+name)
		report.RawOutputs = ""
		return
	}
	if data != "" {
		report.Outputs, report.RawOutputs = data, data
	}
}

const reasonOutputsSecret = "outputs_secret"

// rawValues are what was written, before anybody has looked at what it should
// be.
func rawValues(written map[string]pipeline.RawOutput) map[string]any {
	values := make(map[string]any, len(written))
	for key, v := range written {
		values[key] = v.Text
		if v.JSON != nil {
			if value, err := expr.FromJSON(v.JSON); err == nil {
				values[key] = value
			} else {
				values[key] = string(v.JSON)
			}
		}
	}
	return values
}

// toJSON is "" for no values.
func toJSON(values map[string]any) string {
	if len(values) == 0 {
		return ""
	}
	data, err := expr.ToJSON(values)
	if err != nil {
		return ""
	}
	return string(data)
}

// holdsNUL reports whether a value holds the one character that the database
// does not take.
func holdsNUL(v any) bool {
	switch v := v.(type) {
	case string:
		return strings.ContainsRune(v, 0)
	case []any:
		return slices.ContainsFunc(v, holdsNUL)
	case map[string]any:
		for key, value := range v {
			if strings.ContainsRune(key, 0) || holdsNUL(value) {
				return true
			}
		}
	}
	return false
}
