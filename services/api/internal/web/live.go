package web

import (
	"context"

	"github.com/labstack/echo/v4"
)

type hub struct{ s *Server }

func newHub(s *Server) *hub { return &hub{s} }

func (h *hub) run(ctx context.Context) error { <-ctx.Done(); return nil }

func (s *Server) events(c echo.Context) error { return echo.ErrNotFound }
