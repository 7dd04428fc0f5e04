package web

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/a-h/templ"
	"golang.org/x/net/html"

	"github.com/synthesizer-dev/synthesizer/cli/api"
)

// pages are all pages, each made from a struct that the test fills.
var pages = map[string]func(fill func(any)) templ.Component{
	"pipelines": func(fill func(any)) templ.Component {
		var p PipelinesPage
		fill(&p)
		return Layout(p.Base, PipelinesMain(p))
	},
	"pipeline": func(fill func(any)) templ.Component {
		var p PipelinePage
		fill(&p)
		p.Tab = "runs"
		return Layout(p.Base, PipelineMain(p))
	},
	"ticks": func(fill func(any)) templ.Component {
		var p PipelinePage
		fill(&p)
		p.Tab = "ticks"
		return Layout(p.Base, PipelineMain(p))
	},
	"definition": func(fill func(any)) templ.Component {
		var p PipelinePage
		fill(&p)
		p.Tab = "definition"
		return Layout(p.Base, PipelineMain(p))
	},
	"run": func(fill func(any)) templ.Component {
		var p RunPage
		fill(&p)
		return Layout(p.Base, RunMain(p))
	},
	"failed run": func(fill func(any)) templ.Component {
		var p RunPage
		fill(&p)
		p.Problem.Kind = "failed"
		return Layout(p.Base, RunMain(p))
	},
	"attempt": func(fill func(any)) templ.Component {
		var p AttemptPage
		fill(&p)
		return Layout(p.Base, AttemptMain(p))
	},
	"approvals": func(fill func(any)) templ.Component {
		var p ApprovalsPage
		fill(&p)
		return Layout(p.Base, ApprovalsMain(p))
	},
	"answer": func(fill func(any)) templ.Component {
		var p AnswerPage
		fill(&p)
		p.Ask.Closed = ""
		return Layout(p.Base, AnswerMain(p))
	},
	"answered": func(fill func(any)) templ.Component {
		var p AnswerPage
		fill(&p)
		return Layout(p.Base, AnswerMain(p))
	},
	"mark": func(fill func(any)) templ.Component {
		var p MarkPage
		fill(&p)
		return Layout(p.Base, MarkMain(p))
	},
	"run form": func(fill func(any)) templ.Component {
		var p RunForm
		fill(&p)
		for i, w := range []string{"radio", "select", "check", "boolean", "date", "json", "area", "text"} {
			f := Field{Name: "n", Label: "l"}
			if len(p.Fields) > 0 {
				f = p.Fields[0]
			}
			f.Widget, f.ID = w, fmt.Sprint("w", i)
			p.Fields = append(p.Fields, f)
		}
		return Layout(p.Base, RunFormMain(p))
	},
	"confirm": func(fill func(any)) templ.Component {
		var p ConfirmPage
		fill(&p)
		return Layout(p.Base, ConfirmMain(p))
	},
	"backfill form": func(fill func(any)) templ.Component {
		var p BackfillForm
		fill(&p)
		p.None = ""
		return Layout(p.Base, BackfillFormMain(p))
	},
	"no backfill": func(fill func(any)) templ.Component {
		var p BackfillForm
		fill(&p)
		p.None = "It has no schedule."
		return Layout(p.Base, BackfillFormMain(p))
	},
	"backfills": func(fill func(any)) templ.Component {
		var p BackfillsPage
		fill(&p)
		return Layout(p.Base, BackfillsMain(p))
	},
	"backfill": func(fill func(any)) templ.Component {
		var p BackfillPage
		fill(&p)
		p.Failed.ID, p.Ticks.ID = "backfill-failed", "backfill-ticks"
		return Layout(p.Base, BackfillMain(p))
	},
	"quota": func(fill func(any)) templ.Component {
		var p QuotaPage
		fill(&p)
		p.Over = false
		return Layout(p.Base, QuotaMain(p))
	},
	"runs": func(fill func(any)) templ.Component {
		var p RunsPage
		fill(&p)
		return Layout(p.Base, RunsMain(p))
	},
	"secrets": func(fill func(any)) templ.Component {
		var p SecretsPage
		fill(&p)
		return Layout(p.Base, SecretsMain(p))
	},
	"vars": func(fill func(any)) templ.Component {
		var p VarsPage
		fill(&p)
		return Layout(p.Base, VarsMain(p))
	},
	"set secret": func(fill func(any)) templ.Component {
		var p SetPage
		fill(&p)
		return Layout(p.Base, SetMain(p))
	},
	"set var": func(fill func(any)) templ.Component {
		var p SetPage
		fill(&p)
		p.Secret, p.Known = false, false
		return Layout(p.Base, SetMain(p))
	},
	"delete": func(fill func(any)) templ.Component {
		var p DeletePage
		fill(&p)
		return Layout(p.Base, DeleteMain(p))
	},
	"pools": func(fill func(any)) templ.Component {
		var p PoolsPage
		fill(&p)
		return Layout(p.Base, PoolsMain(p))
	},
	"pool": func(fill func(any)) templ.Component {
		var p PoolPage
		fill(&p)
		return Layout(p.Base, PoolMain(p))
	},
	"login": func(fill func(any)) templ.Component {
		var p LoginPage
		fill(&p)
		return Layout(p.Base, LoginMain(p))
	},
	"account": func(fill func(any)) templ.Component {
		var p AccountPage
		fill(&p)
		return Layout(p.Base, AccountMain(p))
	},
	"error": func(fill func(any)) templ.Component {
		var p ErrorPage
		fill(&p)
		return Layout(p.Base, ErrorMain(p))
	},
}

// fills are the ways to fill a page's struct.
func fills(t *testing.T) map[string]func(any) {
	t.Helper()
	a, err := loadAssets()
	if err != nil {
		t.Fatal(err)
	}
	base := func(p any) *Base {
		b := reflect.ValueOf(p).Elem().FieldByName("Base").Addr().Interface().(*Base)
		b.Zone, b.Assets, b.Now = time.UTC, a, time.Date(2026, 11, 22, 1, 0, 0, 0, time.UTC)
		return b
	}
	all := func(text string) func(any) {
		return func(p any) {
			fillValue(reflect.ValueOf(p).Elem(), text, 0)
			b := base(p)
			b.Theme = "dark"
		}
	}
	return map[string]func(any){
		"empty":   func(p any) { base(p) },
		"full":    all("plain text"),
		"hostile": all(`"><script>window.__pwned=1</script>'<img src=x onerror=window.__pwned=1> hx-get="/p" javascript:alert(1)`),
		"large":   all(strings.Repeat("Ünïcode\u202e👩‍👩‍👧 ", 700)),
	}
}

func fillValue(v reflect.Value, text string, depth int) {
	if depth > 6 {
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(7)
	case reflect.Pointer:
		if v.Type().Elem().Kind() == reflect.Struct && v.Type().Elem().PkgPath() == reflect.TypeFor[Base]().PkgPath() && v.Type() != reflect.TypeFor[*assets]() {
			v.Set(reflect.New(v.Type().Elem()))
			fillValue(v.Elem(), text, depth+1)
		}
	case reflect.Slice:
		s := reflect.MakeSlice(v.Type(), 2, 2)
		for i := range 2 {
			fillValue(s.Index(i), text, depth+1)
		}
		v.Set(s)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[Look]() {
			v.Set(reflect.ValueOf(Look{"red", "solid", "cross", "✕", "FAIL", text}))
			return
		}
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				fillValue(v.Field(i), text, depth+1)
			}
		}
	default: // times, zones: as they are
	}
}

// attributes that htmx acts on; those with a word behind the colon included.
var htmxAllowed = []string{
	"hx-get", "hx-post", "hx-target", "hx-swap", "hx-push-url", "hx-trigger", "hx-sync", "hx-indicator", "hx-disable", "hx-confirm", "hx-ignore", "hx-sse:connect",
}

var (
	elements = strings.Fields("html head meta title link script noscript body svg g defs pattern path symbol use a header nav div span form button p main footer code dialog h1 h2 h3 dl dt dd kbd label input select option section small pre table thead tbody tr th td caption rect line text time b i em bdi ol ul li details summary aside fieldset legend textarea")
	words    = regexp.MustCompile(`(?i)\b(invalid|illegal|oops|please|successfully|something went wrong)\b`)
)

// check walks a page and complains about what no page may hold.
func check(t *testing.T, name string, root *html.Node, hostile bool) (nodes int) {
	ids := map[string]bool{}
	var text strings.Builder
	var walk func(n *html.Node, ignored bool)
	walk = func(n *html.Node, ignored bool) {
		if n.Type == html.ElementNode {
			nodes++
			if !slices.Contains(elements, n.Data) {
				t.Errorf("%s: element %s, which no template writes", name, n.Data)
			}
			for _, a := range n.Attr {
				key := a.Key
				switch {
				case key == "style" || strings.HasPrefix(key, "on") || key == "srcdoc" || key == "formaction":
					t.Errorf("%s: attribute %s on %s", name, key, n.Data)
				case strings.HasPrefix(key, "hx-") && !slices.Contains(htmxAllowed, key) && !strings.HasPrefix(key, "hx-status:"):
					t.Errorf("%s: attribute %s is not one of those we use", name, key)
				case key == "hx-trigger" && strings.ContainsAny(a.Val, "[]"), strings.HasPrefix(a.Val, "js:"):
					t.Errorf("%s: %s=%q needs eval", name, key, a.Val)
				case (key == "href" || key == "src" || key == "action") && n.Namespace != "svg":
					if l := strings.ToLower(strings.TrimSpace(a.Val)); strings.HasPrefix(l, "javascript:") || strings.HasPrefix(l, "data:") || strings.HasPrefix(l, "//") {
						t.Errorf("%s: %s=%q", name, key, a.Val)
					}
				case key == "id":
					if ids[a.Val] && !hostile {
						t.Errorf("%s: id %s is there twice", name, a.Val)
					}
					ids[a.Val] = true
				case key == "hx-ignore":
					ignored = true
				}
			}
			if n.Data == "script" {
				src := ""
				for _, a := range n.Attr {
					if a.Key == "src" {
						src = a.Val
					}
				}
				if !strings.HasPrefix(src, "/static/") || n.FirstChild != nil {
					t.Errorf("%s: a script that is not one of our files", name)
				}
			}
		}
		if n.Type == html.TextNode && !ignored {
			text.WriteString(n.Data + " ")
		}
		for c := n.FirstChild; c != nil; c = c.NextSibling {
			walk(c, ignored)
		}
	}
	walk(root, false)
	if w := words.FindString(text.String()); w != "" && !hostile {
		t.Errorf("%s says %q", name, w)
	}
	return nodes
}

func TestEveryPageWithAnyContent(t *testing.T) {
	t.Parallel()
	for how, fill := range fills(t) {
		for name, make := range pages {
			t.Run(name+" "+how, func(t *testing.T) {
				t.Parallel()
				var b bytes.Buffer
				if err := make(fill).Render(context.Background(), &b); err != nil {
					t.Fatal(err)
				}
				if strings.Contains(b.String(), "<script>window") {
					t.Error("text has become a script")
				}
				root, err := html.Parse(&b)
				if err != nil {
					t.Fatal(err)
				}
				check(t, name, root, how != "empty")
			})
		}
	}
}

// The region of a page that is asked for alone is the one that the page has.
func TestRegionsAreParts(t *testing.T) {
	t.Parallel()
	fill := fills(t)["full"]
	var pipelines PipelinesPage
	var pipeline PipelinePage
	var run RunPage
	var attempt, awaits AttemptPage
	var approvals ApprovalsPage
	for _, p := range []any{&pipelines, &pipeline, &run, &attempt, &awaits, &approvals} {
		fill(p)
	}
	pipeline.Tab, attempt.Await.On = "runs", false
	all := []struct {
		page  templ.Component
		parts regions
	}{
		{PipelinesMain(pipelines), regions{"pipelines": Pipelines(pipelines.List)}},
		{PipelineMain(pipeline), pipelineRegions(pipeline)},
		{RunMain(run), runRegions(run)},
		{AttemptMain(attempt), regions{"attempt-head": AttemptHeader(attempt.Head), "log-region": Log(attempt.Log), "log-end": LogEnd(attempt.Log)}},
		{AttemptMain(awaits), regions{"run-ask": RunAsk(awaits.Ask), "task-await": TaskAwait(awaits.Await)}},
		{ApprovalsMain(approvals), regions{"approvals": Approvals(approvals.List)}},
		{Layout(approvals.Base, ApprovalsMain(approvals)), regions{"nav-approvals": NavApprovals(false, approvals.Questions)}},
	}
	for _, p := range all {
		var whole bytes.Buffer
		if err := p.page.Render(context.Background(), &whole); err != nil {
			t.Fatal(err)
		}
		for id, part := range p.parts {
			var b bytes.Buffer
			if err := part.Render(context.Background(), &b); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(whole.String(), b.String()) {
				t.Errorf("region %s is not a part of its page", id)
			}
			if !regexp.MustCompile(`^<\w+ id="` + id + `"`).MatchString(b.String()) {
				t.Errorf("region %s begins with %.60s", id, b.String())
			}
		}
	}
}

func TestBudgets(t *testing.T) {
	t.Parallel()
	a, err := loadAssets()
	if err != nil {
		t.Fatal(err)
	}
	scripts := 0
	for name, f := range a.files {
		switch {
		case strings.HasSuffix(name, ".css") && len(f.squeezed) > 8<<10:
			t.Errorf("%s has %d bytes, want 8 KiB at most", name, len(f.squeezed))
		case strings.HasPrefix(name, "app-") && strings.HasSuffix(name, ".js") && len(f.squeezed) > 4<<10:
			t.Errorf("%s has %d bytes, want 4 KiB at most", name, len(f.squeezed))
		}
		if strings.HasSuffix(name, ".js") {
			scripts += len(f.squeezed)
		}
	}
	if scripts > 22<<10 {
		t.Errorf("scripts have %d bytes, want 22 KiB at most", scripts)
	}
	b := Base{Zone: time.UTC, Assets: a, Who: "ana", Now: time.Now()}
	rendered := func(c templ.Component) (int, int) {
		var buf bytes.Buffer
		if err := c.Render(context.Background(), &buf); err != nil {
			t.Fatal(err)
		}
		size := len(squeeze(buf.Bytes(), 6))
		root, err := html.Parse(&buf)
		if err != nil {
			t.Fatal(err)
		}
		return size, check(t, "budget", root, false)
	}

	var log AttemptPage
	log.Base = b
	for i := range 2000 {
		log.Log.Lines = append(log.Log.Lines, LogLine{Number: 10_001 + i, At: fmt.Sprintf("02:%02d:%02d.%d", i/60%60, i%60, i%10), Spans: []Span{{"a2", "INFO"}, {"", fmt.Sprintf("  row-group %d written to warehouse.orders in %d ms", i, i*7919%997)}}})
	}
	if size, _ := rendered(Layout(b, AttemptMain(log))); size > 40<<10 {
		t.Errorf("a page of 2000 lines has %d bytes, want 40 KiB at most", size)
	}

	var run RunPage
	run.Base = b
	for i := range 7 {
		row := GanttRow{ID: fmt.Sprint("t", i), Name: fmt.Sprint("task_", i), URL: "/p/default/x/1/t/1", Look: lookSucceeded, Took: "12 s"}
		for k := range 4 {
			row.Bars = append(row.Bars, GanttBar{Kind: "run", Hue: "green", X: fmt.Sprintf("%d.31%%", k*20), Width: "12.44%", Label: "attempt 1 succeeded 12 s"})
		}
		run.Tasks.Rows = append(run.Tasks.Rows, row)
	}
	if size, nodes := rendered(Layout(b, RunMain(run))); size > 15<<10 || nodes > 1500 {
		t.Errorf("a run of 7 tasks has %d bytes and %d nodes, want 15 KiB and 1500 at most", size, nodes)
	}

	var list PipelinesPage
	list.Base = b
	for i := range listPage {
		row := PipelineRow{Ref: Ref{"default", fmt.Sprint("pipeline_", i), false}, Look: lookSucceeded, Description: "Does one thing and does it well.", Schedule: "0 2 * * *", Words: "every day at 02:00", Run: May{OK: true}}
		for k := range 14 {
			row.Strip.Bars = append(row.Strip.Bars, Bar{Look: lookSucceeded, X: k * 10, Y: k % 9, Height: 12, URL: fmt.Sprintf("/p/default/pipeline_%d/%d", i, k), Label: fmt.Sprintf("#%d succeeded 12 s", k)})
		}
		list.List.Rows = append(list.List.Rows, row)
	}
	if size, nodes := rendered(Layout(b, PipelinesMain(list))); size > 20<<10 || nodes > 4500 {
		t.Errorf("a list of 50 pipelines has %d bytes and %d nodes", size, nodes)
	}
}

// The files that are not ours are those that were reviewed.
func TestVendoredFiles(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"static/htmx-4.0.1.min.js":       "a0abb04f2f45a1f89d1d4844023245537e5e6014c87b144553e0607b4cc32130",
		"static/hx-sse-4.0.1.min.js":     "18ef2761356ec1fe0bb6d92612315b37517a7c1e9856b661c5ae81fef239d103",
		"static/htmx-LICENSE":            "d3d2456f76414f2456104660ebd65aff1c04cd7966b942bdabd63f3cdb316a38",
		"testdata/axe/axe-4.14.1.min.js": "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c",
		"testdata/axe/LICENSE":           "af175b9d96ee93c21a036152e1b905b0b95304d4ae8c2c921c7609100ba8df7e",
	} {
		body, err := os.ReadFile(name)
		if err != nil {
			t.Error(err)
			continue
		}
		if sum := sha256.Sum256(body); hex.EncodeToString(sum[:]) != want {
			t.Errorf("%s has checksum %x, want %s", name, sum, want)
		}
	}
	var lock struct {
		Packages map[string]struct{ Version, Integrity string }
	}
	body, err := os.ReadFile("static/package-lock.json")
	if err == nil {
		err = json.Unmarshal(body, &lock)
	}
	if err != nil {
		t.Fatal(err)
	}
	if p := lock.Packages["node_modules/htmx.org"]; p.Version != "4.0.1" || p.Integrity == "" {
		t.Errorf("the lock file names htmx %q", p.Version)
	}
}

// Templates say nothing in words that we do not use, and write no styles.
func TestWordsOfTemplates(t *testing.T) {
	t.Parallel()
	list, err := filepath.Glob("*.templ")
	if err != nil || len(list) < 5 {
		t.Fatalf("found %d templates: %v", len(list), err)
	}
	for _, name := range list {
		body, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		text := regexp.MustCompile(`aria-invalid`).ReplaceAllString(string(body), "")
		if w := words.FindString(text); w != "" {
			t.Errorf("%s says %q", name, w)
		}
		for _, bad := range []string{"templ.Raw", "style=", "hx-on", "hx-boost", "hx-vals", "<style"} {
			if strings.Contains(text, bad) {
				t.Errorf("%s has %s", name, bad)
			}
		}
	}
}

// looks are the looks of all states there are.
func looks() map[string]Look {
	out := map[string]Look{"scheduled": lookScheduled, "paused": lookPaused, "never": lookNever, "ask": taskLook(api.TaskStateWaiting, "approval"), "retry": taskLook(api.TaskStateWaiting, "backoff"), "gate": taskLook(api.TaskStateWaiting, "pool")}
	for _, s := range []api.RunState{api.RunStateQueued, api.RunStateRunning, api.RunStateSucceeded, api.RunStateFailed, api.RunStateCanceled, api.RunStateSkipped} {
		out["run "+string(s)] = runLook(s, "")
	}
	for _, s := range []api.TaskState{api.TaskStateWaiting, api.TaskStateReady, api.TaskStateRunning, api.TaskStateSucceeded, api.TaskStateFailed, api.TaskStateCanceled, api.TaskStateSkipped} {
		for _, reason := range []string{"", "upstream", "condition", "timed_out", "lost", "poison"} {
			out["task "+string(s)+" "+reason] = taskLook(s, reason)
		}
	}
	for _, s := range []api.AttemptState{api.AttemptStateClaimed, api.AttemptStateRunning, api.AttemptStateSubmitting, api.AttemptStateRemote, api.AttemptStateStopping, api.AttemptStateSucceeded, api.AttemptStateFailed, api.AttemptStateTimedOut, api.AttemptStateCanceled, api.AttemptStateLost} {
		out["attempt "+string(s)] = attemptLook(s, "")
	}
	for _, s := range []api.TickState{api.TickStateRun, api.TickStateSkipped, api.TickStateMissed, api.TickStateFailed} {
		out["tick "+string(s)] = tickLook(s)
	}
	return out
}

func TestEveryStateHasALook(t *testing.T) {
	t.Parallel()
	css, err := files.ReadFile("static/app.css")
	if err != nil {
		t.Fatal(err)
	}
	var sprite bytes.Buffer
	if err := Sprite().Render(context.Background(), &sprite); err != nil {
		t.Fatal(err)
	}
	for name, l := range looks() {
		switch {
		case l.Word == "" || l.ASCII == "":
			t.Errorf("%s has no word", name)
		case l.Symbol == "?" && name != "ask":
			t.Errorf("%s is not known", name)
		case !strings.Contains(string(css), ".h-"+l.Hue+" {"):
			t.Errorf("%s: the style sheet has no hue %s", name, l.Hue)
		case l.Fill != "solid" && l.Fill != "plain" && !strings.Contains(string(css), "f-"+l.Fill):
			t.Errorf("%s: the style sheet has no fill %s", name, l.Fill)
		case l.Glyph != "" && !strings.Contains(sprite.String(), `id="i-`+l.Glyph+`"`):
			t.Errorf("%s: the sprite has no glyph %s", name, l.Glyph)
		}
	}
	if l := taskLook("from the future", ""); l.Word != "from the future" {
		t.Errorf("a state that is not known reads %q", l.Word)
	}
}

// TestPalette computes the contrasts of the style sheet.
func TestPalette(t *testing.T) {
	t.Parallel()
	css, err := files.ReadFile("static/app.css")
	if err != nil {
		t.Fatal(err)
	}
	pair := regexp.MustCompile(`--([a-z]+): light-dark\((#[0-9A-F]{6}), (#[0-9A-F]{6})\)`)
	root, _, _ := strings.Cut(string(css), ".light {")
	general := map[string][2]string{}
	for _, m := range pair.FindAllStringSubmatch(root, -1) {
		general[m[1]] = [2]string{m[2], m[3]}
	}
	at := func(what string, i int, front, back string, least float64) {
		if c := contrast(t, front, back); c < least {
			t.Errorf("%s, %s: %s on %s has contrast %.2f, want %.1f", what, []string{"light", "dark"}[i], front, back, c, least)
		}
	}
	for i := range 2 {
		card, page := general["card"][i], general["page"][i]
		for name, least := range map[string]float64{"text": 4.5, "muted": 4.5, "link": 4.5, "edge": 3, "focus": 3} {
			at(name, i, general[name][i], card, least)
			at(name+" on the page", i, general[name][i], page, least)
		}
		at("pressed", i, general["on"][i], general["press"][i], 4.5)
		at("text in a well", i, general["text"][i], general["well"][i], 4.5)
		at("muted in a well", i, general["muted"][i], general["well"][i], 4.5)
		for _, hue := range []string{"neutral", "blue", "amber", "green", "red", "slate"} {
			_, rest, ok := strings.Cut(string(css), "\n.h-"+hue+" {")
			if !ok {
				t.Fatalf("no hue %s", hue)
			}
			rest, _, _ = strings.Cut(rest, "}")
			c := map[string]string{}
			for _, m := range pair.FindAllStringSubmatch(rest, -1) {
				c[m[1]] = m[2+i]
			}
			at(hue+" solid on card", i, c["solid"], card, 3)
			at(hue+" solid on page", i, c["solid"], page, 3)
			at(hue+" glyph", i, general["on"][i], c["solid"], 4.5)
			at(hue+" text on tint", i, c["ink"], c["tint"], 4.5)
			at(hue+" edge on tint", i, c["solid"], c["tint"], 3)
			at(hue+" text in a notice", i, general["text"][i], c["tint"], 4.5)
		}
	}
}

// contrast is that of WCAG 2.
func contrast(t *testing.T, a, b string) float64 {
	t.Helper()
	light := func(hex string) float64 {
		var sum float64
		for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
			n, err := strconv.ParseUint(hex[1+2*i:3+2*i], 16, 8)
			if err != nil {
				t.Fatalf("%q is no colour", hex)
			}
			c := float64(n) / 255
			if c <= 0.04045 {
				c /= 12.92
			} else {
				c = math.Pow((c+0.055)/1.055, 2.4)
			}
			sum += weight * c
		}
		return sum
	}
	x, y := light(a), light(b)
	return (max(x, y) + 0.05) / (min(x, y) + 0.05)
}
