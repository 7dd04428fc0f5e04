package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// readyTimeout bounds all checks of one question for readiness.
const readyTimeout = 3 * time.Second

// Healthz answers that the process is alive.
func Healthz(w http.ResponseWriter, _ *http.Request) {
	text(w, http.StatusOK, "ok\n")
}

// Readyz answers whether all the services can do their job, and if not, why.
func Readyz(services ...*Service) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
		defer cancel()
		var errs []error
		for _, s := range services {
			errs = append(errs, s.Ready(ctx))
		}
		if err := errors.Join(errs...); err != nil {
			text(w, http.StatusServiceUnavailable, err.Error()+"\n")
			return
		}
		text(w, http.StatusOK, "ok\n")
	}
}

// Metrics answers with the metrics of the process and of the services in it.
func Metrics(services ...*Service) http.Handler {
	process := prometheus.NewRegistry()
	process.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	all := prometheus.Gatherers{process}
	for _, s := range services {
		all = append(all, s.Metrics)
	}
	return promhttp.HandlerFor(all, promhttp.HandlerOpts{})
}

func text(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

// ServeProbes adds a listener with /healthz, /readyz and /metrics. An empty
// address means none. It listens at once, so that a taken port is known before
// anything else starts.
func (s *Service) ServeProbes(address string) error {
	if address == "" {
		return nil
	}
	l, err := Listen(address)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", Healthz)
	mux.HandleFunc("GET /readyz", Readyz(s))
	mux.Handle("GET /metrics", Metrics(s))
	s.Go(func(ctx context.Context) error { return Serve(ctx, l, NewServer(mux), 5*time.Second) })
	return nil
}

// Listen opens a TCP listener. A port in use is an error that says what to do.
func Listen(address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("%s is used by another program; choose another address with --listen or SYN_LISTEN, such as SYN_LISTEN=%s", address, other(address))
	case err != nil:
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	return l, nil
}

// other is the same address one port on.
func other(address string) string {
	host, port, err := net.SplitHostPort(address)
	n, lookup := net.LookupPort("tcp", port)
	if err != nil || lookup != nil || n == 65535 {
		return ":8081"
	}
	return net.JoinHostPort(host, fmt.Sprint(n+1))
}

// NewServer is an HTTP server with every time-out set. Handlers of long answers
// move their own deadline with http.ResponseController.
func NewServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       60 * time.Second,
		WriteTimeout:      60 * time.Second,
		IdleTimeout:       120 * time.Second,
		MaxHeaderBytes:    32 << 10,
	}
}

// Serve serves until ctx is done, then gives requests under way the grace time
// and closes what is left.
func Serve(ctx context.Context, l net.Listener, server *http.Server, grace time.Duration) error {
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(l) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	err := server.Shutdown(stop)
	if err != nil {
		err = server.Close()
	}
	<-failed //nolint:errcheck // Serve has returned: nothing of ours runs on
	return err
}

// Probe asks the service that listens at address on this machine whether it is
// ready. It is what a container's health check runs.
func Probe(ctx context.Context, address string) error {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("address %q: %w", address, err)
	}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout+2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:"+port+"/readyz", nil)
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		why, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
		return fmt.Errorf("not ready: %s", strings.TrimSpace(string(why)))
	}
	return nil
}
