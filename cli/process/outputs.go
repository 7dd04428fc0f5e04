package process

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"unicode/utf8"
)

// OutputLimit is the largest file of outputs, and of a summary, in bytes.
const OutputLimit = 64 << 10

// RawOutput is an output as a task wrote it. Typing happens where the
// declaration is known.
type RawOutput struct {
	Text string // the value, or its JSON
	JSON bool   // it was the member of a JSON object
	Line int    // where it stands in the file, from 1
}

// Reasons of outputs that cannot be read.
const (
	ReasonOutputsSyntax   = "outputs_syntax"
	ReasonOutputsTooLarge = "outputs_too_large"
)

// OutputError says why a file of outputs cannot be read.
type OutputError struct {
	Reason string // ReasonOutputsSyntax or ReasonOutputsTooLarge
	Line   int    // from 1; 0 means the whole file
	Detail string // one clause, without any value
}

// Error returns place and detail.
func (e *OutputError) Error() string {
	if e.Line > 0 {
		return fmt.Sprintf("line %d of $SYN_OUTPUT: %s", e.Line, e.Detail)
	}
	return "$SYN_OUTPUT: " + e.Detail
}

// ReadOutputs reads the file that a task wrote its outputs to. No file means
// no outputs. Other errors than *OutputError are those of the system.
func ReadOutputs(path string) (map[string]RawOutput, error) {
	b, size, err := readHead(path, OutputLimit)
	if err != nil {
		return nil, fmt.Errorf("read outputs: %w", err)
	}
	if size > OutputLimit {
		return nil, &OutputError{Reason: ReasonOutputsTooLarge, Detail: fmt.Sprintf("%d bytes are more than the %d allowed", size, OutputLimit)}
	}
	return ParseOutputs(b)
}

// ParseOutputs reads outputs:
//
//	KEY=VALUE
//	KEY<<DELIM … DELIM
//	{"a": 1, "b": "x"}
//
// The last value of a key wins. Errors are *OutputError.
func ParseOutputs(b []byte) (map[string]RawOutput, error) {
	if len(b) > OutputLimit {
		return nil, &OutputError{Reason: ReasonOutputsTooLarge, Detail: fmt.Sprintf("%d bytes are more than the %d allowed", len(b), OutputLimit)}
	}
	out := map[string]RawOutput{}
	r := lineReader{rest: b}
	for r.next() {
		if !utf8.Valid(r.line) {
			return nil, r.fail("is not UTF-8")
		}
		if len(bytes.TrimSpace(r.line)) == 0 {
			continue
		}
		if r.line[0] == '{' {
			if err := r.object(out); err != nil {
				return nil, err
			}
			continue
		}
		key, rest := cutKey(r.line)
		value, assigned := bytes.CutPrefix(rest, []byte("="))
		delim, here := bytes.CutPrefix(rest, []byte("<<"))
		switch {
		case key == "":
			return nil, r.fail("expected KEY=VALUE, KEY<<DELIM or a JSON object; a key is a letter or _ and up to 62 of letters, digits and _")
		case assigned:
			out[key] = RawOutput{Text: string(value), Line: r.n}
		case here:
			if err := r.heredoc(out, key, delim); err != nil {
				return nil, err
			}
		default:
			return nil, r.fail("expected = or << after the key")
		}
	}
	return out, nil
}

// cutKey splits a line after its key; no key gives "".
func cutKey(line []byte) (string, []byte) {
	n := 0
	for n < len(line) && keyByte(line[n], n > 0) {
		n++
	}
	if n == 0 || n > 63 {
		return "", line
	}
	return string(line[:n]), line[n:]
}

// keyByte reports whether a byte may stand in a key.
func keyByte(c byte, digits bool) bool {
	return c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || digits && '0' <= c && c <= '9'
}

// lineReader walks over lines that end with LF or CR LF.
type lineReader struct {
	rest []byte
	line []byte
	n    int
}

// next moves to the next line.
func (r *lineReader) next() bool {
	if len(r.rest) == 0 {
		return false
	}
	r.line, r.rest, _ = bytes.Cut(r.rest, []byte{'\n'})
	r.line = bytes.TrimSuffix(r.line, []byte{'\r'})
	r.n++
	return true
}

// fail makes an error of the current line.
func (r *lineReader) fail(detail string) error {
	return &OutputError{Reason: ReasonOutputsSyntax, Line: r.n, Detail: detail}
}

// heredoc reads the lines up to the delimiter.
func (r *lineReader) heredoc(out map[string]RawOutput, key string, delim []byte) error {
	if len(delim) == 0 || len(delim) > 64 {
		return r.fail("a delimiter is 1 to 64 letters, digits and _")
	}
	for _, c := range delim {
		if !keyByte(c, true) {
			return r.fail("a delimiter is 1 to 64 letters, digits and _")
		}
	}
	start := r.n
	var text []byte
	for first := true; r.next(); first = false {
		if bytes.Equal(r.line, delim) {
			out[key] = RawOutput{Text: string(text), Line: start}
			return nil
		}
		if !utf8.Valid(r.line) {
			return r.fail("is not UTF-8")
		}
		if !first {
			text = append(text, '\n')
		}
		text = append(text, r.line...)
	}
	r.n = start
	return r.fail(fmt.Sprintf("no line %s follows", delim))
}

// maxDepth bounds how deep a JSON output may nest.
const maxDepth = 64

// object reads one JSON object on one line, each key once.
func (r *lineReader) object(out map[string]RawOutput) error {
	d := json.NewDecoder(bytes.NewReader(r.line))
	if _, err := d.Token(); err != nil {
		return r.fail("is not a JSON object")
	}
	if deeper(r.line, maxDepth) {
		return r.fail(fmt.Sprintf("JSON nests deeper than %d levels", maxDepth))
	}
	seen := map[string]bool{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return r.fail("is not a JSON object")
		}
		name, _ := t.(string)
		key, rest := cutKey([]byte(name))
		if key == "" || len(rest) > 0 {
			return r.fail("a key is a letter or _ and up to 62 of letters, digits and _")
		}
		if seen[key] {
			return r.fail(fmt.Sprintf("the key %q is given twice", key))
		}
		seen[key] = true
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return r.fail("is not a JSON object")
		}
		if again := twice(value); again != "" {
			return r.fail(fmt.Sprintf("the key %q is given twice", again))
		}
		out[key] = RawOutput{Text: string(value), JSON: true, Line: r.n}
	}
	if _, err := d.Token(); err != nil {
		return r.fail("is not a JSON object")
	}
	if _, err := d.Token(); err != io.EOF {
		return r.fail("something follows the JSON object")
	}
	return nil
}

// deeper reports whether brackets outside of strings nest deeper than limit.
func deeper(b []byte, limit int) bool {
	depth, quoted := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > limit {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}

// twice returns a key that an object anywhere in valid JSON gives twice.
func twice(b []byte) string {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	type level struct {
		keys map[string]bool // nil in arrays
		key  bool            // a key comes next
	}
	var stack []level
	for {
		t, err := d.Token()
		if err != nil {
			return ""
		}
		top := len(stack) - 1
		switch {
		case t == json.Delim('{'):
			if top >= 0 {
				stack[top].key = true
			}
			stack = append(stack, level{keys: map[string]bool{}, key: true})
		case t == json.Delim('['):
			if top >= 0 {
				stack[top].key = true
			}
			stack = append(stack, level{})
		case t == json.Delim('}') || t == json.Delim(']'):
			stack = stack[:top]
		case top < 0:
		case stack[top].keys != nil && stack[top].key:
			k, _ := t.(string)
			if stack[top].keys[k] {
				return k
			}
			stack[top].keys[k], stack[top].key = true, false
		default:
			stack[top].key = true
		}
	}
}

// Summary is what a task wrote for people.
type Summary struct {
	Text []byte // Markdown, valid UTF-8, at most OutputLimit bytes
	Cut  int64  // bytes that are missing at the end
}

// ReadSummary reads the file that a task wrote its summary to. No file is an
// empty summary; invalid bytes become the replacement character.
func ReadSummary(path string) (Summary, error) {
	b, size, err := readHead(path, OutputLimit)
	if err != nil {
		return Summary{}, fmt.Errorf("read summary: %w", err)
	}
	if size > int64(len(b)) {
		b = wholeRunes(b)
	}
	kept := len(b)
	b = bytes.ToValidUTF8(b, []byte("\uFFFD"))
	if len(b) > OutputLimit {
		b = wholeRunes(b[:OutputLimit])
	}
	return Summary{Text: b, Cut: size - int64(kept)}, nil
}

// wholeRunes drops the beginning of a rune at the end.
func wholeRunes(b []byte) []byte {
	for i := 1; i <= utf8.UTFMax && i <= len(b); i++ {
		if c := b[len(b)-i]; utf8.RuneStart(c) {
			if !utf8.FullRune(b[len(b)-i:]) {
				return b[:len(b)-i]
			}
			break
		}
	}
	return b
}

// readHead reads at most limit bytes of a regular file, and tells its size.
// What a task put there instead of a file (a pipe would never end, a link may
// show what the task could not read) is refused.
func readHead(path string, limit int64) ([]byte, int64, error) {
	f, err := openPlain(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("%s is not a regular file", path)
	}
	b, err := io.ReadAll(io.LimitReader(f, limit))
	if err != nil {
		return nil, 0, err
	}
	return b, max(info.Size(), int64(len(b))), nil
}
