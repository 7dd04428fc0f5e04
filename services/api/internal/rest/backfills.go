package rest

import (
	"context"

	"github.com/synthesizer-dev/synthesizer/services/api/internal/access"
	"github.com/synthesizer-dev/synthesizer/services/api/internal/app"
)

func (s *server) PreviewBackfill(ctx context.Context, r PreviewBackfillRequestObject) (PreviewBackfillResponseObject, error) {
	out, err := s.app.PreviewBackfill(ctx, access.Actor(ctx), app.PipelineRef{Namespace: r.Ns, Name: r.Name}, r.Params)
	return PreviewBackfill200JSONResponse(out), err
}

func (s *server) StartBackfill(ctx context.Context, r StartBackfillRequestObject) (StartBackfillResponseObject, error) {
	out, created, err := s.app.StartBackfill(ctx, access.Actor(ctx), app.PipelineRef{Namespace: r.Ns, Name: r.Name}, r.Params.IdempotencyKey, *r.Body)
	if !created {
		return StartBackfill200JSONResponse(out), err
	}
	return StartBackfill201JSONResponse(out), err
}

func (s *server) ListBackfills(ctx context.Context, r ListBackfillsRequestObject) (ListBackfillsResponseObject, error) {
	out, err := s.app.Backfills(ctx, access.Actor(ctx), r.Params)
	return ListBackfills200JSONResponse(out), err
}

func (s *server) GetBackfill(ctx context.Context, r GetBackfillRequestObject) (GetBackfillResponseObject, error) {
	out, err := s.app.Backfill(ctx, access.Actor(ctx), r.ID, r.Params)
	return GetBackfill200JSONResponse(out), err
}

func (s *server) ChangeBackfill(ctx context.Context, r ChangeBackfillRequestObject) (ChangeBackfillResponseObject, error) {
	out, err := s.app.ChangeBackfill(ctx, access.Actor(ctx), r.ID, *r.Body)
	return ChangeBackfill200JSONResponse(out), err
}

func (s *server) PauseBackfill(ctx context.Context, r PauseBackfillRequestObject) (PauseBackfillResponseObject, error) {
	out, err := s.app.PauseBackfill(ctx, access.Actor(ctx), r.ID, orZero(r.Body))
	return PauseBackfill200JSONResponse(out), err
}

func (s *server) ResumeBackfill(ctx context.Context, r ResumeBackfillRequestObject) (ResumeBackfillResponseObject, error) {
	out, err := s.app.ResumeBackfill(ctx, access.Actor(ctx), r.ID)
	return ResumeBackfill200JSONResponse(out), err
}

func (s *server) CancelBackfill(ctx context.Context, r CancelBackfillRequestObject) (CancelBackfillResponseObject, error) {
	out, err := s.app.CancelBackfill(ctx, access.Actor(ctx), r.ID, orZero(r.Body))
	return CancelBackfill200JSONResponse(out), err
}
