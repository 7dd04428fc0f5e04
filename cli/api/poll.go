package api

import (
	"fmt"
	"time"
)

// Sentence says how asking goes.
func (p Poll) Sentence() string {
	since := " since " + clock(p.Since)
	if p.Tries == 0 {
		if !p.Served {
			return "no live executor serves target " + p.Target + since
		}
		return "is about to ask " + p.Target
	}
	text := "asked " + p.URL
	if p.URL == "" {
		text = "asked target " + p.Target
	}
	switch p.Tries {
	case 1:
		text += " once"
	case 2:
		text += " twice"
	default:
		text += fmt.Sprintf(" %d times", p.Tries)
	}
	text += since
	switch {
	case p.LastError != "" && p.LastStatus != 0:
		text += fmt.Sprintf("; last answer %d: %s", p.LastStatus, p.LastError)
	case p.LastError != "":
		text += "; " + p.LastError
	case p.LastStatus != 0:
		text += fmt.Sprintf("; last answer %d", p.LastStatus)
	}
	if !p.Served {
		return text + "; no live executor serves target " + p.Target
	}
	return text + "; next " + clock(p.NextAt)
}

// clock is a time of today as people read it.
func clock(t time.Time) string { return t.UTC().Format("15:04:05 MST") }
