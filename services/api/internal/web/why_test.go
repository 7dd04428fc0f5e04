package web

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/synthesizer-dev/synthesizer/cli/api"
)

// wordsOf are the words of a component, as a reader sees them.
func wordsOf(t *testing.T, w Why) string {
	t.Helper()
	var b bytes.Buffer
	if err := RunWhy(w).Render(context.Background(), &b); err != nil {
		t.Fatal(err)
	}
	root, err := html.Parse(&b)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for n := range root.Descendants() {
		if n.Type == html.TextNode {
			text.WriteString(n.Data + " ")
		}
	}
	return strings.Join(strings.Fields(text.String()), " ")
}

// The box says what synctl explain says, and links whoever holds.
func TestWhySaysTheSentencesOfExplain(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 22, 21, 0, 0, 0, time.UTC)
	b := Base{Zone: time.UTC, Now: now}
	e := &api.Explanation{
		Kind: api.ExplanationKindTask, Subject: "default/nightly#12/load", Summary: "load waits for pool warehouse.", Blocked: true,
		Findings: []api.GateFinding{
			{
				Gate: "pool", Standing: api.StandingBlocks, Summary: "Pool warehouse is full: 1 of 1 slot taken, it needs 1.", Position: 2, Since: now.Add(-2 * time.Minute),
				Holders: []api.Holder{{Run: "finance/billing#9", Task: "export", State: "running", Executor: "wh-1", Since: now.Add(-time.Hour)}, {Hidden: true, State: "running"}}, More: 3,
				Frees: "Starts when enough slots are free.", Commands: []string{"synctl cancel finance/billing#9"},
			},
			{Gate: "backoff", Standing: api.StandingAhead, Summary: "It backs off.", Until: now.Add(time.Minute)},
			{Gate: "timeout", Standing: api.StandingNote, Summary: "The run times out if it has not ended by then.", Until: now.Add(time.Hour)},
		},
	}
	w := whyBox(b, Ref{Namespace: "default", Name: "nightly"}, e)
	want := "Why is load waiting? load waits for pool warehouse. because " +
		"Pool warehouse is full: 1 of 1 slot taken, it needs 1, position 2, since 20:58 (2 m) " +
		"finance/billing#9/export running on wh-1, for 1 h a run of another namespace running and 3 more " +
		"→ Starts when enough slots are free. synctl cancel finance/billing#9 " +
		"then It backs off, until 21:01 in 1 m " +
		"What does not hold it, and what else there is to know also The run times out if it has not ended by then, 22:00 in 1 h " +
		"synctl explain nightly#12/load"
	if got := wordsOf(t, w); got != want {
		t.Errorf("box says\n%s\nwant\n%s", got, want)
	}
	if got, want := w.Holds[0].Holders[0].URL, "/p/finance/billing/9"; got != want {
		t.Errorf("holder leads to %s, want %s", got, want)
	}
}

func TestWhyIsSilentWhereNothingIsHeld(t *testing.T) {
	t.Parallel()
	for name, e := range map[string]*api.Explanation{
		"an ended run":        nil,
		"a run at work":       {Kind: api.ExplanationKindRun, Subject: "default/p#1", Findings: []api.GateFinding{{Gate: "state", Standing: api.StandingNote, Summary: "a runs."}}},
		"what is told above":  {Kind: api.ExplanationKindPipeline, Subject: "default/p", Blocked: true, Findings: []api.GateFinding{{Gate: "paused", Standing: api.StandingBlocks, Summary: "It is paused."}}},
		"no findings, hidden": {Kind: api.ExplanationKindRun, Subject: "default/p#1"},
	} {
		if got := whyBox(Base{Zone: time.UTC}, Ref{}, e, "paused"); got.Heading != "" {
			t.Errorf("%s: %q", name, got.Heading)
		}
	}
}
