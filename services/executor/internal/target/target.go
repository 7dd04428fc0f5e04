// Package target reads the operator's file of targets: the remote systems that an
// executor may ask, where they are, and with which credentials.
package target

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/synthesizer-dev/synthesizer/services/internal/egress"
)

// KindHTTP is the only kind of target that is built.
const KindHTTP = "http"

// A Target is a remote system as the operator has set it up.
type Target struct {
	Name, Kind string
	Rules      egress.Rules
	Auth       Auth
	// PollRate is how many requests a second an executor makes at most.
	PollRate float64
	Timeout  time.Duration // of one request, answer included
}

// Auth says how requests say who asks. The zero value is: not at all.
type Auth struct {
	Header    string // that is sent: Authorization, or one of the operator's choice
	Scheme    string // Bearer, Basic; "": the secret alone
	User      string // of Basic
	Namespace string // of the secret
	Secret    string
}

// Defaults and limits of a target.
const (
	DefaultTimeout  = 20 * time.Second
	MaxTimeout      = 5 * time.Minute
	DefaultPollRate = 50
	maxPollRate     = 1000
	maxTargets      = 1000
	maxHosts        = 100
	maxFile         = 1 << 20
)

var nameRE = regexp.MustCompile(`^[a-z0-9]([a-z0-9_-]{0,62}[a-z0-9])?(/[a-z0-9]([a-z0-9_-]{0,62}[a-z0-9])?)?$`)

// Read reads a file of targets; "" is none. It names which system gets which
// credentials, so nobody but its owner and its group may change it.
func Read(file string) ([]Target, error) {
	if file == "" {
		return nil, nil
	}
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("read the targets: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the targets: %w", err)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("the targets file %s is not a regular file", file)
	case info.Mode().Perm()&0o002 != 0:
		return nil, fmt.Errorf("the targets file %s has mode %04o: anybody may change it → chmod o-w %s", file, info.Mode().Perm(), file)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the targets: %w", err)
	case len(data) > maxFile:
		return nil, fmt.Errorf("the targets file %s is larger than 1 MiB", file)
	}
	list, err := parse(file, data)
	if err != nil {
		return nil, fmt.Errorf("the targets file: %w", err)
	}
	return list, nil
}

// Serve picks the targets that an executor serves by patterns of their names, as
// path.Match has them; no pattern: all. A pattern that picks nothing is an error:
// what it was meant for would wait for ever.
func Serve(all []Target, patterns []string) ([]Target, error) {
	if len(patterns) == 0 {
		return all, nil
	}
	var served []Target
	used := make([]bool, len(patterns))
	for _, t := range all {
		picked := false
		for i, p := range patterns {
			ok, err := path.Match(p, t.Name)
			if err != nil {
				return nil, fmt.Errorf("serves %q: %w", p, err)
			}
			used[i] = used[i] || ok
			picked = picked || ok
		}
		if picked {
			served = append(served, t)
		}
	}
	if i := slices.Index(used, false); i >= 0 {
		known := make([]string, len(all))
		for j, t := range all {
			known[j] = t.Name
		}
		if len(known) == 0 {
			return nil, fmt.Errorf("serves %s, but there is no targets file", patterns[i])
		}
		return nil, fmt.Errorf("serves %s, but the targets file has only %s", patterns[i], strings.Join(known, ", "))
	}
	return served, nil
}

// parse reads a file. All its mistakes are told together.
func parse(file string, data []byte) ([]Target, error) {
	r := &reader{file: file}
	root := r.decode(data)
	var list []Target
	if root != nil {
		r.fields("the file", root, map[string]func(value){"targets": func(v value) { list = r.targets(v) }})
	}
	if len(r.wrong) > 0 {
		return nil, errors.Join(r.wrong...)
	}
	slices.SortFunc(list, func(a, b Target) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

func (r *reader) targets(v value) []Target {
	var list []Target
	for _, e := range r.pairs(v) {
		switch {
		case len(list) == maxTargets:
			r.failf(e.key, "more than %d targets", maxTargets)
			return nil
		case !nameRE.MatchString(e.key.Value):
			r.failf(e.key, "target %q: a name, or two joined by /, of a-z, 0-9, _ and -", e.key.Value)
			continue
		}
		list = append(list, r.target(e))
	}
	return list
}

func (r *reader) target(v value) Target {
	t := Target{Name: v.key.Value, PollRate: DefaultPollRate, Timeout: DefaultTimeout}
	kind := r.peek(v, "kind")
	switch {
	case kind == nil:
		r.failf(v.key, "kind is missing in target %s", t.Name)
		return t
	case slices.Contains([]string{"kubernetes", "docker", "ssh"}, kind.Value):
		r.failf(kind, "targets of kind %s are not built yet; there is %s", kind.Value, KindHTTP)
		return t
	case kind.Value != KindHTTP:
		r.failf(kind, "unknown kind %q; there is %s", kind.Value, KindHTTP)
		return t
	}
	t.Kind = KindHTTP
	r.fields("target "+t.Name, v.Node, map[string]func(value){
		"kind":          func(value) {},
		"hosts":         func(v value) { t.Rules.Hosts = r.hosts(v) },
		"allow_http":    func(v value) { t.Rules.AllowHTTP = r.boolean(v) },
		"allow_private": func(v value) { t.Rules.AllowPrivate = r.boolean(v) },
		"auth":          func(v value) { t.Auth = r.auth(v) },
		"poll_rps":      func(v value) { t.PollRate = r.number(v, 0.01, maxPollRate) },
		"timeout":       func(v value) { t.Timeout = r.duration(v, time.Second, MaxTimeout) },
	})
	if r.peek(v, "hosts") == nil {
		r.failf(v.key, "hosts is missing in target %s: which hosts may it ask?", t.Name)
	}
	return t
}

func (r *reader) hosts(v value) []string {
	elements := r.list(v)
	if len(elements) == 0 || len(elements) > maxHosts {
		r.failf(v.key, "hosts: 1 to %d", maxHosts)
		return nil
	}
	var hosts []string
	for _, e := range elements {
		text := r.text(value{key: v.key, Node: e})
		host, err := egress.ParseHost(text)
		switch {
		case text == "": // told
		case err != nil:
			r.failf(e, "host %q: %v", text, err)
		case slices.Contains(hosts, host):
			r.failf(e, "host %s is there twice", host)
		default:
			hosts = append(hosts, host)
		}
	}
	return hosts
}

var (
	headerRE = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$")
	wordRE   = regexp.MustCompile(`^[a-z0-9]([a-z0-9_-]{0,62}[a-z0-9])?$`)
	secretRE = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)
)

// auth reads one of bearer, basic, header. A credential itself has no place
// here, only the name of the secret that holds it.
func (r *reader) auth(v value) Auth {
	var a Auth
	pairs := r.pairs(v)
	if len(pairs) != 1 {
		r.failf(v.key, "auth has one of bearer, basic, header")
		return a
	}
	of := pairs[0]
	a.Namespace = "default"
	fields := map[string]func(value){
		"secret":    func(v value) { a.Secret = r.matching(v, secretRE) },
		"namespace": func(v value) { a.Namespace = r.matching(v, wordRE) },
	}
	wanted := []string{"secret"}
	switch of.key.Value {
	case "bearer":
		a.Header, a.Scheme = "Authorization", "Bearer"
	case "basic":
		a.Header, a.Scheme = "Authorization", "Basic"
		fields["user"] = func(v value) { a.User = r.text(v) }
		wanted = append(wanted, "user")
	case "header":
		fields["name"] = func(v value) { a.Header = r.matching(v, headerRE) }
		wanted = append(wanted, "name")
	default:
		r.failf(of.key, "unknown key %q in auth; there are bearer, basic, header", of.key.Value)
		return Auth{}
	}
	r.fields("auth."+of.key.Value, of.Node, fields)
	for _, key := range wanted {
		if r.peek(of, key) == nil {
			r.failf(of.key, "%s is missing in auth.%s", key, of.key.Value)
		}
	}
	if strings.ContainsAny(a.User, ":\r\n\x00") {
		r.failf(of.key, "user may not hold a colon or the end of a line")
	}
	return a
}
