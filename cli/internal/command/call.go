package command

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/client"
	"github.com/synthesizer-dev/synthesizer/cli/schedule"
)

// A call is one command at work: what was said everywhere, and what to say it
// with.
type call struct {
	Env
	ui   *ui
	home home
	sharedOptions
	// beside is where the project's file is looked for: beside the pipelines.
	beside string

	target *target // nil: not asked for yet
	client *client.Client
}

// sharedOptions are those that every command has.
type sharedOptions struct {
	Context, Namespace string
	Zone               string
	Progress           string
	Verbose            bool
	NoInput, Yes       bool
	Timeout            time.Duration
}

// A target is the server that a call speaks to.
type target struct {
	Name      string // of the context; "" for none
	URL       string
	Token     string
	Namespace string
	Zone      string
	Confirm   string
	From      string // what says so
}

// resolve finds out which server is meant: flag, environment, project, user's
// choice, the server on this machine.
func (c *call) resolve() (*target, error) {
	if c.target != nil {
		return c.target, nil
	}
	conf, err := c.home.config()
	if err != nil {
		return nil, err
	}
	t, err := c.choose(conf)
	if err != nil {
		return nil, err
	}
	if token := c.Getenv("SYNCTL_TOKEN"); token != "" {
		t.Token = token
	}
	t.Namespace = cmp.Or(c.Namespace, c.Getenv("SYNCTL_NAMESPACE"), t.Namespace)
	c.target = t
	return t, nil
}

func (c *call) choose(conf config) (*target, error) {
	named := func(name, from string) (*target, error) {
		x, ok := conf.Contexts[name]
		if !ok {
			e := api.Errorf(api.NotFound, "there is no context %s", quote(name)).WithHint("synctl context ls")
			if near := nearest(name, conf.names()); near != "" {
				e.Message += "; did you mean " + quote(near) + "?"
			}
			return nil, e
		}
		creds, err := c.home.credentials()
		if err != nil {
			return nil, err
		}
		return &target{Name: name, URL: x.URL, Token: creds.Tokens[name], Namespace: x.Namespace, Zone: x.Zone, Confirm: x.Confirm, From: from}, nil
	}
	if c.Context != "" {
		return named(c.Context, "--context")
	}
	if url := c.Getenv("SYNCTL_URL"); url != "" {
		return c.atURL(conf, url)
	}
	if name := c.Getenv("SYNCTL_CONTEXT"); name != "" {
		return named(name, "SYNCTL_CONTEXT")
	}
	p, err := c.project()
	if err != nil {
		return nil, err
	}
	if p.Context != "" {
		return named(p.Context, filepath.Join(p.dir, ".synctl.toml"))
	}
	if conf.Current != "" {
		return named(conf.Current, c.home.configFile())
	}
	s, ok, err := c.home.local()
	if err != nil {
		return nil, err
	}
	if ok {
		return &target{URL: s.URL, Token: s.Token, From: c.home.localFile()}, nil
	}
	return nil, &saying{status: ExitError, message: "no server is known here", hint: "start one on this machine, or sign in to one: synctl login URL"}
}

// atURL is a server by its address, with the token that is known for it.
func (c *call) atURL(conf config, url string) (*target, error) {
	t := &target{URL: url, From: "SYNCTL_URL"}
	if c.Getenv("SYNCTL_TOKEN") != "" {
		return t, nil
	}
	for _, name := range conf.names() {
		if sameURL(conf.Contexts[name].URL, url) {
			creds, err := c.home.credentials()
			if err != nil {
				return nil, err
			}
			t.Token = creds.Tokens[name]
			return t, nil
		}
	}
	if s, ok, err := c.home.local(); err == nil && ok && sameURL(s.URL, url) {
		t.Token = s.Token
	}
	return t, nil
}

func sameURL(a, b string) bool { return strings.TrimRight(a, "/") == strings.TrimRight(b, "/") }

// server is the client of the server that is meant.
func (c *call) server() (*client.Client, error) {
	if c.client != nil {
		return c.client, nil
	}
	t, err := c.resolve()
	if err != nil {
		return nil, err
	}
	c.client, err = c.dial(t.URL, t.Token, 0)
	return c.client, err
}

func (c *call) dial(url, token string, patience time.Duration) (*client.Client, error) {
	o := client.Options{URL: url, Token: token, UserAgent: "synctl/" + c.Version, Patience: patience}
	if c.Verbose {
		o.HTTP = &http.Client{Transport: &spoken{ui: c.ui, next: http.DefaultTransport, now: c.Now}}
	}
	var told bool
	o.Retrying = func(err error, in time.Duration) {
		if !told || c.Verbose {
			told = true
			c.ui.note("%s %s; trying again", c.ui.paintErr(amber, "!"), clean(err.Error()))
		}
	}
	return c.Dial(o)
}

// namespace is that of names that have none.
func (c *call) namespace() string {
	if t, err := c.resolve(); err == nil && t.Namespace != "" {
		return t.Namespace
	}
	return cmp.Or(c.Namespace, c.Getenv("SYNCTL_NAMESPACE"), "default")
}

// clock shows and reads times in the reader's zone.
func (c *call) clock() (clock, error) {
	name, flag := c.Zone, "--tz"
	if name == "" {
		name, flag = c.Getenv("SYNCTL_TZ"), "SYNCTL_TZ"
	}
	if name == "" {
		if t, err := c.resolve(); err == nil {
			name, flag = t.Zone, "tz of context "+t.Name
		}
	}
	k := clock{now: c.Now(), zone: c.Local}
	if name == "" {
		return k, nil
	}
	zone, err := schedule.LoadZone(name)
	if err != nil {
		return k, usage("%s: %s", flag, sentence(err))
	}
	k.zone = zone
	return k, nil
}

// asks says whether a question can be asked.
func (c *call) asks() bool { return c.StdinTTY && c.StderrTTY && !c.NoInput }

// confirm asks a question that is answered with yes or no. Without a terminal
// nobody is asked, and the line must say yes.
func (c *call) confirm(ctx context.Context, question string) error {
	if c.Yes {
		return nil
	}
	if !c.asks() {
		return usage("needs confirmation and there is no terminal").withHint("add --yes")
	}
	fmt.Fprintf(c.Stderr, "%s [y/N] ", c.ui.fit(question))
	line, err := readLine(ctx, c.Stdin)
	if err != nil {
		return err
	}
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return nil
	default:
		return &saying{status: ExitCanceled, message: "nothing was changed"}
	}
}

// readLine reads up to the end of a line, byte by byte: what follows belongs to
// somebody else.
func readLine(ctx context.Context, r interface{ Read([]byte) (int, error) }) (string, error) {
	type answer struct {
		text string
		err  error
	}
	done := make(chan answer, 1)
	// A read of a terminal cannot be called off: the goroutine ends with the
	// process, or with the next line.
	go func() {
		var text []byte
		one := make([]byte, 1)
		for {
			n, err := r.Read(one)
			if n > 0 && one[0] == '\n' || err != nil {
				done <- answer{string(text), nil}
				return
			}
			if n > 0 {
				text = append(text, one[0])
			}
		}
	}()
	select {
	case a := <-done:
		return a.text, a.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// spoken tells of each request.
type spoken struct {
	ui   *ui
	next http.RoundTripper
	now  func() time.Time
}

func (s *spoken) RoundTrip(req *http.Request) (*http.Response, error) {
	start := s.now()
	resp, err := s.next.RoundTrip(req)
	what := "no answer"
	if err == nil {
		what = resp.Status
	}
	s.ui.say(fmt.Sprintf("%s %s: %s, %s", req.Method, clean(req.URL.String()), what, duration(s.now().Sub(start))))
	return resp, err
}

// path is a path as seen from the working directory.
func (c *call) path(p string) string {
	if filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(c.Dir, p)
}

func exists(p string) bool {
	_, err := os.Stat(p)
	return err == nil
}

func (c *call) project() (project, error) { return c.home.project(cmp.Or(c.beside, c.Dir)) }

// besides looks for the project's file beside what a line names.
func (c *call) besides(paths []string) {
	if len(paths) == 0 {
		return
	}
	dir, err := filepath.Abs(c.path(paths[0]))
	if err != nil {
		return
	}
	if info, err := os.Stat(dir); err == nil && !info.IsDir() {
		dir = filepath.Dir(dir)
	}
	c.beside = dir
}
