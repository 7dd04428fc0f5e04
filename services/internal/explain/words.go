package explain

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/synthesizer-dev/synthesizer/cli/flow"
)

// plural is a count with its noun.
func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + one + "s"
}

// are is the verb for a count.
func are(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}

// some lists names, the first few of them.
func some(names []string) string {
	const most = 4
	switch n := len(names); {
	case n == 0:
		return ""
	case n == 1:
		return names[0]
	case n > most:
		return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", n-most)
	default:
		return strings.Join(names[:n-1], ", ") + " and " + names[n-1]
	}
}

// firstLine is the beginning of a text for people.
func firstLine(s string) string {
	const most = 200
	line, rest, _ := strings.Cut(strings.TrimSpace(s), "\n")
	if r := []rune(line); len(r) > most {
		return string(r[:most]) + "…"
	}
	if rest != "" {
		return line + " …"
	}
	return line
}

// labelsText is what a task asks for: "labels [gpu, linux]".
func labelsText(labels []string) string {
	if len(labels) == 1 {
		return "label [" + labels[0] + "]"
	}
	return "labels [" + strings.Join(labels, ", ") + "]"
}

// taskName is a task or an item by its name and number.
func taskName(name string, number int32) string {
	if _, index := flow.Split(int(number)); index >= 0 {
		return name + "[" + strconv.Itoa(index) + "]"
	}
	return name
}

// ending says how an attempt ended.
func ending(state, reason string, exit *int32, signal *string) string {
	switch {
	case exit != nil && *exit != 0 && (reason == "exit" || reason == ""):
		return fmt.Sprintf("exit %d", *exit)
	case signal != nil && *signal != "":
		return "killed by " + *signal
	case state == flow.AttemptTimedOut:
		return "timed out"
	case state == flow.AttemptLost:
		return "its executor was lost"
	case reason != "":
		return spaced(reason)
	}
	return state
}

// spaced is a reason as people read it.
func spaced(reason string) string { return strings.ReplaceAll(reason, "_", " ") }

// because is a person's reason, if there is one, behind what they did.
func because(reason *string) string {
	if reason == nil || *reason == "" {
		return ""
	}
	return ": “" + *reason + "”"
}

func value[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}
