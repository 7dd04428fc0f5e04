package api

import (
	"strconv"
	"strings"
)

// Label is what stands before findings of a standing, the same on pages and in
// terminals.
func (s Standing) Label() string {
	switch s {
	case StandingBlocks:
		return "because"
	case StandingAhead:
		return "then"
	case StandingOpen:
		return "not because"
	}
	return "also"
}

// Place is the finding's place in its queue, "" if it has none.
func (f GateFinding) Place() string {
	if f.Position == 0 {
		return ""
	}
	return "position " + strconv.Itoa(f.Position)
}

// Others says how many holders are not listed, "" if all are.
func (f GateFinding) Others() string {
	switch {
	case f.More == 0:
		return ""
	case len(f.Holders) == 0:
		return strconv.Itoa(f.More) + " in all"
	}
	return "and " + strconv.Itoa(f.More) + " more"
}

// Does is what a holder does and where, without its name and its time:
// "running on wh-1 (db7), 2 slots".
func (h Holder) Does() string {
	text := h.State
	if h.State == "ready" {
		text = "waits for an executor"
	}
	if h.Executor != "" {
		text += " on " + h.Executor
	}
	if h.Host != "" && h.Host != h.Executor {
		text += " (" + h.Host + ")"
	}
	if h.Slots > 1 {
		text += ", " + strconv.Itoa(h.Slots) + " slots"
	}
	return text
}

// Name is the holder as one reads it within namespace; a command names it in
// full.
func (h Holder) Name(namespace string) string {
	run := strings.TrimPrefix(h.Run, namespace+"/")
	switch {
	case h.Hidden:
		return "a run of another namespace"
	case run == "":
		return h.Task
	case h.Task == "":
		return run
	}
	return run + "/" + h.Task
}

// ShortCommand is a command of a finding as one types it within namespace.
func ShortCommand(command, namespace string) string {
	return strings.ReplaceAll(command, " "+namespace+"/", " ")
}
