package rest

import (
	"context"
	"net/http"
	"strconv"

	"github.com/synthesizer-dev/synthesizer/services/api/internal/access"
	"github.com/synthesizer-dev/synthesizer/services/api/internal/app"
)

// server is the contract over the use cases: each method decodes, calls one, and
// encodes.
type server struct {
	app  *app.App
	stop <-chan struct{}
}

var _ StrictServerInterface = (*server)(nil)

func (s *server) Register(ctx context.Context, r RegisterRequestObject) (RegisterResponseObject, error) {
	out, err := s.app.Register(ctx, access.Actor(ctx), *r.Body)
	return Register200JSONResponse(out), err
}

func (s *server) ListPipelines(ctx context.Context, r ListPipelinesRequestObject) (ListPipelinesResponseObject, error) {
	out, err := s.app.Pipelines(ctx, access.Actor(ctx), r.Params)
	return ListPipelines200JSONResponse(out), err
}

func (s *server) GetPipeline(ctx context.Context, r GetPipelineRequestObject) (GetPipelineResponseObject, error) {
	out, err := s.app.Pipeline(ctx, access.Actor(ctx), app.PipelineRef{Namespace: r.Ns, Name: r.Name})
	return GetPipeline200JSONResponse(out), err
}

func (s *server) PausePipeline(ctx context.Context, r PausePipelineRequestObject) (PausePipelineResponseObject, error) {
	out, err := s.app.Pause(ctx, access.Actor(ctx), app.PipelineRef{Namespace: r.Ns, Name: r.Name}, *r.Body)
	return PausePipeline200JSONResponse(out), err
}

func (s *server) ResumePipeline(ctx context.Context, r ResumePipelineRequestObject) (ResumePipelineResponseObject, error) {
	out, err := s.app.Resume(ctx, access.Actor(ctx), app.PipelineRef{Namespace: r.Ns, Name: r.Name}, orZero(r.Body))
	return ResumePipeline200JSONResponse(out), err
}

func (s *server) ListRevisions(ctx context.Context, r ListRevisionsRequestObject) (ListRevisionsResponseObject, error) {
	out, err := s.app.Revisions(ctx, access.Actor(ctx), app.PipelineRef{Namespace: r.Ns, Name: r.Name}, r.Params)
	return ListRevisions200JSONResponse(out), err
}

func (s *server) GetRevision(ctx context.Context, r GetRevisionRequestObject) (GetRevisionResponseObject, error) {
	out, err := s.app.Revision(ctx, access.Actor(ctx), app.PipelineRef{Namespace: r.Ns, Name: r.Name}, r.Revision)
	return GetRevision200JSONResponse(out), err
}

func (s *server) ListTicks(ctx context.Context, r ListTicksRequestObject) (ListTicksResponseObject, error) {
	out, err := s.app.Ticks(ctx, access.Actor(ctx), app.PipelineRef{Namespace: r.Ns, Name: r.Name}, r.Params)
	return ListTicks200JSONResponse(out), err
}

func (s *server) NextTicks(ctx context.Context, r NextTicksRequestObject) (NextTicksResponseObject, error) {
	out, err := s.app.NextTicks(ctx, access.Actor(ctx), app.PipelineRef{Namespace: r.Ns, Name: r.Name}, r.Params)
	return NextTicks200JSONResponse(out), err
}

func (s *server) ExplainPipeline(ctx context.Context, r ExplainPipelineRequestObject) (ExplainPipelineResponseObject, error) {
	out, err := s.app.ExplainPipeline(ctx, access.Actor(ctx), app.PipelineRef{Namespace: r.Ns, Name: r.Name})
	return ExplainPipeline200JSONResponse(out), err
}

func (s *server) ExplainRun(ctx context.Context, r ExplainRunRequestObject) (ExplainRunResponseObject, error) {
	out, err := s.app.ExplainRun(ctx, access.Actor(ctx), runRef(r.Ns, r.Name, r.Run))
	return ExplainRun200JSONResponse(out), err
}

func (s *server) ExplainTask(ctx context.Context, r ExplainTaskRequestObject) (ExplainTaskResponseObject, error) {
	out, err := s.app.ExplainTask(ctx, access.Actor(ctx), runRef(r.Ns, r.Name, r.Run), r.Task)
	return ExplainTask200JSONResponse(out), err
}

func (s *server) CreateRun(ctx context.Context, r CreateRunRequestObject) (CreateRunResponseObject, error) {
	out, created, err := s.app.CreateRun(ctx, access.Actor(ctx), app.PipelineRef{Namespace: r.Ns, Name: r.Name}, r.Params.IdempotencyKey, *r.Body)
	if !created {
		return CreateRun200JSONResponse(out), err
	}
	return CreateRun201JSONResponse(out), err
}

func (s *server) ListRuns(ctx context.Context, r ListRunsRequestObject) (ListRunsResponseObject, error) {
	out, err := s.app.Runs(ctx, access.Actor(ctx), r.Params)
	return ListRuns200JSONResponse(out), err
}

func (s *server) GetRunByID(ctx context.Context, r GetRunByIDRequestObject) (GetRunByIDResponseObject, error) {
	out, err := s.app.RunByID(ctx, access.Actor(ctx), r.ID)
	return GetRunByID200JSONResponse(out), err
}

func (s *server) GetRun(ctx context.Context, r GetRunRequestObject) (GetRunResponseObject, error) {
	out, err := s.app.Run(ctx, access.Actor(ctx), app.RunRef{Namespace: r.Ns, Pipeline: r.Name, Run: r.Run})
	return GetRun200JSONResponse(out), err
}

func (s *server) ListTasks(ctx context.Context, r ListTasksRequestObject) (ListTasksResponseObject, error) {
	out, err := s.app.Tasks(ctx, access.Actor(ctx), app.RunRef{Namespace: r.Ns, Pipeline: r.Name, Run: r.Run}, r.Params)
	return ListTasks200JSONResponse(out), err
}

func (s *server) CancelRun(ctx context.Context, r CancelRunRequestObject) (CancelRunResponseObject, error) {
	out, err := s.app.Cancel(ctx, access.Actor(ctx), app.RunRef{Namespace: r.Ns, Pipeline: r.Name, Run: r.Run}, orZero(r.Body))
	return CancelRun200JSONResponse(out), err
}

func (s *server) RerunRun(ctx context.Context, r RerunRunRequestObject) (RerunRunResponseObject, error) {
	out, created, err := s.app.Rerun(ctx, access.Actor(ctx), app.RunRef{Namespace: r.Ns, Pipeline: r.Name, Run: r.Run}, r.Params.IdempotencyKey, *r.Body)
	if created {
		return RerunRun201JSONResponse(out), err
	}
	return RerunRun200JSONResponse(out), err
}

func (s *server) MarkTask(ctx context.Context, r MarkTaskRequestObject) (MarkTaskResponseObject, error) {
	out, err := s.app.Mark(ctx, access.Actor(ctx), app.RunRef{Namespace: r.Ns, Pipeline: r.Name, Run: r.Run}, r.Task, r.Params.IdempotencyKey, *r.Body)
	return MarkTask200JSONResponse(out), err
}

func (s *server) GetLog(ctx context.Context, r GetLogRequestObject) (GetLogResponseObject, error) {
	ref := app.LogRef{RunRef: app.RunRef{Namespace: r.Ns, Pipeline: r.Name, Run: r.Run}, Task: r.Task, Index: r.Params.Index, Attempt: r.Params.Attempt}
	part, err := s.app.Log(ctx, access.Actor(ctx), ref, r.Params.From, r.Params.Limit)
	return logBytes(part), err
}

// logBytes answers with output as it was written: as a file, never as a page.
type logBytes app.LogPart

func (l logBytes) VisitGetLogResponse(w http.ResponseWriter) error {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Content-Disposition", "attachment")
	h.Set("Log-Offset", strconv.FormatInt(l.Offset, 10))
	h.Set("Log-Next", strconv.FormatInt(l.Next, 10))
	h.Set("Log-Size", strconv.FormatInt(l.Size, 10))
	h.Set("Log-Complete", strconv.FormatBool(l.Complete))
	w.WriteHeader(http.StatusOK)
	_, err := w.Write(l.Data)
	return err
}

func (s *server) ListExecutors(ctx context.Context, _ ListExecutorsRequestObject) (ListExecutorsResponseObject, error) {
	out, err := s.app.Executors(ctx, access.Actor(ctx))
	return ListExecutors200JSONResponse(out), err
}

func (s *server) Whoami(ctx context.Context, _ WhoamiRequestObject) (WhoamiResponseObject, error) {
	return Whoami200JSONResponse(s.app.Whoami(access.Actor(ctx))), nil
}

func (s *server) ListTokens(ctx context.Context, r ListTokensRequestObject) (ListTokensResponseObject, error) {
	out, err := s.app.Tokens(ctx, access.Actor(ctx), r.Params)
	return ListTokens200JSONResponse(out), err
}

func (s *server) CreateToken(ctx context.Context, r CreateTokenRequestObject) (CreateTokenResponseObject, error) {
	out, err := s.app.CreateToken(ctx, access.Actor(ctx), r.Params.IdempotencyKey, *r.Body)
	return CreateToken201JSONResponse(out), err
}

func (s *server) RevokeToken(ctx context.Context, r RevokeTokenRequestObject) (RevokeTokenResponseObject, error) {
	return RevokeToken204Response{}, s.app.RevokeToken(ctx, access.Actor(ctx), r.ID)
}

func (s *server) ListSecrets(ctx context.Context, r ListSecretsRequestObject) (ListSecretsResponseObject, error) {
	out, err := s.app.Secrets(ctx, access.Actor(ctx), r.Params)
	return ListSecrets200JSONResponse(out), err
}

func (s *server) GetSecret(ctx context.Context, r GetSecretRequestObject) (GetSecretResponseObject, error) {
	out, err := s.app.Secret(ctx, access.Actor(ctx), app.PipelineRef{Namespace: r.Ns, Name: r.Name})
	return GetSecret200JSONResponse(out), err
}

func (s *server) SetSecret(ctx context.Context, r SetSecretRequestObject) (SetSecretResponseObject, error) {
	out, err := s.app.SetSecret(ctx, access.Actor(ctx), app.PipelineRef{Namespace: r.Ns, Name: r.Name}, r.Body.Value)
	return SetSecret200JSONResponse(out), err
}

func (s *server) DeleteSecret(ctx context.Context, r DeleteSecretRequestObject) (DeleteSecretResponseObject, error) {
	return DeleteSecret204Response{}, s.app.DeleteSecret(ctx, access.Actor(ctx), app.PipelineRef{Namespace: r.Ns, Name: r.Name})
}

func (s *server) ListVars(ctx context.Context, r ListVarsRequestObject) (ListVarsResponseObject, error) {
	out, err := s.app.Vars(ctx, access.Actor(ctx), r.Params)
	return ListVars200JSONResponse(out), err
}

func (s *server) GetVar(ctx context.Context, r GetVarRequestObject) (GetVarResponseObject, error) {
	out, err := s.app.Var(ctx, access.Actor(ctx), app.PipelineRef{Namespace: r.Ns, Name: r.Name})
	return GetVar200JSONResponse(out), err
}

func (s *server) SetVar(ctx context.Context, r SetVarRequestObject) (SetVarResponseObject, error) {
	out, err := s.app.SetVar(ctx, access.Actor(ctx), app.PipelineRef{Namespace: r.Ns, Name: r.Name}, r.Body.Value)
	return SetVar200JSONResponse(out), err
}

func (s *server) DeleteVar(ctx context.Context, r DeleteVarRequestObject) (DeleteVarResponseObject, error) {
	return DeleteVar204Response{}, s.app.DeleteVar(ctx, access.Actor(ctx), app.PipelineRef{Namespace: r.Ns, Name: r.Name})
}

func (s *server) Version(ctx context.Context, _ VersionRequestObject) (VersionResponseObject, error) {
	out, err := s.app.Version(ctx)
	return Version200JSONResponse(out), err
}

func (s *server) Healthz(context.Context, HealthzRequestObject) (HealthzResponseObject, error) {
	return nil, noHandler("healthz")
}

func (s *server) Readyz(context.Context, ReadyzRequestObject) (ReadyzResponseObject, error) {
	return nil, noHandler("readyz")
}

func (s *server) Metrics(context.Context, MetricsRequestObject) (MetricsResponseObject, error) {
	return nil, noHandler("metrics")
}

func orZero[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

// runRef is a reference to a run, for the streams.
func runRef(ns, name, run string) app.RunRef {
	return app.RunRef{Namespace: ns, Pipeline: name, Run: run}
}
