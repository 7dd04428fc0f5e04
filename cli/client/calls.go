package client

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/synthesizer-dev/synthesizer/cli/api"
)

// Register stores files. It may be repeated: what is stored already is unchanged.
func (c *Client) Register(ctx context.Context, req api.RegisterRequest) (api.Registration, error) {
	out, _, err := call[api.Registration](ctx, c, true, func() (*http.Response, error) { return c.wire.Register(ctx, req) })
	return out, err
}

// Pipelines is a page of pipelines.
func (c *Client) Pipelines(ctx context.Context, p api.ListPipelinesParams) (api.PipelinePage, error) {
	out, _, err := call[api.PipelinePage](ctx, c, true, func() (*http.Response, error) { return c.wire.ListPipelines(ctx, &p) })
	for i := range out.Items {
		out.Items[i].URL = c.absolute(out.Items[i].URL)
	}
	return out, err
}

// Pipeline is one pipeline.
func (c *Client) Pipeline(ctx context.Context, namespace, name string) (api.Pipeline, error) {
	out, _, err := call[api.Pipeline](ctx, c, true, func() (*http.Response, error) { return c.wire.GetPipeline(ctx, namespace, name) })
	out.URL = c.absolute(out.URL)
	return out, err
}

// Pause holds back the ticks of a pipeline.
func (c *Client) Pause(ctx context.Context, namespace, name string, req api.PauseRequest) (api.Pipeline, error) {
	out, _, err := call[api.Pipeline](ctx, c, true, func() (*http.Response, error) { return c.wire.PausePipeline(ctx, namespace, name, req) })
	return out, err
}

// Resume lets the ticks of a pipeline run again.
func (c *Client) Resume(ctx context.Context, namespace, name string, req api.ResumeRequest) (api.Pipeline, error) {
	out, _, err := call[api.Pipeline](ctx, c, true, func() (*http.Response, error) { return c.wire.ResumePipeline(ctx, namespace, name, req) })
	return out, err
}

// Revisions is a page of a pipeline's revisions.
func (c *Client) Revisions(ctx context.Context, namespace, name string, p api.ListRevisionsParams) (api.RevisionPage, error) {
	out, _, err := call[api.RevisionPage](ctx, c, true, func() (*http.Response, error) { return c.wire.ListRevisions(ctx, namespace, name, &p) })
	return out, err
}

// Revision is one revision with its text: a number, or latest.
func (c *Client) Revision(ctx context.Context, namespace, name, revision string) (api.Revision, error) {
	out, _, err := call[api.Revision](ctx, c, true, func() (*http.Response, error) { return c.wire.GetRevision(ctx, namespace, name, revision) })
	return out, err
}

// Ticks is a page of the ledger of a pipeline.
func (c *Client) Ticks(ctx context.Context, namespace, name string, p api.ListTicksParams) (api.TickPage, error) {
	out, _, err := call[api.TickPage](ctx, c, true, func() (*http.Response, error) { return c.wire.ListTicks(ctx, namespace, name, &p) })
	return out, err
}

// NextTicks are the coming ticks of a pipeline.
func (c *Client) NextTicks(ctx context.Context, namespace, name string, p api.NextTicksParams) (api.NextTicks, error) {
	out, _, err := call[api.NextTicks](ctx, c, true, func() (*http.Response, error) { return c.wire.NextTicks(ctx, namespace, name, &p) })
	return out, err
}

// CreateRun asks for a run. With a key it is repeated after a lost connection and
// made once; created is false if the key had made it before.
func (c *Client) CreateRun(ctx context.Context, namespace, name, key string, req api.RunRequest) (run api.Run, created bool, err error) {
	run, status, err := call[api.Run](ctx, c, key != "", func() (*http.Response, error) {
		return c.wire.CreateRun(ctx, namespace, name, &api.CreateRunParams{IdempotencyKey: key}, req)
	})
	run.URL = c.absolute(run.URL)
	return run, status == http.StatusCreated, err
}

// Runs is a page of runs.
func (c *Client) Runs(ctx context.Context, p api.ListRunsParams) (api.RunPage, error) {
	out, _, err := call[api.RunPage](ctx, c, true, func() (*http.Response, error) { return c.wire.ListRuns(ctx, &p) })
	for i := range out.Items {
		out.Items[i].URL = c.absolute(out.Items[i].URL)
	}
	return out, err
}

// RunByID is a run by its id.
func (c *Client) RunByID(ctx context.Context, id int64) (api.Run, error) {
	out, _, err := call[api.Run](ctx, c, true, func() (*http.Response, error) { return c.wire.GetRunByID(ctx, id) })
	out.URL = c.absolute(out.URL)
	return out, err
}

// A RunRef names a run: Run is its number, latest or failed.
type RunRef struct{ Namespace, Pipeline, Run string }

// Run is a run with its tasks.
func (c *Client) Run(ctx context.Context, ref RunRef) (api.Run, error) {
	out, _, err := call[api.Run](ctx, c, true, func() (*http.Response, error) {
		return c.wire.GetRun(ctx, ref.Namespace, ref.Pipeline, ref.Run)
	})
	out.URL = c.absolute(out.URL)
	return out, err
}

// Tasks is a page of the tasks of a run.
func (c *Client) Tasks(ctx context.Context, ref RunRef, p api.ListTasksParams) (api.TaskPage, error) {
	out, _, err := call[api.TaskPage](ctx, c, true, func() (*http.Response, error) {
		return c.wire.ListTasks(ctx, ref.Namespace, ref.Pipeline, ref.Run, &p)
	})
	return out, err
}

// Cancel asks a run to stop. It is never repeated: a second cancel means more
// than the first.
func (c *Client) Cancel(ctx context.Context, ref RunRef, req api.CancelRequest) (api.Run, error) {
	out, _, err := call[api.Run](ctx, c, false, func() (*http.Response, error) {
		return c.wire.CancelRun(ctx, ref.Namespace, ref.Pipeline, ref.Run, req)
	})
	out.URL = c.absolute(out.URL)
	return out, err
}

// Rerun lets an ended run run again, or makes a new one of the newest revision, and
// created is true. With a key it is repeated after a lost connection and done once.
func (c *Client) Rerun(ctx context.Context, ref RunRef, key string, req api.RerunRequest) (run api.Run, created bool, err error) {
	run, status, err := call[api.Run](ctx, c, key != "", func() (*http.Response, error) {
		return c.wire.RerunRun(ctx, ref.Namespace, ref.Pipeline, ref.Run, &api.RerunRunParams{IdempotencyKey: key}, req)
	})
	run.URL = c.absolute(run.URL)
	return run, status == http.StatusCreated, err
}

// Mark says by hand how a task of an ended run ended. With a key it is repeated
// after a lost connection and done once.
func (c *Client) Mark(ctx context.Context, ref RunRef, task, key string, req api.MarkRequest) (api.Run, error) {
	run, _, err := call[api.Run](ctx, c, key != "", func() (*http.Response, error) {
		return c.wire.MarkTask(ctx, ref.Namespace, ref.Pipeline, ref.Run, task, &api.MarkTaskParams{IdempotencyKey: key}, req)
	})
	run.URL = c.absolute(run.URL)
	return run, err
}

// Approvals lists questions that nobody has answered, oldest first.
func (c *Client) Approvals(ctx context.Context, p api.ListApprovalsParams) (api.ApprovalPage, error) {
	out, _, err := call[api.ApprovalPage](ctx, c, true, func() (*http.Response, error) { return c.wire.ListApprovals(ctx, &p) })
	for i := range out.Items {
		out.Items[i].URL = c.absolute(out.Items[i].URL)
	}
	return out, err
}

// Answer says yes or no to a task that asks for approval. With a key it is
// repeated after a lost connection and done once.
func (c *Client) Answer(ctx context.Context, ref RunRef, task string, yes bool, key string, req api.AnswerRequest) (api.Approval, error) {
	out, _, err := call[api.Approval](ctx, c, key != "", func() (*http.Response, error) {
		if yes {
			return c.wire.ApproveTask(ctx, ref.Namespace, ref.Pipeline, ref.Run, task, &api.ApproveTaskParams{IdempotencyKey: key}, req)
		}
		return c.wire.RejectTask(ctx, ref.Namespace, ref.Pipeline, ref.Run, task, &api.RejectTaskParams{IdempotencyKey: key}, req)
	})
	out.URL = c.absolute(out.URL)
	return out, err
}

// A LogRef names the output of one attempt.
type LogRef struct {
	RunRef
	Task    string
	Index   *int // of an item; nil: the task itself
	Attempt int  // 0: the newest
}

// A LogPart is a stretch of an attempt's output as it was written. Offset is
// later than asked for where output was not kept; Next is where to go on.
type LogPart struct {
	Offset, Next, Size int64
	Complete           bool
	Data               []byte
}

// Log reads output from a byte on; a negative one counts from the end. A limit
// of 0 is the server's.
func (c *Client) Log(ctx context.Context, ref LogRef, from int64, limit int) (LogPart, error) {
	var out LogPart
	err := c.again(ctx, true, func() error {
		resp, err := c.wire.GetLog(ctx, ref.Namespace, ref.Pipeline, ref.Run, ref.Task, &api.GetLogParams{Index: ref.Index, Attempt: ref.Attempt, From: from, Limit: limit})
		if err != nil {
			return c.unreachable(ctx, err)
		}
		defer resp.Body.Close()
		if err := c.check(resp); err != nil {
			return err
		}
		number := func(name string) int64 {
			n, _ := strconv.ParseInt(resp.Header.Get(name), 10, 64)
			return n
		}
		out = LogPart{Offset: number("Log-Offset"), Next: number("Log-Next"), Size: number("Log-Size"), Complete: resp.Header.Get("Log-Complete") == "true"}
		if out.Data, err = io.ReadAll(io.LimitReader(resp.Body, api.MaxLogBytes)); err != nil {
			return c.unreachable(ctx, err)
		}
		return nil
	})
	return out, err
}

// Executors are those seen in the last day.
func (c *Client) Executors(ctx context.Context) (api.ExecutorList, error) {
	out, _, err := call[api.ExecutorList](ctx, c, true, func() (*http.Response, error) { return c.wire.ListExecutors(ctx) })
	return out, err
}

// Whoami is the holder of the token.
func (c *Client) Whoami(ctx context.Context) (api.Whoami, error) {
	out, _, err := call[api.Whoami](ctx, c, true, func() (*http.Response, error) { return c.wire.Whoami(ctx) })
	return out, err
}

// Tokens is a page of tokens.
func (c *Client) Tokens(ctx context.Context, p api.ListTokensParams) (api.TokenPage, error) {
	out, _, err := call[api.TokenPage](ctx, c, true, func() (*http.Response, error) { return c.wire.ListTokens(ctx, &p) })
	return out, err
}

// CreateToken makes a token; its secret is in this answer alone.
func (c *Client) CreateToken(ctx context.Context, req api.TokenRequest) (api.NewToken, error) {
	out, _, err := call[api.NewToken](ctx, c, false, func() (*http.Response, error) { return c.wire.CreateToken(ctx, &api.CreateTokenParams{}, req) })
	return out, err
}

// RevokeToken ends a token.
func (c *Client) RevokeToken(ctx context.Context, id int64) error {
	_, _, err := call[struct{}](ctx, c, true, func() (*http.Response, error) { return c.wire.RevokeToken(ctx, id) })
	return err
}

// Version is what serves there.
func (c *Client) Version(ctx context.Context) (api.Version, error) {
	out, _, err := call[api.Version](ctx, c, true, func() (*http.Response, error) { return c.wire.Version(ctx) })
	return out, err
}

// absolute is an address of the server's pages; one that does not know where it
// is reached gives the path alone.
func (c *Client) absolute(address string) string {
	if strings.HasPrefix(address, "/") {
		return c.base + address
	}
	return address
}

// Pools is a page of pools.
func (c *Client) Pools(ctx context.Context, p api.ListPoolsParams) (api.PoolPage, error) {
	out, _, err := call[api.PoolPage](ctx, c, true, func() (*http.Response, error) { return c.wire.ListPools(ctx, &p) })
	return out, err
}

// Pool is one pool, with at most limit of those who hold its slots and of those
// who wait for them; 0 is the server's own limit.
func (c *Client) Pool(ctx context.Context, namespace, name string, limit int) (api.PoolDetail, error) {
	out, _, err := call[api.PoolDetail](ctx, c, true, func() (*http.Response, error) {
		return c.wire.GetPool(ctx, namespace, name, &api.GetPoolParams{Limit: limit})
	})
	return out, err
}
