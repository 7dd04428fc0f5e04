package app

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/db"
)

// event writes what a person did.
func event(ctx context.Context, q *db.Queries, by Actor, kind string, entity, pipeline int64, state, cause string) error {
	err := q.InsertEvents(ctx, db.InsertEventsParams{
		Actor: by.Name, Kinds: []string{kind}, Entities: []int64{entity}, Pipelines: []int64{pipeline}, Namespaces: []string{""},
		ToStates: []string{state}, Reasons: []string{""}, Causes: []string{cause}, Details: []string{""},
	})
	if err != nil {
		return fmt.Errorf("write an event: %w", err)
	}
	return nil
}

// pageSize is how many items a page has.
func pageSize(limit int) (int, error) {
	switch {
	case limit == 0:
		return api.DefaultPage, nil
	case limit < 1 || limit > api.MaxPage:
		return 0, api.Errorf(api.Unprocessable, "limit is 1 to %d, found %d", api.MaxPage, limit)
	}
	return limit, nil
}

// cursor packs where a page ends. It means nothing to clients.
func cursor(parts ...string) string {
	b, _ := json.Marshal(parts)
	return base64.RawURLEncoding.EncodeToString(b)
}

// parseCursor unpacks what cursor packed: n parts.
func parseCursor(text string, n int) ([]string, error) {
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return nil, errCursor()
	}
	var parts []string
	if json.Unmarshal(b, &parts) != nil || len(parts) != n || slices.ContainsFunc(parts, func(p string) bool { return strings.ContainsRune(p, 0) }) {
		return nil, errCursor()
	}
	return parts, nil
}

func parseCursorNumber(text string) (int64, error) {
	parts, err := parseCursor(text, 1)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(parts[0], 10, 64)
	if err != nil || n < 0 {
		return 0, errCursor()
	}
	return n, nil
}

func errCursor() *api.Error {
	return api.Errorf(api.Unprocessable, "cursor is not one that this list gave").WithHint("leave it out to start at the first page")
}

var namePattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9_-]{0,62}[a-z0-9])?$`)

func isName(s string) bool { return namePattern.MatchString(s) }

// show quotes text that people sent: odd characters are spelled out.
func show(s string) string {
	const most = 80
	if utf8.RuneCountInString(s) > most {
		s = string([]rune(s)[:most]) + "…"
	}
	return strconv.QuoteToGraphic(s)
}

// printable drops what is not printable and cuts at n characters.
func printable(s string, n int) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return -1
	}, strings.ToValidUTF8(s, ""))
	if r := []rune(s); len(r) > n {
		s = string(r[:n])
	}
	return strings.TrimSpace(s)
}

// note is free text that people may break into lines.
func note(field, s string, most int) (string, error) {
	if !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
		return "", api.Errorf(api.Unprocessable, "%s holds bytes that are no text", field)
	}
	if n := utf8.RuneCountInString(s); n > most {
		return "", api.Errorf(api.Unprocessable, "%s has %d characters; it may have %d", field, n, most)
	}
	return strings.TrimSpace(s), nil
}

func orEmpty[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// deref is the zero value for nothing.
func deref[T any](p *T) T {
	if p == nil {
		var none T
		return none
	}
	return *p
}

func orZero(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}

func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	u := t.UTC()
	return &u
}

func text[T ~string](s *T) T {
	if s == nil {
		return ""
	}
	return *s
}

// orNil is for times that a query gives as the zero time where there is none.
func orNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return utc(&t)
}
