package pipeline

import (
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// didYouMean is the hint for a word that is not known, or nothing.
func didYouMean(word string, known []string) string {
	if best := nearest(word, known); best != "" {
		return `did you mean "` + best + `"?`
	}
	return ""
}

// unknown is the error for a word that is not known, suggestion included.
func unknown(what, word string, known []string) error {
	text := "unknown " + what + " " + show(word)
	if hint := didYouMean(word, known); hint != "" {
		text += "; " + hint
	}
	return errors.New(text)
}

// nearest is the known word at an edit distance of at most 2, or 1 for words of
// up to four letters; "" if there is none.
func nearest(word string, known []string) string {
	if len(word) > 64 {
		return ""
	}
	limit := 2
	if len(word) <= 4 {
		limit = 1
	}
	best := ""
	for _, k := range known {
		if k == word || max(len(k)-len(word), len(word)-len(k)) > limit {
			continue
		}
		if d := editDistance(strings.ToLower(word), k); d <= limit && (best == "" || d < editDistance(strings.ToLower(word), best)) {
			best = k
		}
	}
	return best
}

// editDistance counts insertions, deletions, replacements and swaps of
// neighbors that make b of a.
func editDistance(a, b string) int {
	before, row := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		next := make([]int, len(b)+1)
		next[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			next[j] = min(row[j]+1, next[j-1]+1, row[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				next[j] = min(next[j], before[j-2]+1)
			}
		}
		before, row = row, next
	}
	return row[len(b)]
}

// foreignTop, foreignTask and foreignAny are words of other systems with what
// they are called here.
var (
	foreignTop = map[string]string{
		"on":        "schedule: and triggers: (YAML 1.1 tools read on as true)",
		"cron":      "schedule",
		"schedules": "schedule",
		"interval":  "schedule",
	}
	foreignTask = map[string]string{
		"when":          "if",
		"entrypoint":    "command",
		"args":          "command",
		"docker":        "container: {target, image}",
		"image":         "container: {target, image}",
		"run_if":        "if",
		"preconditions": "if",
	}
	foreignAny = map[string]string{
		"jobs": "tasks", "steps": "tasks",
		"inputs": "params", "parameters": "params",
		"tags":        "labels",
		"environment": "env",
		"runs-on":     "runs_on", "queue": "runs_on",
		"timeout-minutes": "timeout: 5m", "timeout_sec": "timeout: 5m",
		"cancel-in-progress": "concurrency.on_conflict: cancel_running",
		"retries":            "retry",
		"depends":            "needs", "depends_on": "needs", "dependencies": "needs",
		"script": "run", "cmd": "run", "bash": "run",
		"strategy": "matrix",
		"parallel": "for_each", "with_items": "for_each", "foreach": "for_each",
		"continue_on_error": "exit_codes: {skip: […]}", "allow_failure": "exit_codes: {skip: […]}",
	}
)

// keyHint says what to write instead of a key that is not known.
func keyHint(key string, known []string, foreign map[string]string) string {
	if hint := didYouMean(key, known); hint != "" {
		return hint
	}
	words := maps.Clone(foreignAny)
	maps.Copy(words, foreign)
	word, ok := words[key]
	if !ok {
		word, ok = words[nearest(key, sortedKeys(words))]
	}
	first, _, _ := strings.Cut(word, ":")
	first, _, _ = strings.Cut(first, ".")
	switch {
	case !ok || foreign[key] == "" && !slices.Contains(known, first):
		return ""
	case first == word:
		return `did you mean "` + word + `"?`
	default:
		return word
	}
}

// show quotes text of a file for a message: short, and with every character
// that does not print, or that turns the direction of writing, made visible.
func show(v any) string {
	text, ok := v.(string)
	if !ok {
		return plain(v)
	}
	return strconv.Quote(clip(text, 60))
}

// clip cuts text to n characters.
func clip(text string, n int) string {
	if len(text) <= n {
		return text
	}
	runes := []rune(text)
	if len(runes) <= n {
		return text
	}
	return string(runes[:n]) + "…"
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// grouped writes a number with thin groups of three: 20 000.
func grouped(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + " " + s[i:]
	}
	return s
}

// article gives a type with its article.
func article(word string) string {
	if word != "" && strings.ContainsRune("aeiou", rune(word[0])) {
		return "an " + word
	}
	return "a " + word
}
