// Package executor is the service that runs tasks: it claims what is ready, runs
// it on its own machine, and reports how it ended.
package executor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/synthesizer-dev/synthesizer/cli/process"
	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/executor/internal/guard"
	"github.com/synthesizer-dev/synthesizer/services/executor/internal/lease"
	"github.com/synthesizer-dev/synthesizer/services/executor/internal/secretfile"
	"github.com/synthesizer-dev/synthesizer/services/executor/internal/target"
	"github.com/synthesizer-dev/synthesizer/services/executor/internal/worker"
	"github.com/synthesizer-dev/synthesizer/services/internal/revision"
	"github.com/synthesizer-dev/synthesizer/services/internal/secrets"
	"github.com/synthesizer-dev/synthesizer/services/internal/service"
)

// Config is what an executor needs. Only DatabaseURL is required.
type Config struct {
	DatabaseURL string
	Listen      string // of the probes; "" none
	Log         *slog.Logger
	Service     *service.Service

	Name   string   // a label for people; "": the host's name
	Slots  int      // attempts at once; 0: four per CPU
	Labels []string // tasks that ask for others are left to others
	// TargetsFile names the remote systems that the executor may ask; "": none.
	TargetsFile string
	Serves      []string // patterns of targets of the file; none: all of them
	// WorkDir holds the directories of attempts. Executors of one host may
	// share it. "": DefaultWorkDir.
	WorkDir     string
	TaskPath    string // PATH for tasks; "": DefaultTaskPath
	SecretsFile string // of secrets that this executor has of its own; "": none
	// SecretKeyFile holds the key that opens the secrets of the database; "": tasks
	// that name one fail.
	SecretKeyFile string
	Grace         time.Duration // for running tasks when told to stop; 0: DefaultGrace, below 0: none
	// Hasten, when closed, ends the grace.
	Hasten <-chan struct{}

	// Lease is how long the executor may be silent before its tasks are
	// somebody else's, Renew how often it speaks. 0: 15 s and a third of Lease.
	// Schedulers must know the same.
	Lease, Renew time.Duration

	// Guard is the command line of a guard: this program, led to Child. nil:
	// the running program with the argument GuardArg.
	Guard []string
	// Runner runs attempts instead of processes; there is no guard and no work
	// directory then.
	Runner Runner
}

// A Runner stands in for processes, as in benchmarks.
type Runner = worker.Runner

// Defaults of a Config.
const (
	DefaultTaskPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	DefaultGrace    = 25 * time.Second
	DefaultLease    = 15 * time.Second
)

// revisions is how many compiled definitions are kept in memory.
const revisions = 4096

// GuardArg makes a program that calls Child first a guard.
const GuardArg = "executor-guard"

// Child does the work of a process that is not an executor itself: the guard of
// one, or the init of a container. Every main that runs executors calls it
// before anything else, and exits with the status if it is done.
func Child() (status int, done bool) {
	if len(os.Args) > 1 && os.Args[1] == GuardArg {
		return guard.Main(os.Args[2:], os.Stdin, os.Stdout), true
	}
	return process.Init()
}

// Run executes until ctx is done; then it claims no more, lets what runs finish
// for the grace, and hands back the rest. Any number of executors may share a
// database, and a host.
func Run(ctx context.Context, cfg Config) error {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return err
	}
	s := cfg.Service
	if s == nil {
		s = service.New("executor", cfg.Log)
		if err := s.ServeProbes(cfg.Listen); err != nil {
			return err
		}
	}
	targets, err := cfg.targets()
	if err != nil {
		return err
	}
	own, err := secretfile.Open(cfg.SecretsFile)
	if err != nil {
		return err
	}
	keys := secrets.New(cfg.SecretKeyFile)
	if err := keys.Check(); err != nil && cfg.SecretKeyFile != "" {
		s.Log.WarnContext(ctx, "secrets of the database cannot be opened", "err", err)
	}
	open := func(name string, purpose db.Purpose, conns int) (*db.Pool, error) {
		return db.Open(ctx, db.Config{URL: cfg.DatabaseURL, AppName: "synthesizer executor" + name, Purpose: purpose, MaxConns: conns})
	}
	control, err := open("", db.Control, 3)
	if err != nil {
		return err
	}
	defer control.Close()
	// A pool that nothing else uses: whatever hangs, the lease is renewed.
	beat, err := open(" lease", db.Control, 2)
	if err != nil {
		return err
	}
	defer beat.Close()
	logs, err := open(" logs", db.Logs, 3)
	if err != nil {
		return err
	}
	defer logs.Close()

	e := &executor{
		cfg: cfg, control: control, beat: beat, logs: logs, secrets: own, keys: keys,
		revisions: revision.NewCache(revisions), targets: targets, notify: db.NewNotifier(control), disk: newDisk(cfg.WorkDir),
	}
	e.metrics = newMetrics(s.Metrics, cfg.Slots, e.running)

	s.Check("database", control.Ping)
	s.Check("schema", func(ctx context.Context) error { return db.CheckSchema(ctx, control) })
	s.Check("lease", func(context.Context) error { return e.ready() })
	s.Check("work directory", func(context.Context) error { return e.room() })
	s.Check("secrets", func(context.Context) error { return own.Check() })
	s.Go(e.serve)
	return s.Run(ctx)
}

func (c Config) withDefaults() (Config, error) {
	if c.Log == nil {
		c.Log = slog.Default()
	}
	host, _ := os.Hostname()
	if c.Name == "" {
		c.Name = host
	}
	if c.Slots < 0 || c.Slots > 100_000 {
		return c, fmt.Errorf("%d slots: 1 to 100 000", c.Slots)
	}
	if c.Slots == 0 {
		c.Slots = 4 * runtime.NumCPU() // tasks mostly wait for something else
	}
	c.Labels = slices.Compact(slices.Sorted(slices.Values(c.Labels)))
	if c.Labels == nil {
		c.Labels = []string{}
	}
	if c.TaskPath == "" {
		c.TaskPath = DefaultTaskPath
	}
	if c.Grace == 0 {
		c.Grace = DefaultGrace
	}
	if c.Lease == 0 {
		c.Lease = DefaultLease
	}
	if c.Renew == 0 {
		c.Renew = c.Lease / 3
	}
	if c.Renew >= c.Lease/2 {
		return c, fmt.Errorf("a lease of %s renewed every %s: leave room for two tries", c.Lease, c.Renew)
	}
	if c.Guard == nil {
		exe, err := self()
		if err != nil {
			return c, fmt.Errorf("find this program, which is its own guard: %w", err)
		}
		c.Guard = []string{exe, GuardArg}
	}
	if c.WorkDir == "" && c.Runner == nil {
		var err error
		if c.WorkDir, err = DefaultWorkDir(); err != nil {
			return c, err
		}
	}
	return c, nil
}

// self is the path of this very program, also after the file was replaced.
func self() (string, error) {
	if runtime.GOOS == "linux" {
		return "/proc/self/exe", nil
	}
	return os.Executable()
}

// executor is the service: one member of the fleet after the other.
type executor struct {
	cfg                 Config
	control, beat, logs *db.Pool
	secrets             *secretfile.File
	keys                *secrets.Keyring
	revisions           *revision.Cache
	targets             []target.Target
	notify              *db.Notifier
	disk                *disk
	metrics             *metrics

	now atomic.Pointer[member] // the present one; nil: none
}

func (e *executor) running() int {
	if m := e.now.Load(); m != nil {
		return m.worker.Running()
	}
	return 0
}

// ready says why nothing can be claimed, or nil.
func (e *executor) ready() error {
	m := e.now.Load()
	if m == nil {
		return errors.New("not in the fleet yet")
	}
	if !m.lease.Held() {
		return m.lease.Err()
	}
	return m.lease.Guarded()
}

// room says why the disk is too full for new work, or nil.
func (e *executor) room() error {
	if e.cfg.Runner != nil {
		return nil
	}
	return e.disk.room()
}

// leaseMargins are how long before its end the guard kills, and how long
// before that the executor itself gives up.
func leaseMargins(length time.Duration) (guard, own time.Duration) {
	return length / 15, 2 * length / 15
}

// lease takes a lease for a new member.
func (e *executor) lease(ctx context.Context, id, epoch uuid.UUID, home *process.Home, renewed func(bool)) (*lease.Lease, error) {
	guardMargin, margin := leaseMargins(e.cfg.Lease)
	host, _ := os.Hostname()
	c := lease.Config{
		Pool: e.beat, ID: id, Name: e.cfg.Name, Host: host, Version: service.Version(), Slots: e.cfg.Slots,
		Labels: e.cfg.Labels, Serves: names(e.targets), Epoch: epoch, Length: e.cfg.Lease, Renew: e.cfg.Renew, Margin: margin,
		Renewed: renewed, Log: e.cfg.Log,
		Killed: func(n int) {
			e.metrics.guardKills.Add(float64(n))
			e.cfg.Log.Error("the guard has killed tasks: the lease was not renewed in time", "processes", n)
		},
	}
	if home != nil {
		c.StartGuard = func(ctx context.Context, killed func(int)) (*guard.Guard, error) {
			return guard.Start(ctx, e.cfg.Guard[0], e.cfg.Guard[1:], guard.Config{Home: home, Margin: guardMargin, Killed: killed})
		}
	}
	return lease.Take(ctx, c)
}

// List splits the values of a flag that may be repeated, and may hold several
// separated by commas.
func List(values []string) []string {
	var list []string
	for _, v := range values {
		for item := range strings.SplitSeq(v, ",") {
			if item = strings.TrimSpace(item); item != "" {
				list = append(list, item)
			}
		}
	}
	return list
}
