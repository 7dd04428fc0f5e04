package pipeline

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Options are what a call says beside the files.
type Options struct {
	// Namespace is that of documents that name none; "" means "default". A
	// document that names another one is refused.
	Namespace string
	// Now is the moment that warnings about the past and about clock changes
	// are judged at; zero: there are none.
	Now time.Time
	// Limits may lower those of the format.
	Limits Limits
	// AllowLoader lets environments set variables of the dynamic loader (LD_…).
	AllowLoader bool
}

// DefaultNamespace is the namespace of documents that name none.
const DefaultNamespace = "default"

// A Source is what a set of files defines, in the order of files and documents.
type Source struct {
	Documents []Document
}

// The kinds of document.
const (
	DocumentPipeline = "pipeline"
	DocumentPool     = "pool"
	DocumentVars     = "vars"
)

// A Document is one definition. One of Pipeline, Pool and Vars is set.
type Document struct {
	Kind      string
	Namespace string
	Name      string
	File      string
	Line      int    // of the file at which Text begins, from 1
	Text      []byte // of this document alone, with LF at the ends of lines
	// ContentHash is the SHA-256 of Text: two registers of the same text are
	// the same content.
	ContentHash [sha256.Size]byte

	Pipeline *Pipeline
	Pool     *Pool
	Vars     *VarSet
	// References are what a pipeline names and the file alone cannot tell.
	References []Reference
	group      spot // of a concurrency group that is written out

	// Reads are the secrets and variables that the document names, each once, in
	// order of kind and name.
	Reads []Read
}

// Pipelines lists the pipelines among the documents.
func (s *Source) Pipelines() []*Pipeline {
	var list []*Pipeline
	for _, doc := range s.Documents {
		if doc.Pipeline != nil {
			list = append(list, doc.Pipeline)
		}
	}
	return list
}

// A parse reads one file of a call.
type parse struct {
	Options
	limits   Limits
	tables   *tables
	problems []Problem
	dropped  counts // problems that there was no room for
	read     []definition
}

// A definition is a document that was read, with the names it lays claim to.
type definition struct {
	Document
	ok     bool // it has no error
	claims []claim
}

// A claim is on a name that only one document may have.
type claim struct {
	what string // "pipeline finance/nightly"
	spot
}

// maxHeld is how many problems of one file are held while it is read: one text
// can have as many as it has lines.
const maxHeld = 20 * MaxProblems

func (p *parse) report(problem Problem) {
	p.problems = append(p.problems, problem)
	if len(p.problems) > maxHeld {
		p.trim()
	}
}

// trim keeps the problems that may yet be told and counts the others.
func (p *parse) trim() {
	if len(p.problems) <= MaxProblems {
		return
	}
	slices.SortStableFunc(p.problems, func(a, b Problem) int {
		return cmp.Or(strings.Compare(string(a.Severity), string(b.Severity)), byPlace(a, b))
	})
	p.problems = slices.CompactFunc(p.problems, func(a, b Problem) bool { return a == b })
	if len(p.problems) > MaxProblems {
		for _, problem := range p.problems[MaxProblems:] {
			p.dropped.add(problem.Severity)
		}
		p.problems = slices.Clone(p.problems[:MaxProblems])
	}
}

// Parse reads files, each counted once by its cleaned name, and gives every
// problem they have. The source holds the documents that have no error.
func Parse(files []File, o Options) (*Source, Problems) {
	files = sorted(files)
	whole := parse{Options: o, limits: o.Limits.lowered(), tables: newTables()}
	if whole.refuseCall(files) {
		return &Source{}, finish(whole.problems, whole.dropped)
	}
	parts := make([]parse, len(files))
	var large sync.Mutex
	each(len(files), func(i int) {
		if len(files[i].Text) > largeFile { // its nodes take a hundred times as much
			large.Lock()
			defer large.Unlock()
		}
		parts[i] = parse{Options: o, limits: whole.limits, tables: whole.tables}
		parts[i].file(files[i])
		parts[i].trim()
	})
	return whole.merge(parts)
}

const largeFile = 32 << 10

// each calls f for 0 to n-1, several at a time. Files do not know of each
// other, and a repository has hundreds. A panic comes out where it would have
// without: its caller may want to survive it.
func each(n int, f func(int)) {
	if n < 8 {
		for i := range n {
			f(i)
		}
		return
	}
	var wait sync.WaitGroup
	var next atomic.Int64
	var panicked atomic.Pointer[any]
	for range runtime.GOMAXPROCS(0) {
		wait.Go(func() {
			defer func() {
				if cause := recover(); cause != nil {
					panicked.Store(&cause)
				}
			}()
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				f(int(i))
			}
		})
	}
	wait.Wait()
	if cause := panicked.Load(); cause != nil {
		panic(*cause)
	}
}

// merge puts the files together and reports names that are claimed twice.
func (p *parse) merge(parts []parse) (*Source, Problems) {
	type place struct {
		file string
		line int
	}
	source := &Source{}
	names := map[string]place{}
	var all []Document // those with errors, too
	for _, part := range parts {
		p.problems = append(p.problems, part.problems...)
		p.dropped.errors += part.dropped.errors
		p.dropped.warnings += part.dropped.warnings
		for _, def := range part.read {
			for _, c := range def.claims {
				if first, ok := names[c.what]; ok {
					p.problems = append(p.problems, Problem{
						File: def.File, Line: c.line, Col: c.col, Len: c.len, Severity: SeverityError, Code: "SYN1102",
						Message: fmt.Sprintf("%s is also in %s:%d", c.what, showFile(first.file), first.line),
					})
					def.ok = false
					continue
				}
				names[c.what] = place{def.File, c.line}
			}
			if def.ok {
				source.Documents = append(source.Documents, def.Document)
			}
			if def.Name != "" {
				all = append(all, def.Document)
			}
		}
	}
	p.problems = append(p.problems, checkLinks(all)...)
	return source, finish(p.problems, p.dropped)
}

// sorted orders files by their cleaned names. The same file twice is one.
func sorted(files []File) []File {
	files = slices.Clone(files)
	slices.SortStableFunc(files, func(a, b File) int { return strings.Compare(path.Clean(a.Name), path.Clean(b.Name)) })
	return slices.CompactFunc(files, func(a, b File) bool {
		return path.Clean(a.Name) == path.Clean(b.Name) && bytes.Equal(a.Text, b.Text)
	})
}

// refuseCall checks the call before a file is read.
func (p *parse) refuseCall(files []File) bool {
	if len(files) == 0 {
		return false
	}
	if p.Namespace != "" && !ValidName(p.Namespace) {
		p.report(Problem{
			File: files[0].Name, Line: 1, Col: 1, Severity: SeverityError, Code: "SYN1101",
			Message: "the call's namespace " + show(p.Namespace) + " " + nameRule, Hint: closestName(p.Namespace, nameRE),
		})
		return true
	}
	for i, f := range files[1:] {
		if path.Clean(f.Name) == path.Clean(files[i].Name) {
			p.report(Problem{
				File: f.Name, Line: 1, Col: 1, Severity: SeverityError, Code: "SYN1102",
				Message: "the file " + showFile(path.Clean(f.Name)) + " is given twice, with different text",
			})
			return true
		}
	}
	return p.tooMuch(files)
}

// tooMuch checks what can be told without looking into a file.
func (p *parse) tooMuch(files []File) bool {
	total := 0
	for i, f := range files {
		total += len(f.Text)
		var message string
		switch {
		case i >= p.limits.Files:
			message = fmt.Sprintf("%s files, %s at most", grouped(len(files)), grouped(p.limits.Files))
		case total > p.limits.TotalBytes:
			message = fmt.Sprintf("the files have more than %s bytes together", grouped(p.limits.TotalBytes))
		default:
			continue
		}
		p.report(Problem{File: f.Name, Line: 1, Col: 1, Severity: SeverityError, Code: "SYN1003", Message: message, Hint: "register in several sources"})
		return true
	}
	return false
}

func (p *parse) file(f File) {
	t, ok := p.openText(f)
	if !ok {
		return
	}
	chunks := t.split()
	if len(chunks) == 0 {
		p.report(Problem{File: f.Name, Line: 1, Col: 1, Severity: SeverityError, Code: "SYN1005", Message: "expected a map with name and tasks, found nothing"})
		return
	}
	for i, c := range chunks {
		d := &document{p: p, text: t, chunk: c}
		if i == p.limits.Documents {
			d.failf(d.start(), "SYN1003", "more than %d documents in one file", p.limits.Documents)
			return
		}
		if d.decode() {
			d.define()
		}
	}
}

// define reads the document by its kind.
func (d *document) define() {
	root := value{Node: d.root, name: "the document"}
	if !d.rootIsMap() {
		return
	}
	kind := d.kind(root)
	var doc definition
	var name value
	switch kind {
	case DocumentPipeline:
		doc.Pipeline, name = d.readPipeline(root)
		doc.Namespace, doc.Name = doc.Pipeline.Namespace, doc.Pipeline.Name
		doc.References, doc.group = d.refs, d.group
	case DocumentPool:
		doc.Pool, name = d.readPool(root)
		doc.Namespace, doc.Name = doc.Pool.Namespace, doc.Pool.Name
	case DocumentVars:
		doc.Vars, name = d.readVars(root)
		doc.Namespace, doc.Name = doc.Vars.Namespace, doc.Vars.Name
	default:
		return
	}
	doc.Kind = kind
	if doc.Name != "" && name.Node != nil {
		d.claims = append(d.claims, claim{kind + " " + doc.Namespace + "/" + doc.Name, d.at(name.Node)})
	}
	doc.ok, doc.claims, doc.File = !d.failed, d.claims, d.text.name
	doc.Line, doc.Text = d.own()
	doc.Reads = firstReads(d.reads)
	doc.ContentHash = sha256.Sum256(doc.Text)
	d.p.read = append(d.p.read, doc)
}

// own is the text that makes up the document, without its marker and without
// blank lines around it, and the line it begins at.
func (d *document) own() (line int, text []byte) {
	lines, line := d.lines, d.first
	for len(lines) > 0 && (strings.TrimSpace(lines[0]) == "" || strings.TrimRight(lines[0], " \t") == "---") {
		lines, line = lines[1:], line+1
	}
	for len(lines) > 0 && strings.TrimSpace(lines[len(lines)-1]) == "" {
		lines = lines[:len(lines)-1]
	}
	return line, []byte(strings.Join(lines, "\n") + "\n")
}

func (d *document) rootIsMap() bool {
	if len(d.root.Content) > 0 && d.isMapping() {
		return true
	}
	found := shape(d.root)
	if d.isMapping() {
		found = "an empty one"
	}
	d.failf(d.start(), "SYN1005", "expected a map with name and tasks, found %s", found)
	return false
}

// kind tells what the document defines, "" if that is unknown or not built.
func (d *document) kind(root value) string {
	for key, v := range d.quietPairs(root) {
		if key.Value != "kind" {
			continue
		}
		text, ok := d.scalar(v, "a word")
		if !ok {
			return ""
		}
		switch text {
		case DocumentPipeline, DocumentPool, DocumentVars:
			return text
		}
		if feature, ok := laterKinds[text]; ok {
			d.notBuilt(v.Node, "kind: "+text, feature)
			return ""
		}
		hint := didYouMean(text, []string{DocumentPipeline, DocumentPool, DocumentVars, "calendar", "notifier", "template"})
		if text == "target" {
			hint = "targets belong to the operator: they are set up with the services"
		}
		d.fail(d.at(v.Node), "SYN1011", "unknown kind "+show(text), hint)
		return ""
	}
	return DocumentPipeline
}

var laterKinds = map[string]string{"calendar": "TRG13", "notifier": "NTF1", "template": "DEF5"}
