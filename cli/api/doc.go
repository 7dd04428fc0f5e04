// Package api is the HTTP contract of Synthesizer: its models, its errors and the OpenAPI file they come from.
package api

import _ "embed"

//go:generate sh -c "$(../../tools/install.sh oapi-codegen) -config oapi-models.yaml openapi.yaml"

// OpenAPI is the contract's document.
//
//go:embed openapi.yaml
var OpenAPI []byte

// Limits of the contract. The server refuses what lies above with too_large or
// unprocessable; they are here so that a client can say so before it sends.
const (
	MaxPage          = 200
	DefaultPage      = 50
	MaxFiles         = 1000
	MaxFileBytes     = 256 << 10
	MaxRegisterBytes = 16 << 20
	MaxRunTasks      = 1000 // tasks and items in one Run; more are in its next_tasks
	MaxNextTicks     = 200
	MaxLogBytes      = 4 << 20
)
