package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	contract "github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/client"
	"github.com/synthesizer-dev/synthesizer/services/api"
)

// dirs are the directories of one installation.
type dirs struct {
	data, work string
	// state is where synctl looks; "" when this user has no such place.
	state string
}

func directories(cfg config) (dirs, error) {
	d := dirs{data: cfg.DataDir, work: cfg.WorkDir}
	if root := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(root) {
		d.state = filepath.Join(root, "synthesizer")
	} else if home := os.Getenv("HOME"); filepath.IsAbs(home) {
		d.state = filepath.Join(home, ".local", "state", "synthesizer")
	}
	if d.data == "" {
		d.data = d.state
	}
	if d.data == "" {
		return dirs{}, errors.New("nowhere to keep data: neither HOME nor XDG_STATE_HOME is set; choose a directory with --data-dir or SYN_DATA_DIR")
	}
	if d.work == "" {
		d.work = filepath.Join(d.data, "work")
	}
	for _, dir := range []*string{&d.data, &d.work} {
		abs, err := filepath.Abs(*dir)
		if err != nil {
			return dirs{}, fmt.Errorf("directory %s: %w", *dir, err)
		}
		*dir = abs
	}
	// Others may pass through: where root starts it, Postgres may be another user.
	if err := os.MkdirAll(d.data, 0o711); err != nil {
		return dirs{}, fmt.Errorf("%w; choose another directory with --data-dir or SYN_DATA_DIR", err)
	}
	return d, nil
}

// local is the file that synctl reads where nothing else names a server.
type local struct {
	URL   string `json:"url"`
	Token string `json:"token"`
}

const localFile = "local.json"

func readLocal(dir string) local {
	var l local
	text, err := os.ReadFile(filepath.Join(dir, localFile))
	if err != nil || json.Unmarshal(text, &l) != nil {
		return local{} // a new token is made, and the file is written anew
	}
	return l
}

// write puts the file into a directory, whole or not at all, for its owner alone.
func (l local) write(dir string) (err error) {
	text, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "."+localFile+"-*") // 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.Write(append(text, '\n'))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), filepath.Join(dir, localFile))
}

// A signIn is the way in: the address, and a token that lets its holder do
// everything.
type signIn struct {
	url     string // of the database
	own     bool   // the database is ours alone
	address string // of the pages and the API
	dirs    dirs
	token   string // "" if there is none that we know
	fresh   bool   // the token was made now
}

// prepare takes the token of the last start, or makes the first one before the
// api would.
func (s *signIn) prepare(ctx context.Context) error {
	if s.token = readLocal(s.dirs.data).Token; s.token != "" {
		return nil
	}
	return s.draw(ctx)
}

// finish makes sure that the token holds, now that the api can be asked, and
// leaves it where synctl and the next start find it.
func (s *signIn) finish(ctx context.Context) error {
	if s.token != "" && !s.fresh {
		c, err := s.client()
		if err != nil {
			return err
		}
		if _, err := c.Whoami(ctx); contract.IsCode(err, contract.Unauthenticated) {
			err = s.draw(ctx)
			if err != nil {
				return err
			}
		} else if err != nil {
			return fmt.Errorf("try the token: %w", err)
		}
	}
	if s.token == "" {
		return nil
	}
	l := local{URL: s.address, Token: s.token}
	for _, dir := range []string{s.dirs.data, s.dirs.state} {
		if dir == "" {
			continue
		}
		if err := l.write(dir); err != nil {
			return fmt.Errorf("keep address and token for synctl: %w", err)
		}
	}
	return nil
}

// draw makes a token. Where the data is ours and the old token is lost, it is
// replaced; in a database of others' the operator decides that.
func (s *signIn) draw(ctx context.Context) error {
	secret, err := api.OperatorToken(ctx, s.url, false)
	if contract.IsCode(err, contract.Guarded) {
		if !s.own {
			s.token = ""
			return nil
		}
		secret, err = api.OperatorToken(ctx, s.url, true)
	}
	if err != nil {
		return err
	}
	s.token, s.fresh = secret, true
	return nil
}

func (s *signIn) client() (*client.Client, error) {
	return client.New(client.Options{URL: s.address, Token: s.token, UserAgent: "standalone"})
}

// file is where the token can be read.
func (s *signIn) file() string {
	if s.dirs.state != "" {
		return filepath.Join(s.dirs.state, localFile)
	}
	return filepath.Join(s.dirs.data, localFile)
}
