// Package rest is the JSON skin over the use cases: it decodes a request, calls
// one method of app, and encodes what comes back.
package rest

//go:generate sh -c "$(../../../../tools/install.sh oapi-codegen) -config oapi-server.yaml ../../../../cli/api/openapi.yaml"
