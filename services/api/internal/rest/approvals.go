package rest

import (
	"context"

	"github.com/synthesizer-dev/synthesizer/services/api/internal/access"
	"github.com/synthesizer-dev/synthesizer/services/api/internal/app"
)

func (s *server) ListApprovals(ctx context.Context, r ListApprovalsRequestObject) (ListApprovalsResponseObject, error) {
	out, err := s.app.Approvals(ctx, access.Actor(ctx), r.Params)
	return ListApprovals200JSONResponse(out), err
}

func (s *server) ApproveTask(ctx context.Context, r ApproveTaskRequestObject) (ApproveTaskResponseObject, error) {
	ref := app.RunRef{Namespace: r.Ns, Pipeline: r.Name, Run: r.Run}
	out, err := s.app.Answer(ctx, access.Actor(ctx), ref, r.Task, app.Approved, r.Params.IdempotencyKey, orZero(r.Body))
	return ApproveTask200JSONResponse(out), err
}

func (s *server) RejectTask(ctx context.Context, r RejectTaskRequestObject) (RejectTaskResponseObject, error) {
	ref := app.RunRef{Namespace: r.Ns, Pipeline: r.Name, Run: r.Run}
	out, err := s.app.Answer(ctx, access.Actor(ctx), ref, r.Task, app.Rejected, r.Params.IdempotencyKey, orZero(r.Body))
	return RejectTask200JSONResponse(out), err
}
