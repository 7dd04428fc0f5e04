//go:build !unix

package command

// session is the same for all terminals where there are no sessions.
func session() string { return "" }
