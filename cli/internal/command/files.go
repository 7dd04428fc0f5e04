package command

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
)

// readFiles reads the files that the paths name: a file whatever its ending, of
// a directory all *.yaml and *.yml below it, but for hidden ones. Links are not
// followed below a directory.
func (c *call) readFiles(paths []string) ([]pipeline.File, error) {
	seen := map[string]bool{}
	var names []string
	add := func(name string) {
		if name = filepath.Clean(name); !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
	}
	for _, p := range paths {
		info, err := os.Stat(c.path(p))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, &saying{status: ExitNotFound, message: fmt.Sprintf("there is no %s here", quote(p))}
		}
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			add(p)
			continue
		}
		err = filepath.WalkDir(c.path(p), func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(c.path(p), path)
			if err != nil {
				return err
			}
			switch hidden := strings.HasPrefix(d.Name(), ".") && rel != "."; {
			case hidden && d.IsDir():
				return fs.SkipDir
			case hidden || !d.Type().IsRegular():
				return nil
			}
			if ext := filepath.Ext(path); ext == ".yaml" || ext == ".yml" {
				add(filepath.Join(p, rel))
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	slices.Sort(names)
	if len(names) > api.MaxFiles {
		return nil, api.Errorf(api.TooLarge, "%d files; a register takes %d", len(names), api.MaxFiles).WithHint("name fewer paths")
	}
	files := make([]pipeline.File, 0, len(names))
	for _, name := range names {
		text, err := c.readFile(name)
		if err != nil {
			return nil, err
		}
		files = append(files, pipeline.File{Name: filepath.ToSlash(name), Text: text})
	}
	return files, nil
}

// readFile reads a file, not much more than one may hold: the parser says that
// it is too large.
func (c *call) readFile(name string) ([]byte, error) {
	f, err := os.Open(c.path(name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text := make([]byte, api.MaxFileBytes+1)
	n := 0
	for n < len(text) {
		k, err := f.Read(text[n:])
		n += k
		if err != nil {
			break
		}
		if k == 0 {
			break
		}
	}
	return text[:n], nil
}

// paths are those of the line, else those of the project, else pipelines/, else
// here.
func (c *call) paths(given []string) ([]string, error) {
	if len(given) > 0 {
		return given, nil
	}
	p, err := c.project()
	if err != nil {
		return nil, err
	}
	if len(p.Paths) > 0 {
		list := make([]string, len(p.Paths))
		for i, path := range p.Paths {
			full := filepath.Join(p.dir, path)
			if rel, err := filepath.Rel(c.Dir, full); err == nil {
				full = rel
			}
			list[i] = full
		}
		return list, nil
	}
	if info, err := os.Stat(c.path("pipelines")); err == nil && info.IsDir() {
		return []string{"pipelines"}, nil
	}
	return []string{"."}, nil
}

// A checkout is what version control knows of the files.
type checkout struct {
	top string // of the repository
	git api.Git
}

// checkout asks git about the files. Without a repository there is nothing to
// know.
func (c *call) checkout(ctx context.Context, paths []string) checkout {
	dir := c.Dir
	if len(paths) > 0 {
		dir = c.path(paths[0])
		if info, err := os.Stat(dir); err == nil && !info.IsDir() {
			dir = filepath.Dir(dir)
		}
	}
	top, err := c.Git(ctx, dir, "rev-parse", "--show-toplevel")
	if err != nil || top == "" {
		return checkout{}
	}
	k := checkout{top: top}
	if commit, err := c.Git(ctx, dir, "rev-parse", "HEAD"); err == nil {
		k.git.Commit = commit
	}
	if author, err := c.Git(ctx, dir, "config", "user.name"); err == nil {
		k.git.Author = cleanLine(author)
	}
	status := []string{"status", "--porcelain", "--"}
	for _, p := range paths {
		if full, err := filepath.Abs(c.path(p)); err == nil {
			status = append(status, full)
		}
	}
	if text, err := c.Git(ctx, dir, status...); err == nil {
		k.git.Dirty = text != ""
	}
	return k
}

// source is the name of what owns the pipelines: as said, else the project's,
// else the repository's, else that of the directory.
func (c *call) source(given string, k checkout, paths []string) (string, error) {
	if given != "" {
		return given, nil
	}
	p, err := c.project()
	if err != nil {
		return "", err
	}
	if p.Source != "" {
		return p.Source, nil
	}
	if k.top != "" {
		return filepath.Base(k.top), nil
	}
	dir := c.path(paths[0])
	if info, err := os.Stat(dir); err == nil && !info.IsDir() {
		dir = filepath.Dir(dir)
	}
	dir, err = filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	name := filepath.Base(dir)
	if name == "" || name == "." || name == string(filepath.Separator) {
		name = "files"
	}
	return name, nil
}
