package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
)

// A pkg is what the Go files of one folder say about themselves. An external
// test package counts with the package it tests.
type pkg struct {
	dir   string // from the top of the repository
	name  string
	files []file
}

// A file is what the rules look at in one Go file.
type file struct {
	path      string
	test      bool
	generated bool
	doc       string
	imports   []string
	now       []int // the lines that call time.Now
	lines     int
}

// load reads all Go files below the top of a repository, whatever their build
// constraints: a rule holds on every system.
func load(fsys fs.FS) ([]pkg, error) {
	found := map[string]*pkg{}
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := path.Base(name)
		if d.IsDir() {
			if name != "." && (base == "testdata" || base == "bin" || base == "vendor" || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_")) {
				return fs.SkipDir
			}
			return nil
		}
		if path.Ext(name) != ".go" {
			return nil
		}
		f, in, err := read(fsys, name)
		if err != nil {
			return err
		}
		p := found[path.Dir(name)]
		if p == nil {
			p = &pkg{dir: path.Dir(name), name: in}
			found[p.dir] = p
		}
		if f.ignored {
			p.name = orElse(p.name, in)
		} else {
			p.name = in
			p.files = append(p.files, f.file)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the source: %w", err)
	}
	var tree []pkg
	for _, dir := range slices.Sorted(maps.Keys(found)) {
		if p := found[dir]; len(p.files) > 0 {
			tree = append(tree, *p)
		}
	}
	return tree, nil
}

func orElse(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// A source is a file and whether the build leaves it out: a generator that is
// started with `go run` beside the package it writes for.
type source struct {
	file
	ignored bool
}

func read(fsys fs.FS, name string) (source, string, error) {
	text, err := fs.ReadFile(fsys, name)
	if err != nil {
		return source{}, "", err
	}
	set := token.NewFileSet()
	syntax, err := parser.ParseFile(set, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return source{}, "", err
	}
	s := source{file: file{
		path:      name,
		test:      strings.HasSuffix(name, "_test.go"),
		generated: ast.IsGenerated(syntax),
		doc:       strings.TrimSpace(syntax.Doc.Text()),
		lines:     set.File(syntax.Pos()).LineCount(),
	}}
	s.ignored = strings.HasPrefix(string(text), "//go:build ignore\n")
	clock := ""
	for _, i := range syntax.Imports {
		p, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			return source{}, "", err
		}
		s.imports = append(s.imports, p)
		if p == "time" {
			clock = "time"
			if i.Name != nil {
				clock = i.Name.Name
			}
		}
	}
	ast.Inspect(syntax, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok && sel.Sel.Name == "Now" && clock != "" {
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == clock {
				s.now = append(s.now, set.Position(sel.Pos()).Line)
			}
		}
		return true
	})
	name = syntax.Name.Name
	if s.test {
		name = strings.TrimSuffix(name, "_test")
	}
	return s, name, nil
}
