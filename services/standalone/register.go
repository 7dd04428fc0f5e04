package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	contract "github.com/synthesizer-dev/synthesizer/cli/api"
)

// register stores the pipelines of a directory and tells what came of it. What is
// wrong with them is told, too: everything else goes on.
func register(ctx context.Context, out io.Writer, s signIn, dir string) {
	if s.token == "" {
		fmt.Fprintf(out, "  ! %s is not registered: no token is known here; sign in, then: synctl register %[1]s\n", dir)
		return
	}
	done, err := store(ctx, s, dir)
	if err != nil {
		fmt.Fprintf(out, "  ✕ %s is not registered:\n", dir)
		problems(out, err)
		return
	}
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	for _, p := range done.Pipelines {
		fmt.Fprintf(w, "  %s %s\t%s\t%s\t%s\n", marks[p.Change], p.Name, p.Change, p.Schedule, next(p.FirstTick))
	}
	_ = w.Flush() // a terminal that went away is noticed elsewhere
	for _, f := range done.Problems {
		fmt.Fprintln(out, "  ! "+finding(f))
	}
}

var marks = map[contract.RegisteredPipelineChange]string{
	contract.RegisteredPipelineChangeNew:       "+",
	contract.RegisteredPipelineChangeChanged:   "~",
	contract.RegisteredPipelineChangeUnchanged: "=",
	contract.RegisteredPipelineChangeKept:      "-",
	contract.RegisteredPipelineChangeRemoved:   "-",
}

func store(ctx context.Context, s signIn, dir string) (contract.Registration, error) {
	c, err := s.client()
	if err != nil {
		return contract.Registration{}, err
	}
	req, err := read(dir)
	if err != nil {
		return contract.Registration{}, err
	}
	return c.Register(ctx, req)
}

// read makes a request of the pipeline files of a directory, by the rules of
// `synctl register`: *.yaml and *.yml below it, no links, no names with a dot in
// front.
func read(dir string) (contract.RegisterRequest, error) {
	owner, err := source(dir)
	if err != nil {
		return contract.RegisterRequest{}, err
	}
	req := contract.RegisterRequest{Source: owner}
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		hidden := path != dir && strings.HasPrefix(e.Name(), ".")
		switch {
		case e.IsDir() && hidden:
			return fs.SkipDir
		case !e.Type().IsRegular() || hidden || filepath.Ext(path) != ".yaml" && filepath.Ext(path) != ".yml":
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		req.Files = append(req.Files, contract.SourceFile{Name: filepath.ToSlash(path), Text: string(text)})
		return nil
	})
	if err != nil {
		return contract.RegisterRequest{}, err
	}
	if len(req.Files) == 0 {
		return contract.RegisterRequest{}, fmt.Errorf("%s holds no file that ends in .yaml or .yml", dir)
	}
	return req, nil
}

// source is the name that `synctl register` would own these files by: that of the
// repository, else of the directory.
func source(dir string) (string, error) {
	full, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for up := full; ; up = filepath.Dir(up) {
		if _, err := os.Stat(filepath.Join(up, ".git")); err == nil {
			return filepath.Base(up), nil
		}
		if up == filepath.Dir(up) {
			return filepath.Base(full), nil
		}
	}
}

// problems tells an error with everything in it, a line each.
func problems(out io.Writer, err error) {
	e, ok := errors.AsType[*contract.Error](err)
	if !ok || len(e.Problems) == 0 {
		fmt.Fprintf(out, "    %v\n", err)
		return
	}
	for _, f := range e.Problems {
		fmt.Fprintln(out, "    "+finding(f))
	}
}

func finding(f contract.Finding) string {
	var b strings.Builder
	if f.Where.File != "" {
		fmt.Fprintf(&b, "%s:%d:%d  ", f.Where.File, f.Where.Line, f.Where.Col)
	}
	b.WriteString(f.Message)
	if f.Hint != "" {
		b.WriteString(" → " + f.Hint)
	}
	return b.String()
}

// next says when a pipeline's first tick comes, in this machine's zone.
func next(at *time.Time) string {
	if at == nil {
		return "by hand"
	}
	return "next " + at.Local().Format("Mon 15:04:05")
}

// tell says where everything is and how to get in.
func tell(out io.Writer, s signIn, took time.Duration) {
	fmt.Fprintf(out, "\nSynthesizer is ready after %s\n\n  pages and API   %s\n", took.Round(100*time.Millisecond), s.address)
	switch {
	case s.token == "":
		fmt.Fprint(out, "  sign in         with a token that was handed out before; lost? bin/api token --reset\n")
	case s.fresh:
		fmt.Fprintf(out, "  sign in         with this token, shown this once: %s\n                  synctl reads it from %s\n", s.token, s.file())
	default:
		fmt.Fprintf(out, "  sign in         with the token in %s, which synctl reads by itself\n", s.file())
	}
	fmt.Fprintln(out)
}

// hints are the next two commands.
func hints(out io.Writer, registered bool) {
	first, does := "bin/synctl register examples", "store some pipelines"
	if registered {
		first, does = "bin/synctl ls", "what is registered"
		fmt.Fprintln(out)
	}
	fmt.Fprintf(out, "In a second terminal:\n\n  %-28s   %s\n  %-28s   run one and watch it\n\nCtrl-C stops everything; the data stays.\n", first, does, "bin/synctl run hello -w")
}
