// Package wire is the client that is generated from the contract.
package wire

//go:generate sh -c "$(../../../../tools/install.sh oapi-codegen) -config oapi-client.yaml ../../../api/openapi.yaml"
