package schedule

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
	"time"
)

type durationUnit struct {
	name string
	size time.Duration
}

// durationUnits are in the order in which a duration writes them. A day is
// 24 hours, whatever the clocks do.
func durationUnits() [6]durationUnit {
	return [6]durationUnit{
		{"w", week}, {"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}, {"ms", time.Millisecond},
	}
}

// ParseDuration reads numbers with the units w d h m s ms, in this order and
// each once: 90s, 1h30m, 2d, 0.5s. Its error is an *Error.
func ParseDuration(text string) (time.Duration, error) {
	bad := func(format string, args ...any) (time.Duration, error) {
		return 0, &Error{
			Code: "SYN1009", Field: "duration", Len: len([]rune(text)),
			Message: fmt.Sprintf(format, args...), Hint: "like 90s, 5m, 1h30m, 2d",
		}
	}
	if len(text) > 64 {
		return bad("duration %s is too long", quote(text))
	}
	units := durationUnits()
	var total uint64
	used := 0 // units[:used] are used or passed over
	for rest := text; rest != "" || text == ""; {
		n := len(rest) - len(strings.TrimLeft(rest, "0123456789."))
		number := rest[:n]
		rest = rest[n:]
		n = strings.IndexFunc(rest, func(r rune) bool { return r < 'a' || r > 'z' })
		if n < 0 {
			n = len(rest)
		}
		name := rest[:n]
		rest = rest[n:]
		whole, fraction, dotted := strings.Cut(number, ".")
		switch {
		case text == "":
			return bad("duration is empty")
		case strings.HasPrefix(text, "-") || strings.HasPrefix(text, "+"):
			return bad("duration %s has a sign", quote(text))
		case strings.ContainsAny(text, " \t"):
			return bad("duration %s has a space", quote(text))
		case strings.HasPrefix(strings.ToUpper(text), "P"):
			return bad("duration %s is ISO 8601", quote(text))
		case !digits(whole) || dotted && !digits(fraction):
			return bad("duration %s is not a number and a unit", quote(text))
		case len(whole) > 1 && whole[0] == '0':
			return bad("duration %s has a leading zero", quote(text))
		case name == "" && rest == "":
			_, err := bad("%s has no unit", quote(text))
			if e, ok := errors.AsType[*Error](err); ok && !dotted && text == number {
				e.Hint = fmt.Sprintf("%ss, %sm, %sh", short(text), short(text), short(text))
			}
			return 0, err
		}
		i := -1
		for k, u := range units {
			if u.name == name {
				i = k
			}
		}
		if i < 0 {
			return bad("duration %s: the units are w d h m s ms", quote(text))
		}
		if i < used {
			return bad("duration %s: units come in the order w d h m s ms, each once", quote(text))
		}
		used = i + 1
		part, ok := scale(whole, fraction, uint64(units[i].size))
		if !ok {
			return bad("duration %s is beyond 292 years or finer than a nanosecond", quote(text))
		}
		if total += part; total > math.MaxInt64 {
			return bad("duration %s is beyond 292 years", quote(text))
		}
	}
	return time.Duration(total), nil
}

// scale multiplies a decimal number by a unit's nanoseconds, exactly.
func scale(whole, fraction string, size uint64) (uint64, bool) {
	n, err := strconv.ParseUint(whole, 10, 64)
	if err != nil {
		return 0, false
	}
	high, total := bits.Mul64(n, size)
	if high != 0 || total > math.MaxInt64 {
		return 0, false
	}
	fraction = strings.TrimRight(fraction, "0")
	if fraction == "" {
		return total, true
	}
	if len(fraction) > 18 {
		return 0, false
	}
	n, err = strconv.ParseUint(fraction, 10, 64)
	if err != nil {
		return 0, false
	}
	power := uint64(1)
	for range fraction {
		power *= 10
	}
	high, low := bits.Mul64(n, size)
	part, rest := bits.Div64(high, low, power)
	return total + part, rest == 0 && total+part <= math.MaxInt64
}

// FormatDuration writes a duration so that ParseDuration reads it: 1h30m.
// What it cannot read, negative ones, begin with a minus.
func FormatDuration(d time.Duration) string {
	if d == 0 {
		return "0s"
	}
	rest := uint64(d)
	var b strings.Builder
	if d < 0 {
		rest = -rest
		b.WriteByte('-')
	}
	for _, u := range durationUnits() {
		size := uint64(u.size)
		n := rest / size
		if u.name == "ms" && rest > 0 {
			b.WriteString(strconv.FormatUint(n, 10))
			if nanos := rest % size; nanos > 0 {
				b.WriteString(strings.TrimRight(fmt.Sprintf(".%06d", nanos), "0"))
			}
			b.WriteString("ms")
		} else if n > 0 {
			b.WriteString(strconv.FormatUint(n, 10) + u.name)
		}
		rest -= n * size
	}
	return b.String()
}
