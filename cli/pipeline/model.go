package pipeline

import "time"

// A Pipeline is one definition as the file gave it, with every default filled
// in. It is what a revision stores (as JSON) and what everything else reads: a
// change of a field's meaning needs a new version, not a new default.
//
// Fields of type Expr hold text that may contain ${{ }}; fields of type
// Condition are one expression. Both have been checked when the value exists.
type Pipeline struct {
	Version     int               `json:"version"`
	Namespace   string            `json:"namespace"`
	Name        string            `json:"name"`
	Description string            `json:"description,omitempty"`
	Owner       string            `json:"owner,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Timezone    string            `json:"timezone"`
	Schedules   []Schedule        `json:"schedules,omitempty"`
	Manual      bool              `json:"manual"`
	Params      []Param           `json:"params,omitempty"`
	Env         []Var             `json:"env,omitempty"`
	MaxParallel int               `json:"max_parallel,omitempty"` // 0: no limit
	Concurrency Concurrency       `json:"concurrency"`
	Timeout     Duration          `json:"timeout"`
	Retention   Retention         `json:"retention"`
	// Tasks and Finally are in file order. In JSON each is an object keyed by
	// the task's name, so that SQL can look a task up; the order is kept by
	// Task.Ordinal.
	Tasks   Tasks       `json:"tasks"`
	Finally Tasks       `json:"finally,omitempty"`
	Outputs []RunOutput `json:"outputs,omitempty"`
	// Triggers are those of triggers.pipelines, in file order.
	Triggers []Trigger `json:"triggers,omitempty"`
}

// An Expr is text that may hold ${{ }}.
type Expr string

// A Condition is an expression that gives a boolean, without braces. Empty
// means that the file says nothing and the default of the place holds.
type Condition string

// A Schedule is one entry under schedule:.
type Schedule struct {
	ID            string      `json:"id"` // "default" for a single one
	Cron          string      `json:"cron,omitempty"`
	Every         Duration    `json:"every,omitempty"`
	At            []time.Time `json:"at,omitempty"`
	Anchor        time.Time   `json:"anchor,omitzero"`
	Timezone      string      `json:"timezone"`
	Gap           string      `json:"gap,omitempty"`     // next (default), skip
	Overlap       string      `json:"overlap,omitempty"` // first (default), second, both
	Catchup       string      `json:"catchup"`           // latest, none, all
	CatchupWindow Duration    `json:"catchup_window"`
	// Params are values for the pipeline's params, as JSON has them. Each string
	// in them is a template: it may hold ${{ }}.
	Params map[string]any `json:"params,omitempty"`
}

// A Trigger starts a run whenever a run of another pipeline has ended.
type Trigger struct {
	Namespace string    `json:"namespace"` // of the pipeline whose end it waits for
	Name      string    `json:"name"`
	Result    string    `json:"result"` // succeeded, failed, canceled, any
	If        Condition `json:"if,omitempty"`
	// Params are values for the params of the pipeline that is started, of their
	// types. Each string in them is a template.
	Params map[string]any `json:"params,omitempty"`
}

// A Param is a declared parameter of a pipeline, in declared order.
type Param struct {
	Name   string `json:"name"`
	Schema Schema `json:"schema"`
}

// A Var is one environment variable: a name and the text it is rendered from.
type Var struct {
	Name  string `json:"name"`
	Value Expr   `json:"value"`
}

// Concurrency says how runs of one group share.
type Concurrency struct {
	Group      Expr   `json:"group,omitempty"` // empty: the pipeline is its own group
	Limit      int    `json:"limit"`
	OnConflict string `json:"on_conflict"` // queue, skip, cancel_running, fail
	MaxQueued  int    `json:"max_queued"`
}

// Retention says how long history is kept at least.
type Retention struct {
	Runs Duration `json:"runs"`
	Logs Duration `json:"logs"`
}

// Tasks is a list of tasks in file order; in JSON an object keyed by name.
type Tasks []*Task

// A Kind says what a task does.
type Kind string

// The kinds of task. Others of the format are refused until they are built.
const (
	KindRun      Kind = "run"
	KindCommand  Kind = "command"
	KindPipeline Kind = "pipeline"
	KindWait     Kind = "wait"
	KindApproval Kind = "approval"
)

// Awaits says whether tasks of this kind run on no executor: something else ends
// them. What they do not have (environment, budgets for lost executors, exit
// codes, a pool …) is zero in their Task.
func (k Kind) Awaits() bool { return k == KindPipeline || k == KindWait || k == KindApproval }

// A Task is one node of the graph.
type Task struct {
	Name string `json:"name"`
	// Ordinal is the task's place over Tasks and then Finally, from 0. The
	// task's number in a run is Ordinal × 16384, an item's that + index + 1.
	Ordinal     int       `json:"ordinal"`
	Description string    `json:"description,omitempty"`
	Kind        Kind      `json:"kind"`
	Needs       []string  `json:"needs,omitempty"`
	If          Condition `json:"if,omitempty"`

	Matrix      []Axis `json:"matrix,omitempty"`
	ForEach     *Items `json:"for_each,omitempty"`
	MaxParallel int    `json:"max_parallel,omitempty"` // of a fan-out's items; 0: no limit
	FailFast    bool   `json:"fail_fast,omitempty"`    // of a fan-out; the file's default is true

	Run        string            `json:"run,omitempty"`     // script text, never rendered
	Shell      []string          `json:"shell,omitempty"`   // argv the text is appended to
	Command    []Expr            `json:"command,omitempty"` // argv
	WorkingDir Expr              `json:"working_dir,omitempty"`
	Env        []Var             `json:"env,omitempty"`
	Secrets    map[string]string `json:"secrets,omitempty"` // variable → name of the secret
	RunsOn     []string          `json:"runs_on,omitempty"` // sorted, unique

	Sub      *Sub      `json:"pipeline,omitempty"`
	Wait     *Wait     `json:"wait,omitempty"`
	Approval *Approval `json:"approval,omitempty"`

	Outputs      []Output  `json:"outputs,omitempty"`
	Retry        Retry     `json:"retry,omitzero"`
	ExitCodes    ExitCodes `json:"exit_codes,omitzero"`
	Lost         int       `json:"lost"`                    // extra attempts after a lost executor
	Timeout      Duration  `json:"timeout"`                 // of one attempt; 0 (of kinds that await): none of its own
	QueueTimeout Duration  `json:"queue_timeout,omitempty"` // 0: none
	CancelGrace  Duration  `json:"cancel_grace"`
	Pool         *PoolUse  `json:"pool,omitempty"`
	Priority     int       `json:"priority,omitempty"`
	LogLimit     int64     `json:"log_limit"` // bytes
}

// Sub starts a run of another pipeline.
type Sub struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Params are the values that the child is given. Each string in them is a
	// template. The child's schema is not known here, so that a plain number or
	// true and false stand for their text where it declares a string: what is
	// rendered goes through Pipeline.CheckCall.
	Params map[string]any `json:"params,omitempty"`
	// Wait says that the task ends with the child, else once the child exists.
	Wait bool `json:"wait"`
}

// Wait ends when something has come true. One of For, At and HTTP is set.
type Wait struct {
	// For is a duration of the format ("1h30m") or one expression that gives one.
	For Expr `json:"for,omitempty"`
	// At is an instant (RFC 3339, in UTC), a time of day ("07:00": the next one in
	// the zone of the run, as schedule.NextTimeOfDay has it), or one expression
	// that gives an instant. Wait.Until makes the instant of all of these.
	At        Expr      `json:"at,omitempty"`
	OnTimeout string    `json:"on_timeout"` // fail, skip
	HTTP      *WaitHTTP `json:"http,omitempty"`
}

// WaitHTTP asks a service until a condition over its answer is true.
type WaitHTTP struct {
	Target  string    `json:"target"`
	Method  string    `json:"method"`
	URL     Expr      `json:"url"`
	Headers []Var     `json:"headers,omitempty"`
	Body    any       `json:"body,omitempty"` // a free value; each string in it is a template
	Until   Condition `json:"until"`
	Every   Duration  `json:"every"`
}

// Approval ends when a person has said yes or no.
type Approval struct {
	Prompt    Expr   `json:"prompt"`     // Markdown
	OnReject  string `json:"on_reject"`  // fail, skip, continue
	OnTimeout string `json:"on_timeout"` // reject, approve
}

// An Axis is one axis of a matrix.
type Axis struct {
	Name string `json:"name"`
	Items
}

// Items is a list written in the file or given by an expression. Elements of a
// written list are JSON values; each string in them is a template, which may
// hold ${{ }}. No element is a number.
type Items struct {
	Expr Expr  `json:"expr,omitempty"` // set: one expression that gives a list
	List []any `json:"list,omitempty"` // else the elements, free values of the format
}

// An Output is a declared output of a task.
type Output struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	Required    bool   `json:"required"`
	Schema      Schema `json:"schema"`
	// Value is what the output is made of, over the last response; empty for
	// tasks that write or inherit their outputs.
	Value Expr `json:"value,omitempty"`
}

// A RunOutput is one output of the whole run.
type RunOutput struct {
	Name   string  `json:"name"`
	Schema *Schema `json:"schema,omitempty"` // nil: the type of the expression
	Value  Expr    `json:"value"`
}

// Retry is the budget for a task's own failures.
type Retry struct {
	Limit    int      `json:"limit"` // extra attempts
	Delay    Duration `json:"delay"`
	Backoff  float64  `json:"backoff"`
	MaxDelay Duration `json:"max_delay"`
	Jitter   float64  `json:"jitter"` // ± share of the delay
	When     []string `json:"when"`   // of exit, oom, timed_out
}

// ExitCodes says what exit codes other than 0 and plain failure mean.
type ExitCodes struct {
	Skip  []int `json:"skip"`
	Retry []int `json:"retry"`
	Fatal []int `json:"fatal"`
}

// PoolUse names a pool and how many of its slots a task holds.
type PoolUse struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Slots     int    `json:"slots"`
}
