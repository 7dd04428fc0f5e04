package attempt

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/synthesizer-dev/synthesizer/cli/expr"
	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
)

// asking is a task that waits for an answer.
func asking(http pipeline.WaitHTTP, outputs ...pipeline.Output) *pipeline.Task {
	if http.Until == "" {
		http.Until = "response.status == 200"
	}
	if http.URL == "" {
		http.URL = "https://src.example.com/"
	}
	http.Method = "POST"
	return &pipeline.Task{Name: "ask", Kind: pipeline.KindWait, Wait: &pipeline.Wait{OnTimeout: "fail", HTTP: &http}, Outputs: outputs}
}

func ask(t *testing.T, change func(*Context), task *pipeline.Task) (*Request, error) {
	t.Helper()
	p, err := CompileRequest(graph(t, func(p *pipeline.Pipeline) { p.Env = []pipeline.Var{{Name: "BASE", Value: "s3 ${{ vars.BUCKET }}"}} }, task), 0)
	if err != nil {
		t.Fatal(err)
	}
	c := context()
	c.Secret = func(name string) (string, error) {
		if name == "MISSING" {
			return "", errors.New("not set")
		}
		return "secret of " + name, nil
	}
	if change != nil {
		change(&c)
	}
	return p.Render(c)
}

func TestARequestIsRendered(t *testing.T) {
	q, err := ask(t, nil, asking(pipeline.WaitHTTP{
		URL:     "https://src.example.com/ready/${{ params.day }}?env=${{ env.BASE }}&n=${{ params.n }}",
		Headers: []pipeline.Var{{Name: "X-Day", Value: "day ${{ params.day }}"}, {Name: "Authorization", Value: "Bearer ${{ secrets.TOKEN }}"}},
		Body: map[string]any{
			"n": "${{ params.n }}", "list": "${{ params.list }}", "text": "n=${{ params.n }}", "yes": true, "number": expr.Number("1.10"),
			"deep": []any{"${{ secrets.KEY }}", nil},
		},
	}))
	if err != nil {
		t.Fatal(err)
	}
	got := []string{q.Method, q.URL, q.Headers[0].Value, q.Headers[1].Value, string(q.Body), q.ContentType}
	want := []string{
		"POST", "https://src.example.com/ready/2026-11-21?env=s3%20s3%3A%2F%2Fraw&n=3", "day 2026-11-21", "Bearer secret of TOKEN",
		`{"deep":["secret of KEY",null],"list":["a",1],"n":3,"number":1.10,"text":"n=3","yes":true}`, "application/json",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]string{"TOKEN": "secret of TOKEN", "KEY": "secret of KEY"}, q.Secrets); diff != "" {
		t.Error(diff)
	}
	if !q.HasHeader("authorization") || q.HasHeader("X-Other") {
		t.Error("HasHeader tells what is not so")
	}
}

func TestBodies(t *testing.T) {
	for name, c := range map[string]struct {
		body       any
		want, kind string
	}{
		"none":                 {nil, "", ""},
		"text":                 {"day ${{ params.day }}", "day 2026-11-21", "text/plain; charset=utf-8"},
		"an expression, text":  {"${{ params.day }}", "2026-11-21", "text/plain; charset=utf-8"},
		"an expression, a map": {"${{ {\"a\": params.n} }}", `{"a":3}`, "application/json"},
		"a list":               {[]any{"${{ params.n }}", "x"}, `[3,"x"]`, "application/json"},
	} {
		t.Run(name, func(t *testing.T) {
			q, err := ask(t, nil, asking(pipeline.WaitHTTP{Body: c.body}))
			if err != nil || string(q.Body) != c.want || q.ContentType != c.kind {
				t.Errorf("Render = %v, %v; want %q as %q", q, err, c.want, c.kind)
			}
			if c.body == nil && q.Body != nil {
				t.Error("no body is not an empty one")
			}
		})
	}
}

// A value is one piece of an address, whatever it holds; only an expression at
// the very start is more.
func TestValuesDoNotChangeAnAddress(t *testing.T) {
	for value, want := range map[string]string{
		"a/b?c#d&e=f":    "https://src.example.com/x/a%2Fb%3Fc%23d%26e%3Df/y",
		"../../admin":    "https://src.example.com/x/..%2F..%2Fadmin/y", // one segment, but not to be trusted
		"..":             "",
		".":              "",
		"a b\r\nHost: c": "https://src.example.com/x/a%20b%0D%0AHost%3A%20c/y",
		"é":              "https://src.example.com/x/%C3%A9/y",
		"%2e%2e":         "https://src.example.com/x/%252e%252e/y",
		"a-b_c.d~e":      "https://src.example.com/x/a-b_c.d~e/y",
		"@evil.example":  "https://src.example.com/x/%40evil.example/y",
		"":               "https://src.example.com/x//y",
	} {
		q, err := ask(t, func(c *Context) { c.Run.Params["v"] = value }, asking(pipeline.WaitHTTP{URL: "https://src.example.com/x/${{ params.v }}/y"}))
		switch {
		case want == "" && err == nil:
			t.Errorf("%q gives %s, want it refused", value, q.URL)
		case strings.Contains(value, "../") && err == nil:
			t.Errorf("%q gives %s, want it refused", value, q.URL)
		case want != "" && !strings.Contains(value, "../") && (err != nil || q.URL != want):
			t.Errorf("%q gives %v, %v, want %s", value, q, err, want)
		}
	}
	q, err := ask(t, func(c *Context) { c.Run.Params["v"] = "https://other.example.com/a/b" }, asking(pipeline.WaitHTTP{URL: "${{ params.v }}/c"}))
	if err != nil || q.URL != "https://other.example.com/a/b/c" {
		t.Errorf("at the very start: %v, %v", q, err)
	}
}

func TestRequestsThatCannotBeRendered(t *testing.T) {
	long := strings.Repeat("x", 300<<10)
	for name, c := range map[string]struct {
		http         pipeline.WaitHTTP
		reason, want string
	}{
		"an absent param":       {pipeline.WaitHTTP{URL: "https://a/${{ params.nothing }}"}, "expression", "url: "},
		"a list in the url":     {pipeline.WaitHTTP{URL: "https://a/${{ params.list }}"}, "expression", "url: "},
		"no address":            {pipeline.WaitHTTP{URL: "https://a:b/${{ params.day }}"}, "expression", "url: gives what is not an address of the web"},
		"a long url":            {pipeline.WaitHTTP{URL: pipeline.Expr("https://a/" + long[:9000])}, "expression", "8 KiB at most"},
		"a header of two lines": {pipeline.WaitHTTP{Headers: []pipeline.Var{{Name: "X-A", Value: "${{ params.lines }}"}}}, "expression", "header X-A: its value holds the end of a line"},
		"a large body":          {pipeline.WaitHTTP{Body: []any{long}}, "expression", "256 KiB at most"},
		"a missing secret":      {pipeline.WaitHTTP{Headers: []pipeline.Var{{Name: "X-A", Value: "${{ secrets.MISSING }}"}}}, "secret", "secrets.MISSING: not set"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ask(t, func(c *Context) { c.Run.Params["lines"] = "a\r\nX-B: c" }, asking(c.http))
			e, ok := errors.AsType[*Error](err)
			if !ok || e.Reason != c.reason || !strings.Contains(e.Error(), c.want) {
				t.Errorf("Render = %v, want %s %q", err, c.reason, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "X-B") {
				t.Error("the message repeats the value of a header")
			}
		})
	}
}

func TestAnswers(t *testing.T) {
	rows := pipeline.Output{Name: "rows", Required: true, Schema: pipeline.Schema{Type: "integer"}, Value: "${{ response.body.rows }}"}
	maybe := pipeline.Output{Name: "note", Schema: pipeline.Schema{Type: "string"}, Value: `${{ lookup(response.headers, "x-note", null) }}`}
	answer := func(status int64, body any) map[string]any {
		return map[string]any{"status": status, "headers": map[string]any{}, "text": "", "body": body}
	}
	for name, c := range map[string]struct {
		until    pipeline.Condition
		response map[string]any
		want     string // not yet, an error of the condition, outputs or their reason
	}{
		"not yet":             {"", answer(404, nil), "not yet"},
		"over":                {"", answer(200, map[string]any{"rows": int64(3)}), `{"rows":3}`},
		"an error":            {`response.body.state == "DONE"`, answer(200, map[string]any{}), "error"},
		"an output too few":   {"", answer(200, map[string]any{}), "expression"},
		"null":                {"", answer(200, map[string]any{"rows": nil}), "outputs_missing"},
		"of another type":     {"", answer(200, map[string]any{"rows": "3"}), "outputs_type"},
		"the run's own facts": {"params.n == 3 && response.status < 300", answer(200, map[string]any{"rows": int64(3)}), `{"rows":3}`},
	} {
		t.Run(name, func(t *testing.T) {
			q, err := ask(t, nil, asking(pipeline.WaitHTTP{Until: c.until}, rows, maybe))
			if err != nil {
				t.Fatal(err)
			}
			over, outputs, bad, err := q.Answered(c.response)
			got := "not yet"
			switch {
			case err != nil:
				got = "error"
			case bad != nil:
				got = bad.Reason
			case over:
				data, _ := expr.ToJSON(outputs)
				got = string(data)
			}
			if got != c.want || over != (c.want != "not yet" && c.want != "error") {
				t.Errorf("Answered = %s (%v), want %s", got, err, c.want)
			}
		})
	}
}

// Secrets are for the request; neither the condition nor the outputs see them.
func TestConditionsReadNoSecrets(t *testing.T) {
	for _, http := range []pipeline.WaitHTTP{{Until: `secrets.TOKEN == response.text`}, {URL: "https://a", Until: "true", Body: "${{ response.text }}"}} {
		if _, err := CompileRequest(graph(t, nil, asking(http)), 0); err == nil {
			t.Errorf("%+v was compiled", http)
		}
	}
	if _, err := CompileRequest(graph(t, nil, command("a", "x")), 0); err == nil {
		t.Error("a command was compiled as a request")
	}
}

func TestARequestOfAnItem(t *testing.T) {
	task := asking(pipeline.WaitHTTP{URL: "https://a/${{ item }}/${{ index }}/${{ attempt.number }}"})
	task.ForEach = &pipeline.Items{List: []any{"x", "y"}}
	q, err := ask(t, func(c *Context) { c.Item, c.Index, c.Attempt = []byte(`"y"`), 1, 1 }, task)
	if err != nil || q.URL != "https://a/y/1/1" {
		t.Errorf("Render = %v, %v", q, err)
	}
}
