package app

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
	"github.com/synthesizer-dev/synthesizer/cli/schedule"
	"github.com/synthesizer-dev/synthesizer/db"
)

// A draft is a pipeline of the files.
type draft struct {
	doc  pipeline.Document
	spec []byte
	// schedules are those of the definition, compiled, in its order.
	schedules []*schedule.Schedule
	compiled  bool
}

func (d *draft) ref() PipelineRef { return PipelineRef{d.doc.Namespace, d.doc.Name} }

func (d *draft) where() api.Where { return api.Where{File: d.doc.File, Line: d.doc.Line, Col: 1} }

// at is the place of something that the document reads.
func (d *draft) at(read pipeline.Read) api.Where {
	return api.Where{File: d.doc.File, Line: read.Line, Col: read.Col}
}

// compile checks that a definition can be decided by, and prepares what is
// stored of it. It is done for what changed alone.
func (d *draft) compile() error {
	if d.compiled {
		return nil
	}
	if _, err := flow.Compile(d.doc.Pipeline); err != nil {
		return fmt.Errorf("compile %s: %w", d.ref(), err)
	}
	spec, err := json.Marshal(d.doc.Pipeline)
	if err != nil {
		return fmt.Errorf("write %s as JSON: %w", d.ref(), err)
	}
	d.spec = spec
	for _, s := range d.doc.Pipeline.Schedules {
		compiled, err := schedule.New(s.Spec())
		if err != nil {
			return fmt.Errorf("compile %s: schedule %s: %w", d.ref(), s.ID, err)
		}
		d.schedules = append(d.schedules, compiled)
	}
	d.compiled = true
	return nil
}

// A register is one call of Register.
type register struct {
	app    *App
	by     Actor
	req    api.RegisterRequest
	drafts []*draft
	pools  []pipeline.Document
	vars   []pipeline.Document
	// warnings are told beside the answer, errors in its place.
	warnings, errors []api.Finding
	// force decides ticks that are due itself, instead of waiting for the scheduler.
	force bool
}

// Reasons to run the transaction again.
var (
	errTicksDue = errors.New("ticks of a schedule that changes are still to be decided")
	errRaced    = errors.New("somebody registered the same name at the same moment")
)

const (
	// ticksWait × ticksTries is how long a register waits for the scheduler to
	// decide ticks that came due under the old definition.
	ticksWait  = 200 * time.Millisecond
	ticksTries = 10
)

// Register stores the files of a source, all of them or none.
func (a *App) Register(ctx context.Context, by Actor, req api.RegisterRequest) (api.Registration, error) {
	if err := by.need(api.RoleAuthor, ""); err != nil {
		return api.Registration{}, err
	}
	if err := checkRegister(req); err != nil {
		return api.Registration{}, err
	}
	select {
	case a.registers <- struct{}{}:
		defer func() { <-a.registers }()
	case <-ctx.Done():
		return api.Registration{}, ctx.Err()
	}
	r := &register{app: a, by: by, req: req}
	if err := r.parse(ctx); err != nil {
		return api.Registration{}, err
	}
	for try := 1; ; try++ {
		r.force = try >= ticksTries
		answer, err := r.once(ctx)
		if !errors.Is(err, errTicksDue) && !errors.Is(err, errRaced) || try > ticksTries {
			if err == nil && !req.DryRun {
				a.notifier.Notify(db.ChannelSchedule)
				a.notifier.Notify(db.ChannelEvent)
			}
			return answer, err
		}
		select {
		case <-time.After(ticksWait):
		case <-ctx.Done():
			return api.Registration{}, ctx.Err()
		}
	}
}

// checkRegister checks what is around the files.
func checkRegister(req api.RegisterRequest) error {
	if s := printable(req.Source, 200); s == "" || s != req.Source {
		return api.Errorf(api.Unprocessable, "source is 1 to 200 printable characters, found %s", show(req.Source)).WithHint("synctl register --source NAME")
	}
	if req.Namespace != "" && !isName(req.Namespace) {
		return api.Errorf(api.Unprocessable, "namespace %s is not a name", show(req.Namespace)).WithHint("a name has small letters, digits, _ and -, at most 64")
	}
	if len(req.Files) > api.MaxFiles {
		return api.Errorf(api.TooLarge, "%d files; a register takes %d", len(req.Files), api.MaxFiles).WithHint("register in several sources")
	}
	total := 0
	for _, f := range req.Files {
		if len(f.Text) > api.MaxFileBytes {
			e := api.Errorf(api.TooLarge, "file %s has %d bytes; a file may have %d", show(f.Name), len(f.Text), api.MaxFileBytes).WithHint("split it")
			e.Where = api.Where{File: printable(f.Name, 200), Line: 1, Col: 1}
			return e
		}
		total += len(f.Text)
	}
	if total > api.MaxRegisterBytes {
		return api.Errorf(api.TooLarge, "the files have %d bytes together; a register takes %d", total, api.MaxRegisterBytes).WithHint("register in several sources")
	}
	for name, value := range map[string]string{"git.commit": req.Git.Commit, "git.author": req.Git.Author} {
		if printable(value, 200) != value {
			return api.Errorf(api.Unprocessable, "%s is at most 200 printable characters", name)
		}
	}
	if len(req.Files) == 0 && !req.Prune {
		return api.Errorf(api.Unprocessable, "no files").WithHint("synctl register PATH")
	}
	return nil
}

// parse reads the files and refuses all of them if one has an error.
func (r *register) parse(ctx context.Context) error {
	now, err := r.app.pool.Queries().Now(ctx)
	if err != nil {
		return fmt.Errorf("read the clock: %w", err)
	}
	files := make([]pipeline.File, len(r.req.Files))
	for i, f := range r.req.Files {
		files[i] = pipeline.File{Name: f.Name, Text: []byte(f.Text)}
	}
	source, problems := pipeline.Parse(files, pipeline.Options{Namespace: r.req.Namespace, Now: now})
	findings := findings(problems.List)
	if problems.HasErrors() {
		n := problems.Errors()
		e := api.Errorf(api.Unprocessable, "%s in the files; nothing was stored", plural(n, "error"))
		if i := slices.IndexFunc(findings, func(f api.Finding) bool { return f.Severity == api.FindingSeverityError }); i >= 0 {
			e.Where = findings[i].Where
			if n == 1 {
				e.Message, e.Hint = findings[i].Message, findings[i].Hint
			}
		}
		e.Problems = findings
		return e
	}
	r.warnings = findings
	for _, doc := range source.Documents {
		if err := r.by.need(api.RoleAuthor, doc.Namespace); err != nil {
			return err
		}
		switch doc.Kind {
		case pipeline.DocumentPipeline:
			r.drafts = append(r.drafts, &draft{doc: doc})
		case pipeline.DocumentPool:
			r.pools = append(r.pools, doc)
		case pipeline.DocumentVars:
			r.vars = append(r.vars, doc)
		}
	}
	return nil
}

func findings(list []pipeline.Problem) []api.Finding {
	out := make([]api.Finding, 0, len(list))
	for _, p := range list {
		out = append(out, api.Finding{
			Severity: api.FindingSeverity(p.Severity), Code: p.Code, Message: p.Message, Hint: p.Hint,
			Where: api.Where{File: p.File, Line: p.Line, Col: p.Col, Length: p.Len},
		})
	}
	return out
}

// once decides and, unless it is a dry run, stores.
func (r *register) once(ctx context.Context) (api.Registration, error) {
	warned := len(r.warnings)
	var answer api.Registration
	attempt := func(q *db.Queries) error {
		r.warnings, r.errors = r.warnings[:warned], nil
		now, err := r.read(ctx, q)
		if err != nil {
			return err
		}
		answer, err = r.decide(ctx, q, now)
		return err
	}
	if r.req.DryRun {
		err := attempt(r.app.queries())
		return answer, err
	}
	// What changed is known before anything is locked, so that compiling it holds nobody up.
	if err := r.prepare(ctx); err != nil {
		return answer, err
	}
	err := db.InTx(ctx, r.app.pool, attempt)
	return answer, err
}

// prepare compiles what seems to have changed.
func (r *register) prepare(ctx context.Context) error {
	q := r.app.queries()
	stored, err := r.stored(ctx, q, 0)
	if err != nil {
		return err
	}
	hashes := map[PipelineRef]string{}
	for _, p := range stored {
		hashes[PipelineRef{p.Namespace, p.Name}] = hex.EncodeToString(p.ContentHash)
	}
	for _, d := range r.drafts {
		if hashes[d.ref()] != hex.EncodeToString(d.doc.ContentHash[:]) {
			if err := d.compile(); err != nil {
				return err
			}
		}
	}
	return nil
}

// stored gives what is registered of a source and under the files' names.
func (r *register) stored(ctx context.Context, q *db.Queries, source int64) ([]db.RegisteredPipelinesRow, error) {
	ids, err := q.RegisteredIDs(ctx, r.names(source))
	if err != nil {
		return nil, fmt.Errorf("find pipelines: %w", err)
	}
	rows, err := q.RegisteredPipelines(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("read pipelines: %w", err)
	}
	return rows, nil
}

func (r *register) names(source int64) db.RegisteredIDsParams {
	p := db.RegisteredIDsParams{SourceID: source, Namespaces: []string{}, Names: []string{}}
	for _, d := range r.drafts {
		p.Namespaces = append(p.Namespaces, d.doc.Namespace)
		p.Names = append(p.Names, d.doc.Name)
	}
	return p
}

// before is what was registered when the decision is made.
type before struct {
	source    int64 // 0: a dry run of a source that does not exist yet
	now       time.Time
	pipelines map[PipelineRef]db.LockPipelinesRow
	schedules map[int64][]db.SchedulesOfRow // by pipeline
}

// read takes the locks in their order (links, source, schedules, pipelines) and gives
// what is there. A dry run looks without locks.
func (r *register) read(ctx context.Context, q *db.Queries) (before, error) {
	b := before{pipelines: map[PipelineRef]db.LockPipelinesRow{}, schedules: map[int64][]db.SchedulesOfRow{}}
	if r.req.DryRun {
		clock, err := q.Clock(ctx)
		if err != nil {
			return b, fmt.Errorf("read the clock: %w", err)
		}
		b.now = clock.Now
		if b.source, err = q.SourceID(ctx, r.req.Source); err != nil && !errors.Is(err, db.ErrNoRows) {
			return b, fmt.Errorf("find the source: %w", err)
		}
	} else {
		if r.links() {
			if err := q.LockLinks(ctx); err != nil {
				return b, fmt.Errorf("lock what starts what: %w", err)
			}
		}
		s, err := q.LockSource(ctx, r.req.Source)
		if err != nil {
			return b, fmt.Errorf("lock the source: %w", err)
		}
		b.source, b.now = s.ID, s.Now
	}
	ids, err := q.RegisteredIDs(ctx, r.names(b.source))
	if err != nil {
		return b, fmt.Errorf("find pipelines: %w", err)
	}
	if r.req.DryRun {
		rows, err := q.RegisteredPipelines(ctx, ids)
		if err != nil {
			return b, fmt.Errorf("read pipelines: %w", err)
		}
		for _, p := range rows {
			b.pipelines[PipelineRef{p.Namespace, p.Name}] = db.LockPipelinesRow(p)
		}
	} else {
		if _, err := q.LockSchedulesOf(ctx, ids); err != nil {
			return b, fmt.Errorf("lock schedules: %w", err)
		}
		rows, err := q.LockPipelines(ctx, ids)
		if err != nil {
			return b, fmt.Errorf("lock pipelines: %w", err)
		}
		for _, p := range rows {
			b.pipelines[PipelineRef{p.Namespace, p.Name}] = p
		}
	}
	schedules, err := q.SchedulesOf(ctx, ids)
	if err != nil {
		return b, fmt.Errorf("read schedules: %w", err)
	}
	for _, s := range schedules {
		b.schedules[s.PipelineID] = append(b.schedules[s.PipelineID], s)
	}
	return b, nil
}

// fail notes an error of a document.
func (r *register) fail(code string, where api.Where, hint, format string, args ...any) {
	r.errors = append(r.errors, api.Finding{Severity: api.FindingSeverityError, Code: code, Message: fmt.Sprintf(format, args...), Hint: hint, Where: where})
}

// warn notes what cannot work now, and may later.
func (r *register) warn(code string, where api.Where, hint, format string, args ...any) {
	r.warnings = append(r.warnings, api.Finding{Severity: api.FindingSeverityWarning, Code: code, Message: fmt.Sprintf(format, args...), Hint: hint, Where: where})
}

// failed is all errors as one.
func (r *register) failed(code api.Code) error {
	slices.SortStableFunc(r.errors, func(a, b api.Finding) int {
		return strings.Compare(fmt.Sprintf("%s\x00%08d", a.Where.File, a.Where.Line), fmt.Sprintf("%s\x00%08d", b.Where.File, b.Where.Line))
	})
	e := &api.Error{Code: code, Message: fmt.Sprintf("%s; nothing was stored", plural(len(r.errors), "error")), Problems: r.errors, Where: r.errors[0].Where}
	if len(r.errors) == 1 {
		e.Message, e.Hint = r.errors[0].Message, r.errors[0].Hint
	}
	const most = 50
	if len(e.Problems) > most {
		e.Problems = e.Problems[:most]
	}
	return e
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}
