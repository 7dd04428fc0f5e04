package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"time"

	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/db/localpg"
	"github.com/synthesizer-dev/synthesizer/services/api"
	"github.com/synthesizer-dev/synthesizer/services/executor"
	"github.com/synthesizer-dev/synthesizer/services/internal/secrets"
	"github.com/synthesizer-dev/synthesizer/services/internal/service"
	"github.com/synthesizer-dev/synthesizer/services/scheduler"
)

// config is what the flags say.
type config struct {
	DatabaseURL string // "": a Postgres of our own
	Listen      string
	// SecretKeyFile holds the key of secrets; "": one in DataDir.
	SecretKeyFile string
	DataDir       string // "": the user's state directory
	WorkDir       string // "": in DataDir
	Register      string // "": nothing
	Targets       string // a file; "": none
	Slots         int
	Log           *slog.Logger
	Out           io.Writer
	Hasten        <-chan struct{} // closed: tasks get no more time
}

// readyWithin is how long everything may take to be ready once it is started.
const readyWithin = time.Minute

// run starts everything, tells how to use it, and stops it when ctx is done.
func run(ctx context.Context, cfg config) (err error) {
	began := time.Now()
	dirs, err := directories(cfg)
	if err != nil {
		return err
	}
	// First of all, because it is what most often goes wrong and is known at once.
	listener, err := service.Listen(cfg.Listen)
	if err != nil {
		return err
	}
	defer listener.Close()

	url := cfg.DatabaseURL
	if url == "" {
		pg, err := localpg.Start(ctx, localpg.Config{Dir: filepath.Join(dirs.data, "postgres"), Database: "synthesizer"})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, pg.Stop()) }()
		url = pg.URL
	}
	report, err := db.Migrate(ctx, url)
	if err != nil {
		return err
	}
	if cfg.DatabaseURL != "" {
		for _, w := range report.Warnings {
			cfg.Log.WarnContext(ctx, w)
		}
	}
	if cfg.SecretKeyFile == "" {
		cfg.SecretKeyFile = filepath.Join(dirs.data, "secret.key")
		if _, err := secrets.Create(cfg.SecretKeyFile, false); err != nil {
			return err
		}
	}
	signIn := signIn{url: url, own: cfg.DatabaseURL == "", address: address(listener), dirs: dirs}
	if err := signIn.prepare(ctx); err != nil {
		return err
	}

	fleet := newFleet(ctx)
	defer func() { err = errors.Join(err, fleet.stop()) }()
	serve(fleet, cfg, url, dirs, listener)
	if err := fleet.ready(readyWithin); err != nil {
		return err
	}
	if err := signIn.finish(fleet.ctx); err != nil {
		return err
	}
	tell(cfg.Out, signIn, time.Since(began))
	if cfg.Register != "" {
		register(fleet.ctx, cfg.Out, signIn, cfg.Register)
	}
	hints(cfg.Out, cfg.Register != "")
	<-fleet.ctx.Done()
	if ctx.Err() != nil {
		fmt.Fprintln(cfg.Out, "\nstopping: tasks that run may finish; Ctrl-C again stops them, too")
	}
	return nil
}

// serve starts the services, the last to stop first.
func serve(f *fleet, cfg config, url string, dirs dirs, listener net.Listener) {
	decides, works, answers := service.New("scheduler", cfg.Log), service.New("executor", cfg.Log), service.New("api", cfg.Log)
	f.start(decides, func(ctx context.Context) error {
		return scheduler.Run(ctx, scheduler.Config{DatabaseURL: url, Log: cfg.Log, LateStarts: scheduler.DefaultLateStarts, Service: decides})
	})
	f.start(answers, func(ctx context.Context) error {
		return api.Run(ctx, api.Config{DatabaseURL: url, Listener: listener, Log: cfg.Log, SecretKeyFile: cfg.SecretKeyFile, Service: answers, Beside: []*service.Service{decides, works}})
	})
	f.start(works, func(ctx context.Context) error {
		return executor.Run(ctx, executor.Config{DatabaseURL: url, Log: cfg.Log, SecretKeyFile: cfg.SecretKeyFile, Service: works, Slots: cfg.Slots, TargetsFile: cfg.Targets, WorkDir: dirs.work, Hasten: cfg.Hasten})
	})
}

// address is how this machine reaches a listener.
func address(l net.Listener) string {
	a, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return "http://" + l.Addr().String()
	}
	host := a.IP.String()
	if a.IP.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, fmt.Sprint(a.Port))
}
