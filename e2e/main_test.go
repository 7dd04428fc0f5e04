// Package e2e runs the real programs on a real Postgres, and breaks them.
package e2e

import (
	"os"
	"testing"

	"github.com/synthesizer-dev/synthesizer/e2e/internal/programs"
)

// The test binary is also what tasks run: a witness of what really happens.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "witness" {
		os.Exit(beWitness(os.Args[2:]))
	}
	status := m.Run()
	programs.Remove()
	os.Exit(status)
}
