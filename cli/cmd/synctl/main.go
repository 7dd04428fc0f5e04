// Synctl is the command line of Synthesizer.
package main

import (
	"os"

	"github.com/synthesizer-dev/synthesizer/cli/internal/command"
)

func main() { os.Exit(command.Main(os.Args[1:])) }
