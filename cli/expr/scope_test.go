package expr

import (
	"time"
)

// testScope is the scope of a task's field with everything in it that the tests
// read.
func testScope() Scope {
	output := func(members map[string]Type) Type {
		outputs := RecordOf(members)
		outputs.Noun = "output"
		return RecordOf(map[string]Type{
			"result": Of(KindString), "reason": Of(KindString), "outputs": outputs,
		})
	}
	needs := RecordOf(map[string]Type{
		"extract": output(map[string]Type{
			"rows": Of(KindInteger), "uri": Of(KindString).Maybe(),
			"files": ListOf(Of(KindString)), "counts": ListOf(Of(KindInteger)),
		}),
		"build-image": output(map[string]Type{"tag": Of(KindString)}),
		"load":        output(map[string]Type{"rows": Of(KindInteger)}),
	})
	needs.Noun, needs.Parts = "task", true
	needs.Refused = map[string]Reason{"report": {Code: CodeUnknown, Message: "read needs.report: add report to needs"}}

	params := RecordOf(map[string]Type{
		"day": Of(KindString), "n": Of(KindInteger), "x": Of(KindNumber), "on": Of(KindBoolean),
		"regions": ListOf(Of(KindString)), "free": {}, "maybe": Of(KindString).Maybe(),
	})
	params.Noun, params.Constant = "param", true

	secrets := DictOf(Of(KindString))
	secrets.Constant, secrets.Parts = true, true

	return Scope{
		Names: map[string]Type{
			"needs": needs, "params": params, "secrets": secrets,
			"vars":     DictOf(Of(KindString)),
			"interval": RecordOf(map[string]Type{"start": Of(KindInstant), "end": Of(KindInstant)}),
			"response": RecordOf(map[string]Type{"status": Of(KindInteger), "body": {}, "text": Of(KindString)}),
			"d":        {},
		},
		Forbidden: map[string]Reason{
			"event": {Message: "event can be read in triggers only", Hint: "take it over as a param"},
			"tasks": {},
		},
		Status: true,
	}
}

// testVars fit testScope.
func testVars() Vars {
	body, err := FromJSON([]byte(`{"id":"j-1","rows":42,"price":1.10,"big":12345678901234567890,"nothing":null,
		"list":[1,2.5,3],"texts":["a","b"],"mixed":[1,"OK",null],"on":true,"deep":{"a-b":{"c":[{"x":7}]}}}`))
	if err != nil {
		panic(err)
	}
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		panic(err)
	}
	yes := func() bool { return true }
	no := func() bool { return false }
	return Vars{
		Names: map[string]any{
			"needs": map[string]any{
				"extract": map[string]any{"result": "succeeded", "reason": "", "outputs": map[string]any{
					"rows": int64(10), "files": []any{"a.csv", "b.csv"}, "counts": []any{int64(1), nil, int64(3)},
					"uri": Unreadable{Why: "extract did not write it"},
				}},
				"build-image": map[string]any{"result": "succeeded", "reason": "", "outputs": map[string]any{"tag": "v1"}},
				"load":        map[string]any{"result": "skipped", "reason": "condition", "outputs": Unreadable{Why: "load was skipped"}},
			},
			"params": map[string]any{
				"day": "2026-11-22", "n": int64(7), "x": Number("1.50"), "on": true,
				"regions": []string{"eu", "us"}, "free": map[string]any{"k": int64(1)},
			},
			"secrets":  map[string]any{"TOKEN": Lazy(func() (any, error) { return "s3cret-value", nil })},
			"vars":     map[string]string{"BUCKET": "b1", "LIMIT": "12"},
			"interval": map[string]any{"start": time.Date(2026, 11, 21, 23, 30, 0, 0, time.UTC), "end": time.Date(2026, 11, 22, 23, 30, 0, 0, time.UTC)},
			"response": map[string]any{"status": 200, "body": body, "text": "hello, wörld"},
			"d":        body,
		},
		Status: StatusFuncs{Success: yes, AnySuccess: yes, Failure: no, NoneFailed: yes, Canceled: no},
		Zone:   berlin,
	}
}
