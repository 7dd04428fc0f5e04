package service_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/synthesizer-dev/synthesizer/services/internal/loop"
	"github.com/synthesizer-dev/synthesizer/services/internal/service"
)

var quiet = slog.New(slog.DiscardHandler)

func TestRunStopsEverythingWhenOnePartFails(t *testing.T) {
	t.Parallel()
	s := service.New("test", quiet)
	broken := errors.New("broken")
	var ended bool
	s.Go(func(ctx context.Context) error { <-ctx.Done(); ended = true; return ctx.Err() })
	s.Go(func(context.Context) error { return broken })
	if err := s.Run(t.Context()); !errors.Is(err, broken) {
		t.Errorf("Run = %v, want %v", err, broken)
	}
	if !ended {
		t.Error("Run returned before all parts had ended")
	}
}

func TestBeingToldToStopIsNoFailure(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	s := service.New("test", quiet)
	s.Go(func(ctx context.Context) error { cancel(); <-ctx.Done(); return ctx.Err() })
	if err := s.Run(ctx); err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
	if err := s.Run(ctx); err != nil { // stopped before it starts
		t.Errorf("Run after the end = %v, want nil", err)
	}
}

func TestProbes(t *testing.T) {
	t.Parallel()
	s := service.New("test", quiet)
	wrong := errors.New("schema 3, wanted 4")
	s.Check("database", func(context.Context) error { return wrong })
	s.Loop(&loop.Loop{Name: "tick", Interval: time.Hour, Step: func(context.Context) error { return nil }})
	l, err := service.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if _, err := service.Listen(address); err == nil || !strings.Contains(err.Error(), "SYN_LISTEN=") {
		t.Errorf("Listen on a taken port = %v, want a way out", err)
	}
	l.Close()
	if err := s.ServeProbes(address); err != nil {
		t.Fatal(err)
	}
	if err := s.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "not started") {
		t.Errorf("Ready before the start = %v, want an error", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()

	if err := service.Probe(t.Context(), address); err == nil || !strings.Contains(err.Error(), "schema 3") {
		t.Errorf("Probe = %v, want the check's reason", err)
	}
	wrong = nil
	if err := service.Probe(t.Context(), address); err != nil {
		t.Errorf("Probe = %v, want nil", err)
	}
	resp, err := http.Get("http://" + address + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if want := `synthesizer_loop_turns_total{loop="tick",result="ok",service="test"} 1`; !strings.Contains(string(body), want) {
		t.Errorf("metrics lack %s", want)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run = %v", err)
	}
}

func TestHealthzIsAlwaysOK(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	service.Healthz(w, nil)
	if w.Code != http.StatusOK {
		t.Errorf("status = %d", w.Code)
	}
}

func TestLogger(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	log, err := service.Logger(&b, "info", "auto")
	if err != nil {
		t.Fatal(err)
	}
	log.Info("hello", "name", "a\r\nb")
	if got := b.String(); strings.Count(got, "\n") != 1 || !strings.HasPrefix(got, "{") {
		t.Errorf("one event is one line of JSON, got %q", got)
	}
	for _, bad := range [][2]string{{"loud", "auto"}, {"info", "xml"}} {
		if _, err := service.Logger(&b, bad[0], bad[1]); err == nil {
			t.Errorf("Logger(%q, %q) gave no error", bad[0], bad[1])
		}
	}
}
