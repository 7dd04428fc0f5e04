package rest

//go:generate sh -c "$(../../../../tools/install.sh oapi-codegen) -config oapi-server.yaml ../../../../cli/api/openapi.yaml"
