package api

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/api/internal/app"
)

// OperatorToken makes an admin token for whoever holds the database's address.
// Until one has been used, it replaces the one that the first start printed;
// after that only a reset makes another, and ends those before.
func OperatorToken(ctx context.Context, databaseURL string, reset bool) (secret string, err error) {
	pool, err := db.Open(ctx, db.Config{URL: databaseURL, AppName: "synthesizer api token", Purpose: db.Pages, MaxConns: 1})
	if err != nil {
		return "", err
	}
	defer pool.Close()
	if err := db.CheckSchema(ctx, pool); err != nil {
		return "", err
	}
	return app.New(app.Config{Pool: pool}).OperatorToken(ctx, reset)
}

// firstToken makes the token of a new installation as soon as there is a database
// to keep it in, and shows it once.
func firstToken(ctx context.Context, cfg Config, log *slog.Logger, a *app.App) error {
	if cfg.InsecureNoAuth {
		log.WarnContext(ctx, "nobody is checked: --insecure-no-auth")
		return nil
	}
	for wait := 200 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		secret, err := a.FirstToken(ctx)
		if err == nil {
			if secret != "" {
				show(cfg, secret)
			}
			return nil
		}
		log.DebugContext(ctx, "no first token yet", "err", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

func show(cfg Config, secret string) {
	if cfg.FirstToken != nil {
		cfg.FirstToken(secret)
		return
	}
	// Not a log line: logs are kept and collected, and this is shown once.
	fmt.Fprintf(os.Stderr, "\nTo sign in, use this admin token; it is shown this once:\n\n    %s\n\nsign in: echo TOKEN | synctl login --token-stdin\nlost? api token --reset\n\n", secret)
}
