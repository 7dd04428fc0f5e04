package command

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/client"
	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
)

// A ref is what a person names: a pipeline, a run, a task of it, an attempt.
type ref struct {
	Namespace string // "" if none was given
	Pipeline  string
	Run       string // "" for none, a number, latest or failed
	ID        int64  // of a run, instead of a name
	Last      bool   // @last
	Task      string
	Item      string // index or label of an item; "" for none
	Attempt   int    // 0: the newest
}

const refHint = "name, name#12, name@failed, @last, a run's id or the address of its page; then /task, [item], :attempt"

func badRef(text, why string) error {
	return usage("%s: %s", quote(text), why).withHint(refHint)
}

// parseRef reads a reference.
func parseRef(text string) (ref, error) {
	switch {
	case text == "":
		return ref{}, badRef(text, "names nothing")
	case strings.HasPrefix(text, "http://") || strings.HasPrefix(text, "https://"):
		return parseURL(text)
	case strings.HasPrefix(text, "@"):
		mark, task, _ := strings.Cut(text[1:], "/")
		if mark != "last" {
			return ref{}, badRef(text, "only @last stands without a name")
		}
		r := ref{Last: true}
		return r, r.task(text, task)
	}
	if digits, task, slash := strings.Cut(text, "/"); isDigits(digits) && (len(digits) > 9 || slash) {
		id, err := strconv.ParseInt(digits, 10, 64)
		switch {
		case err != nil:
			return ref{}, badRef(text, "that id is too long")
		case id == 0:
			return ref{}, badRef(text, "no run has the id 0")
		}
		r := ref{ID: id}
		return r, r.task(text, task)
	}
	at := strings.IndexAny(text, "#@")
	name, rest := text, ""
	if at >= 0 {
		name, rest = text[:at], text[at+1:]
	}
	var r ref
	if ns, n, ok := strings.Cut(name, "/"); ok {
		r.Namespace, name = ns, n
		if !pipeline.ValidName(ns) {
			return ref{}, badRef(text, quote(ns)+" is not a namespace")
		}
	}
	r.Pipeline = name
	if !pipeline.ValidName(name) {
		return ref{}, badRef(text, quote(name)+" is not a name")
	}
	if at < 0 {
		return r, nil
	}
	run, task, _ := strings.Cut(rest, "/")
	switch {
	case text[at] == '@' && (run == "latest" || run == "failed"):
		r.Run = run
	case text[at] == '@' && run == "last":
		r.Run = "latest"
	case text[at] == '#' && isDigits(run) && len(run) <= 18:
		r.Run = strings.TrimLeft(run, "0")
	default:
		return ref{}, badRef(text, "after # stands a number, after @ latest or failed")
	}
	if r.Run == "" {
		return ref{}, badRef(text, "runs are numbered from 1")
	}
	return r, r.task(text, task)
}

// task reads what stands behind the run: task[item]:attempt.
func (r *ref) task(text, rest string) error {
	if rest == "" {
		if strings.HasSuffix(text, "/") {
			return badRef(text, "no task behind /")
		}
		return nil
	}
	if colon := strings.LastIndexByte(rest, ':'); colon > strings.LastIndexByte(rest, ']') {
		n, err := strconv.Atoi(rest[colon+1:])
		if err != nil || n < 1 {
			return badRef(text, "behind : stands the number of an attempt")
		}
		r.Attempt, rest = n, rest[:colon]
	}
	if open := strings.IndexByte(rest, '['); open >= 0 {
		if !strings.HasSuffix(rest, "]") || open+2 >= len(rest)+0 && rest[open:] == "[]" {
			return badRef(text, "an item is written [3] or [label]")
		}
		r.Item, rest = rest[open+1:len(rest)-1], rest[:open]
		if r.Item == "" {
			return badRef(text, "an item is written [3] or [label]")
		}
	}
	r.Task = rest
	if !pipeline.ValidName(rest) {
		return badRef(text, quote(rest)+" is not the name of a task")
	}
	return nil
}

// parseURL reads the address of a page: /p/{ns}/{name}/{no}/{task}[{item}]/{attempt}.
func parseURL(text string) (ref, error) {
	u, err := url.Parse(text)
	if err != nil {
		return ref{}, badRef(text, "that is no address")
	}
	_, path, ok := strings.Cut(u.EscapedPath(), "/p/")
	if !ok {
		return ref{}, badRef(text, "that address is not of a pipeline or a run")
	}
	var parts []string
	for p := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		p, err := url.PathUnescape(p)
		if err != nil {
			return ref{}, badRef(text, "that is no address")
		}
		parts = append(parts, p)
	}
	if len(parts) < 2 || !pipeline.ValidName(parts[0]) || !pipeline.ValidName(parts[1]) {
		return ref{}, badRef(text, "that address is not of a pipeline or a run")
	}
	r := ref{Namespace: parts[0], Pipeline: parts[1]}
	if len(parts) > 2 && isDigits(parts[2]) {
		r.Run = parts[2]
	}
	if len(parts) > 3 && r.Run != "" {
		task := parts[3]
		if len(parts) > 4 {
			task += ":" + parts[4]
		}
		return r, r.task(text, task)
	}
	if task := u.Query().Get("task"); task != "" && r.Run != "" {
		return r, r.task(text, task)
	}
	return r, nil
}

func isDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// A startedRun is the run that a terminal started last.
type startedRun struct {
	URL       string `json:"url"`
	Namespace string `json:"namespace"`
	Pipeline  string `json:"pipeline"`
	Number    int64  `json:"number"`
}

// remember keeps a run for @last. That it cannot be kept stops nothing.
func (c *call) remember(run api.Run) {
	ns, name := splitPipeline(run.Pipeline)
	t, err := c.resolve()
	if err != nil {
		return
	}
	text, err := json.Marshal(startedRun{URL: t.URL, Namespace: ns, Pipeline: name, Number: run.Number})
	if err == nil {
		err = writePrivate(c.home.lastFile(), text)
	}
	if err != nil && c.Verbose {
		c.ui.warn("@last is not kept: %v", err)
	}
}

func (c *call) last() (startedRun, error) {
	var s startedRun
	text, err := os.ReadFile(c.home.lastFile())
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	t, terr := c.resolve()
	if terr != nil {
		return s, terr
	}
	if err != nil || !sameURL(s.URL, t.URL) {
		return s, api.Errorf(api.NotFound, "this terminal has started no run on %s", t.URL).WithHint("synctl runs")
	}
	return s, nil
}

// splitPipeline takes namespace/name apart.
func splitPipeline(full string) (namespace, name string) {
	namespace, name, ok := strings.Cut(full, "/")
	if !ok {
		return pipeline.DefaultNamespace, full
	}
	return namespace, name
}

// name is a pipeline as people call it: without a namespace that goes without
// saying.
func (c *call) name(namespace, name string) string {
	if namespace == c.namespace() {
		return name
	}
	return namespace + "/" + name
}

// runName is a run as people call it.
func (c *call) runName(pipeline string, number int64) string {
	ns, name := splitPipeline(pipeline)
	return fmt.Sprintf("%s#%d", c.name(ns, name), number)
}

// runRef finds the run that a reference names: a name alone is its newest run.
func (c *call) runRef(ctx context.Context, r ref) (client.RunRef, error) {
	switch {
	case r.Last:
		s, err := c.last()
		return client.RunRef{Namespace: s.Namespace, Pipeline: s.Pipeline, Run: strconv.FormatInt(s.Number, 10)}, err
	case r.ID != 0:
		server, err := c.server()
		if err != nil {
			return client.RunRef{}, err
		}
		run, err := server.RunByID(ctx, r.ID)
		ns, name := splitPipeline(run.Pipeline)
		return client.RunRef{Namespace: ns, Pipeline: name, Run: strconv.FormatInt(run.Number, 10)}, err
	}
	out := client.RunRef{Namespace: r.Namespace, Pipeline: r.Pipeline, Run: r.Run}
	if out.Namespace == "" {
		out.Namespace = c.namespace()
	}
	if out.Run == "" {
		out.Run = "latest"
	}
	return out, nil
}

// taskHint says how to name a task, where name/task was taken for a pipeline in a
// namespace.
func (r ref) taskHint(err error) error {
	e, ok := asAPI(err)
	if ok && e.Code == api.NotFound && r.Namespace != "" && r.Run == "" && r.ID == 0 {
		return e.WithHint("is %s a task? then: %s@latest/%s", r.Pipeline, r.Namespace, r.Pipeline)
	}
	return err
}

// exact is a reference by number: @latest may name another run a moment later.
func exact(r client.RunRef, run api.Run) client.RunRef {
	r.Run = strconv.FormatInt(run.Number, 10)
	return r
}

// itemIndex is the place of an item that is named by its index or its label.
func (c *call) itemIndex(ctx context.Context, server *client.Client, run client.RunRef, r ref) (int, error) {
	if isDigits(r.Item) && len(r.Item) < 6 {
		return strconv.Atoi(r.Item)
	}
	found := -1
	p := api.ListTasksParams{Task: r.Task, Limit: api.MaxPage}
	for {
		page, err := server.Tasks(ctx, run, p)
		if err != nil {
			return 0, err
		}
		for _, t := range page.Items {
			if t.Index == nil || itemLabel(t.Item) != r.Item {
				continue
			}
			if found >= 0 {
				return 0, api.Errorf(api.NotFound, "several items of %s are called %s", r.Task, quote(r.Item)).WithHint("name it by its index: %s[%d]", r.Task, found)
			}
			found = *t.Index
		}
		if page.Next == "" {
			break
		}
		p.Cursor = page.Next
	}
	if found < 0 {
		return 0, api.Errorf(api.NotFound, "task %s has no item %s", r.Task, quote(r.Item)).WithHint("synctl show RUN/%s", r.Task)
	}
	return found, nil
}

// itemLabel is an item as pages show it: a scalar, or the values of the axes.
func itemLabel(item json.RawMessage) string {
	d := json.NewDecoder(bytes.NewReader(item))
	d.UseNumber()
	first, err := d.Token()
	if err != nil {
		return ""
	}
	scalar := func(t json.Token) string {
		if t == nil {
			return "null"
		}
		return fmt.Sprint(t)
	}
	if first != json.Delim('{') {
		if _, nested := first.(json.Delim); nested {
			return cutLabel(string(item))
		}
		return cutLabel(scalar(first))
	}
	var parts []string
	for d.More() {
		if _, err := d.Token(); err != nil {
			return ""
		}
		var value any
		if err := d.Decode(&value); err != nil {
			return ""
		}
		if s, ok := value.(string); ok {
			parts = append(parts, s)
		} else if text, err := json.Marshal(value); err == nil {
			parts = append(parts, string(text))
		}
	}
	return cutLabel(strings.Join(parts, ","))
}

func cutLabel(text string) string {
	if r := []rune(text); len(r) > 64 {
		return string(r[:64])
	}
	return text
}

// taskName is a task or an item as people call it.
func taskName(name string, index *int, item json.RawMessage) string {
	if index == nil {
		return name
	}
	if label := itemLabel(item); label != "" && plainLabel(label) && !isDigits(label) {
		return name + "[" + label + "]"
	}
	return name + "[" + strconv.Itoa(*index) + "]"
}

// plainLabel says that a label can be typed as an address.
func plainLabel(label string) bool {
	return strings.Trim(label, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._,-") == ""
}
