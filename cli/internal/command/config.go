package command

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/BurntSushi/toml"

	"github.com/synthesizer-dev/synthesizer/cli/api"
)

// A config is the user's file.
type config struct {
	Current  string                   `toml:"current,omitempty"`
	Contexts map[string]contextConfig `toml:"context,omitempty"`
}

// A contextConfig is a server, as the user calls it.
type contextConfig struct {
	URL       string `toml:"url"`
	Namespace string `toml:"namespace,omitempty"`
	Zone      string `toml:"tz,omitempty"`
	Confirm   string `toml:"confirm,omitempty"` // always: ask before every change
}

// credentials are kept apart from the config, which people share.
type credentials struct {
	Tokens map[string]string `toml:"tokens"` // by context
}

// A localServer is what a server on this machine left for its user.
type localServer struct {
	URL   string `json:"url"`
	Token string `json:"token"`
}

// A project is what the file beside the pipelines says.
type project struct {
	Source  string   `toml:"source"`
	Paths   []string `toml:"paths"`
	Context string   `toml:"context"`

	dir string // where the file is
}

// home finds the directories of this user.
type home struct{ env Env }

func (h home) dir() string {
	if d := h.env.Getenv("HOME"); d != "" {
		return d
	}
	return h.env.Getenv("USERPROFILE")
}

func (h home) configDir() string {
	if d := h.env.Getenv("XDG_CONFIG_HOME"); d != "" {
		return filepath.Join(d, "synctl")
	}
	return filepath.Join(h.dir(), ".config", "synctl")
}

func (h home) stateDir() string {
	if d := h.env.Getenv("XDG_STATE_HOME"); d != "" {
		return d
	}
	return filepath.Join(h.dir(), ".local", "state")
}

func (h home) configFile() string {
	if f := h.env.Getenv("SYNCTL_CONFIG"); f != "" {
		return f
	}
	return filepath.Join(h.configDir(), "config.toml")
}

func (h home) credentialsFile() string {
	return filepath.Join(filepath.Dir(h.configFile()), "credentials.toml")
}

func (h home) localFile() string {
	return filepath.Join(h.stateDir(), "synthesizer", "local.json")
}

func (h home) lastFile() string {
	name := "last.json"
	if h.env.Session != "" {
		name = "last-" + h.env.Session + ".json"
	}
	return filepath.Join(h.stateDir(), "synctl", name)
}

func (h home) config() (config, error) {
	c := config{Contexts: map[string]contextConfig{}}
	if err := readTOML(h.configFile(), &c); err != nil {
		return c, err
	}
	if c.Contexts == nil {
		c.Contexts = map[string]contextConfig{}
	}
	return c, nil
}

func (h home) saveConfig(c config) error { return writeTOML(h.configFile(), c) }

func (h home) credentials() (credentials, error) {
	c := credentials{}
	file := h.credentialsFile()
	if err := private(file); err != nil {
		return c, err
	}
	if err := readTOML(file, &c); err != nil {
		return c, err
	}
	if c.Tokens == nil {
		c.Tokens = map[string]string{}
	}
	return c, nil
}

func (h home) saveCredentials(c credentials) error { return writeTOML(h.credentialsFile(), c) }

// local is the server that says it runs on this machine, if one does.
func (h home) local() (localServer, bool, error) {
	file := h.localFile()
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return localServer{}, false, nil
	}
	if err != nil {
		return localServer{}, false, err
	}
	if err := private(file); err != nil {
		return localServer{}, false, err
	}
	var s localServer
	if err := json.Unmarshal(text, &s); err != nil || s.URL == "" {
		return localServer{}, false, api.Errorf(api.Malformed, "%s does not say where a server is", file).WithHint("remove it, or sign in: synctl login URL")
	}
	return s, true, nil
}

// private refuses a file with secrets that others can read.
func private(file string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	info, err := os.Stat(file)
	if err != nil {
		return nil // nobody can read what is not there
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return api.Errorf(api.Refused, "%s holds a token and others can read it (mode %04o)", file, mode).WithHint("chmod 600 %s, and take the token out of use if somebody did", file)
	}
	return nil
}

// project looks for the project's file in a directory and above, up to the top
// of the repository.
func (h home) project(dir string) (project, error) {
	var p project
	for {
		file := filepath.Join(dir, ".synctl.toml")
		if _, err := os.Stat(file); err == nil {
			err := readTOML(file, &p)
			p.dir = dir
			return p, err
		}
		if _, err := os.Stat(filepath.Join(dir, ".git")); err == nil {
			return p, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return p, nil
		}
		dir = up
	}
}

func readTOML(file string, into any) error {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	meta, err := toml.Decode(string(text), into)
	if e, ok := errors.AsType[toml.ParseError](err); ok {
		return fmt.Errorf("%s:%d  %s", file, e.Position.Line, e.Message)
	}
	if err != nil {
		return fmt.Errorf("%s  %w", file, err)
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		return fmt.Errorf("%s  unknown key %s", file, quote(unknown[0].String()))
	}
	return nil
}

// writeTOML replaces a file at once, readable by its owner alone.
func writeTOML(file string, value any) error {
	var b bytes.Buffer
	e := toml.NewEncoder(&b)
	e.Indent = ""
	if err := e.Encode(value); err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	return writePrivate(file, b.Bytes())
}

func writePrivate(file string, text []byte) error {
	dir := filepath.Dir(file)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".synctl-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("write %s: %w", file, err)
	}
	return nil
}

func (c config) names() []string {
	var names []string
	for n := range c.Contexts {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}
