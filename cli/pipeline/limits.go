package pipeline

// Limits bound the text of files before anything is read from it. An operator
// may lower them; the zero value of a field means the default.
type Limits struct {
	Files      int // of one call
	TotalBytes int // of all files of one call
	FileBytes  int
	Documents  int // of one file
	Nodes      int // of one document
	Depth      int // of one document
	Scalar     int // bytes of one decoded scalar
	KeyBytes   int
	Tasks      int // of one pipeline
}

// DefaultLimits are those of the format.
func DefaultLimits() Limits {
	return Limits{
		Files: 1_000, TotalBytes: 16 << 20, FileBytes: 256 << 10, Documents: 100,
		Nodes: 20_000, Depth: 32, Scalar: 64 << 10, KeyBytes: 256, Tasks: 500,
	}
}

// lowered gives the limits with the defaults where l says nothing or more.
func (l Limits) lowered() Limits {
	d := DefaultLimits()
	pick := func(own, limit int) int {
		if own > 0 {
			return min(own, limit)
		}
		return limit
	}
	return Limits{
		Files: pick(l.Files, d.Files), TotalBytes: pick(l.TotalBytes, d.TotalBytes),
		FileBytes: pick(l.FileBytes, d.FileBytes), Documents: pick(l.Documents, d.Documents),
		Nodes: pick(l.Nodes, d.Nodes), Depth: pick(l.Depth, d.Depth), Scalar: pick(l.Scalar, d.Scalar),
		KeyBytes: pick(l.KeyBytes, d.KeyBytes), Tasks: pick(l.Tasks, d.Tasks),
	}
}

// Bounds of a definition.
const (
	MaxSchedules   = 50
	MaxParams      = 100
	MaxOutputs     = 100
	MaxNeeds       = 100
	MaxVariables   = 500
	MaxAxes        = 10
	MaxItems       = 10_000 // of one fan-out
	MaxParamBytes  = 256 << 10
	MaxOutputBytes = 64 << 10
	MaxLabels      = 32
	MaxVars        = 1_000 // of one vars document
	MaxTriggers    = 50

	// MaxNesting is how deep runs may start runs by pipeline tasks: a run that
	// nobody started has depth 0.
	MaxNesting = 5
	// MaxTriggerHops is how many runs in a row may be started by the end of the
	// one before.
	MaxTriggerHops = 10
	// MaxWait is the longest wait.for.
	MaxWait = 366 * day

	maxRun         = 64 << 10
	maxArgument    = 128 << 10
	maxArguments   = 1_000
	maxDescription = 10 << 10
	maxEnvValue    = 32 << 10
)
