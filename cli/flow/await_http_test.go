package flow

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
)

func polling(onTimeout string) option {
	return func(t *pipeline.Task) {
		t.Kind, t.Run = pipeline.KindWait, ""
		t.Wait = &pipeline.Wait{OnTimeout: onTimeout, HTTP: &pipeline.WaitHTTP{
			Target: "http/src", Method: "GET", URL: "https://src.example.com/${{ params.n }}", Until: "response.status == 200", Every: pipeline.Duration(30 * time.Second),
		}}
	}
}

// What an executor says of the answer ends the wait; a look without an answer
// does not, whatever the time, unless it has a time-out.
func TestWaitsForAnAnswer(t *testing.T) {
	yes := &Answer{State: Succeeded, Outputs: map[string]any{"v": int64(1)}}
	no := &Answer{State: Failed, Reason: ReasonOutputsType, Detail: "output v: is not an integer"}
	for name, c := range map[string]struct {
		of     option
		within time.Duration
		answer *Answer
		passed time.Duration
		want   string
	}{
		"no answer yet":            {polling("fail"), 0, nil, 1000 * time.Hour, "a:waiting(wait)"},
		"true":                     {polling("fail"), 0, yes, 0, "a:succeeded"},
		"true, but no outputs":     {polling("fail"), 0, no, 0, "a:failed(outputs_type)"},
		"not yet timed out":        {polling("fail"), time.Hour, nil, 59 * time.Minute, "a:waiting(wait)"},
		"timed out":                {polling("fail"), time.Hour, nil, time.Hour, "a:failed(timed_out)"},
		"timed out, skip":          {polling("skip"), time.Hour, nil, time.Hour, "a:skipped(timed_out)"},
		"true before the time-out": {polling("fail"), time.Hour, yes, 2 * time.Hour, "a:succeeded"},
	} {
		t.Run(name, func(t *testing.T) {
			s := begun(t, define(pipeline.Tasks{task("a", c.of, within(c.within))}))
			s.ended(t, "a:waiting(wait)")
			s.now = s.now.Add(c.passed)
			s.awaits[Number(0)].Answer = c.answer
			s.tell(Number(0))
			s.ended(t, c.want)
			if c.answer == yes {
				if diff := cmp.Diff(yes.Outputs, s.outputs[Number(0)]); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

func TestItemsThatWaitForAnAnswer(t *testing.T) {
	s := begun(t, define(pipeline.Tasks{task("a", polling("fail"), forEach("x", "y"), window(1))}))
	for i := range 2 {
		n := ItemNumber(0, i)
		if s.awaits[n] == nil {
			t.Fatalf("item %d does not wait", i)
		}
		s.awaits[n].Answer = &Answer{State: Succeeded}
		s.tell(n)
	}
	s.ended(t, "a:succeeded")
}

func TestGraphsSayWhetherTheyAskServices(t *testing.T) {
	if g := compile(t, define(pipeline.Tasks{task("a", polling("fail"))})); !g.Polls() || !g.Awaits() || !g.Waiting(Number(0)) {
		t.Error("a graph with a wait for an answer says that it has none")
	}
	if compile(t, define(pipeline.Tasks{task("a", waiting("5s"))})).Polls() {
		t.Error("a graph with a wait for a time says that it asks services")
	}
}
