package rest

import (
	"context"

	"github.com/synthesizer-dev/synthesizer/services/api/internal/access"
	"github.com/synthesizer-dev/synthesizer/services/api/internal/app"
)

func (s *server) ListPools(ctx context.Context, r ListPoolsRequestObject) (ListPoolsResponseObject, error) {
	out, err := s.app.Pools(ctx, access.Actor(ctx), r.Params)
	return ListPools200JSONResponse(out), err
}

func (s *server) GetPool(ctx context.Context, r GetPoolRequestObject) (GetPoolResponseObject, error) {
	out, err := s.app.Pool(ctx, access.Actor(ctx), app.PoolRef{Namespace: r.Ns, Name: r.Name}, r.Params.Limit)
	return GetPool200JSONResponse(out), err
}
