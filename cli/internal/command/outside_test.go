package command

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/api"
)

// outside answers about secrets and variables.
func (s *contract) outside(answer func(string, func(http.ResponseWriter, *http.Request) (any, error))) {
	dsn := api.Secret{
		Namespace: "finance", Name: "WAREHOUSE_DSN", Version: 4, SetAt: now.Add(-48 * time.Hour), SetBy: "ana", UsedBy: []string{"nightly_etl", "reports"},
		ReadAt: now.Add(-time.Hour), ReadBy: "wh-2",
	}
	missing := api.Secret{Namespace: "finance", Name: "MISSING_KEY", UsedBy: []string{"reports"}}
	answer("GET /api/v1/secrets", func(_ http.ResponseWriter, r *http.Request) (any, error) {
		page := api.SecretPage{Items: []api.Secret{}}
		switch {
		case r.URL.Query().Get("namespace") == "empty":
		case r.URL.Query().Get("cursor") == "":
			page = api.SecretPage{Items: []api.Secret{missing}, Next: "more"}
		default:
			page.Items = append(page.Items, dsn)
		}
		return page, nil
	})
	answer("GET /api/v1/secrets/{ns}/{name}", func(_ http.ResponseWriter, r *http.Request) (any, error) {
		if r.PathValue("name") != dsn.Name {
			return nil, api.Errorf(api.NotFound, "there is no secret %q in %q that you may see and change", r.PathValue("name"), r.PathValue("ns"))
		}
		return dsn, nil
	})
	answer("PUT /api/v1/secrets/{ns}/{name}", func(_ http.ResponseWriter, r *http.Request) (any, error) {
		var req api.SecretRequest
		if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
			return nil, err
		}
		out := api.StoredSecret{Secret: dsn, Warnings: []string{}}
		out.Secret.Namespace, out.Secret.Name = r.PathValue("ns"), r.PathValue("name")
		if len(req.Value) < 4 {
			out.Warnings = append(out.Warnings, "the value has less than 4 bytes, so it is not masked in output")
		}
		return out, nil
	})
	gone := func(w http.ResponseWriter, _ *http.Request) (any, error) {
		w.WriteHeader(http.StatusNoContent)
		return nil, nil
	}
	answer("DELETE /api/v1/secrets/{ns}/{name}", gone)

	region := api.Var{Namespace: "finance", Name: "REGION", Value: "eu-west-1\x1b[31m", UpdatedAt: now.Add(-time.Hour), UpdatedBy: "bo", UsedBy: []string{"nightly_etl"}}
	owned := api.Var{Namespace: "finance", Name: "SITE", Value: "ams", Source: "finance-repo", UpdatedAt: now.Add(-time.Hour), UpdatedBy: "ci", UsedBy: []string{}}
	answer("GET /api/v1/vars", func(http.ResponseWriter, *http.Request) (any, error) {
		return api.VarPage{Items: []api.Var{region, owned}}, nil
	})
	answer("GET /api/v1/vars/{ns}/{name}", func(_ http.ResponseWriter, r *http.Request) (any, error) {
		switch r.PathValue("name") {
		case region.Name:
			return region, nil
		case owned.Name:
			return owned, nil
		}
		return nil, api.Errorf(api.NotFound, "there is no variable %q", r.PathValue("name")).WithHint("did you mean %q?", region.Name)
	})
	changed := func(r *http.Request) error {
		if r.PathValue("name") == owned.Name {
			return api.Errorf(api.Guarded, "variable SITE of finance belongs to source %q", owned.Source).WithHint("change it in its file of kind vars, and register that")
		}
		return nil
	}
	answer("PUT /api/v1/vars/{ns}/{name}", func(_ http.ResponseWriter, r *http.Request) (any, error) {
		return api.StoredVar{Var: region, Warnings: []string{}}, changed(r)
	})
	answer("DELETE /api/v1/vars/{ns}/{name}", func(w http.ResponseWriter, r *http.Request) (any, error) {
		if err := changed(r); err != nil {
			return nil, err
		}
		return gone(w, r)
	})
}
