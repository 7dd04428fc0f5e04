package expr

import (
	"errors"
	"math"
	"math/big"
	"strconv"
	"strings"
)

// A Number is an exact decimal, held as plain text: digits with an optional
// sign and fraction, never an exponent. 1.50 and 1.5 are equal by Cmp and
// differ in their text. ParseNumber makes one.
type Number string

// maxDigits bounds the text of a number; every 64-bit float fits.
const maxDigits = 1100

var (
	errNotNumber = errors.New("it is not a number")
	errDigits    = errors.New("it is a number of more than 1100 digits")
)

// ParseNumber reads a decimal, also one with an exponent as JSON has them; the
// exponent is written out, the digits are kept.
func ParseNumber(s string) (Number, error) {
	mantissa, exponent, hasExponent := cutExponent(s)
	if !plainNumber(mantissa) {
		if len(mantissa) > maxDigits && digitsOnly(mantissa) {
			return "", errDigits
		}
		return "", errNotNumber
	}
	if !hasExponent {
		return Number(mantissa), nil
	}
	e, err := strconv.Atoi(exponent)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return "", errNotNumber
	}
	if err != nil || e > maxDigits || e < -maxDigits {
		return "", errDigits
	}
	n := shift(mantissa, e)
	if len(n) > maxDigits {
		return "", errDigits
	}
	return n, nil
}

func cutExponent(s string) (mantissa, exponent string, ok bool) {
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		return s[:i], s[i+1:], true
	}
	return s, "", false
}

func digitsOnly(s string) bool { return strings.Trim(s, "-.0123456789") == "" }

// shift moves the decimal point of a plain number by e places to the right.
func shift(s string, e int) Number {
	sign := ""
	if s[0] == '-' {
		sign, s = "-", s[1:]
	}
	whole, fraction, _ := strings.Cut(s, ".")
	digits := whole + fraction
	point := len(whole) + e
	if point <= 0 {
		digits = strings.Repeat("0", 1-point) + digits
		point = 1
	}
	if point > len(digits) {
		digits += strings.Repeat("0", point-len(digits))
	}
	whole, fraction = strings.TrimLeft(digits[:point], "0"), digits[point:]
	if whole == "" {
		whole = "0"
	}
	if fraction != "" {
		fraction = "." + fraction
	}
	return Number(sign + whole + fraction)
}

// numberValue gives an int64 where the text is a whole number of 64 bits
// without a fraction, else a Number.
func numberValue(s string) (any, error) {
	n, err := ParseNumber(s)
	if err != nil {
		return nil, err
	}
	if i, err := strconv.ParseInt(string(n), 10, 64); err == nil {
		return i, nil
	}
	return n, nil
}

// plainNumber says whether s is -?(0|[1-9][0-9]*)(\.[0-9]+)? and not too long.
func plainNumber(s string) bool {
	if len(s) > maxDigits {
		return false
	}
	whole, fraction, hasFraction := strings.Cut(strings.TrimPrefix(s, "-"), ".")
	if whole == "" || len(whole) > 1 && whole[0] == '0' || hasFraction && fraction == "" {
		return false
	}
	for i := range len(whole) {
		if whole[i] < '0' || whole[i] > '9' {
			return false
		}
	}
	for i := range len(fraction) {
		if fraction[i] < '0' || fraction[i] > '9' {
			return false
		}
	}
	return true
}

// Cmp compares by value: -1, 0 or 1.
func (n Number) Cmp(m Number) int { return compareDecimals(string(n), string(m)) }

// Int gives the number as an int64 if it is whole and within 64 bits; 3.0 is.
func (n Number) Int() (int64, bool) {
	whole, fraction, _ := strings.Cut(string(n), ".")
	if strings.Trim(fraction, "0") != "" {
		return 0, false
	}
	i, err := strconv.ParseInt(whole, 10, 64)
	return i, err == nil
}

// Float64 gives the nearest float.
func (n Number) Float64() float64 {
	f, _ := strconv.ParseFloat(string(n), 64)
	return f
}

// MarshalJSON writes the digits.
func (n Number) MarshalJSON() ([]byte, error) {
	if !plainNumber(string(n)) {
		return nil, errNotNumber
	}
	return []byte(n), nil
}

// compareDecimals compares two plain decimals digit by digit, so that no length
// and no closeness of values can confuse it.
func compareDecimals(a, b string) int {
	aNegative, aWhole, aFraction := partsOf(a)
	bNegative, bWhole, bFraction := partsOf(b)
	if aNegative != bNegative {
		if aNegative {
			return -1
		}
		return 1
	}
	c := len(aWhole) - len(bWhole)
	if c == 0 {
		c = strings.Compare(aWhole, bWhole)
	}
	if c == 0 {
		c = strings.Compare(aFraction, bFraction)
	}
	if aNegative {
		c = -c
	}
	return max(-1, min(1, c))
}

// partsOf drops what has no value: leading zeros, trailing zeros of the
// fraction, the sign of zero.
func partsOf(s string) (negative bool, whole, fraction string) {
	rest := strings.TrimPrefix(s, "-")
	whole, fraction, _ = strings.Cut(rest, ".")
	whole, fraction = strings.TrimLeft(whole, "0"), strings.TrimRight(fraction, "0")
	return len(rest) < len(s) && whole+fraction != "", whole, fraction
}

// compareNumbers compares two values that are int64 or Number.
func compareNumbers(a, b any) int {
	if x, ok := a.(int64); ok {
		if y, ok := b.(int64); ok {
			switch {
			case x < y:
				return -1
			case x > y:
				return 1
			}
			return 0
		}
	}
	return compareDecimals(decimalText(a), decimalText(b))
}

func decimalText(v any) string {
	if i, ok := v.(int64); ok {
		return strconv.FormatInt(i, 10)
	}
	return string(v.(Number))
}

// fromFloat gives the shortest text of a finite float.
func fromFloat(f float64) (Number, bool) {
	if math.IsInf(f, 0) || math.IsNaN(f) {
		return "", false
	}
	if f == 0 {
		return "0", true // not -0
	}
	return Number(strconv.FormatFloat(f, 'f', -1, 64)), true
}

// A decimal is coef / 10^scale, small enough for exact arithmetic in int64.
type decimal struct {
	coef  int64
	scale int
}

// exact bounds the coefficients of the fast path: a decimal of up to 15 digits
// survives the way to a float and back, so rounding would change nothing.
const exact = 1_000_000_000_000_000

var powers = [16]int64{
	1, 10, 100, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
}

func small(v any) (decimal, bool) {
	if i, ok := v.(int64); ok {
		return decimal{coef: i}, i > -exact && i < exact
	}
	s := string(v.(Number))
	if len(s) > 17 {
		return decimal{}, false
	}
	whole, fraction, _ := strings.Cut(s, ".")
	i, err := strconv.ParseInt(whole+fraction, 10, 64)
	return decimal{i, len(fraction)}, err == nil && i > -exact && i < exact
}

func (d decimal) number() Number {
	if d.coef == 0 {
		return "0"
	}
	s := strconv.FormatInt(d.coef, 10)
	if d.scale == 0 {
		return Number(s)
	}
	sign := ""
	if s[0] == '-' {
		sign, s = "-", s[1:]
	}
	if len(s) <= d.scale {
		s = strings.Repeat("0", d.scale-len(s)+1) + s
	}
	whole, fraction := s[:len(s)-d.scale], strings.TrimRight(s[len(s)-d.scale:], "0")
	if fraction == "" {
		return Number(sign + whole)
	}
	return Number(sign + whole + "." + fraction)
}

// computeSmall does + - and * where the exact result has at most 15 digits.
func computeSmall(op string, a, b any) (Number, bool) {
	x, ok := small(a)
	if !ok {
		return "", false
	}
	y, ok := small(b)
	if !ok {
		return "", false
	}
	if op == "*" {
		c, ok := multiply(x.coef, y.coef)
		return decimal{c, x.scale + y.scale}.number(), ok && c > -exact && c < exact
	}
	for _, d := range []struct{ lower, higher *decimal }{{&x, &y}, {&y, &x}} {
		if up := d.higher.scale - d.lower.scale; up > 0 {
			if up >= len(powers) {
				return "", false
			}
			c, ok := multiply(d.lower.coef, powers[up])
			if !ok || c <= -exact || c >= exact {
				return "", false
			}
			*d.lower = decimal{c, d.higher.scale}
		}
	}
	c := x.coef + y.coef
	if op == "-" {
		c = x.coef - y.coef
	}
	return decimal{c, x.scale}.number(), c > -exact && c < exact
}

// computeNumbers does + - * / on int64 and Number operands: the exact result,
// rounded once to the nearest float. The message is what went wrong.
func computeNumbers(op string, a, b any) (Number, string) {
	if op != "/" {
		if n, ok := computeSmall(op, a, b); ok {
			return n, ""
		}
	}
	x, okX := new(big.Rat).SetString(decimalText(a))
	y, okY := new(big.Rat).SetString(decimalText(b))
	if !okX || !okY {
		return "", "not a number"
	}
	switch op {
	case "+":
		x.Add(x, y)
	case "-":
		x.Sub(x, y)
	case "*":
		x.Mul(x, y)
	case "/":
		if y.Sign() == 0 {
			return "", "division by zero"
		}
		x.Quo(x, y)
	}
	f, _ := x.Float64()
	n, ok := fromFloat(f)
	if !ok {
		return "", "the result is not a finite number"
	}
	return n, ""
}

// computeIntegers does + - * % and says whether the result fits in 64 bits.
func computeIntegers(op string, a, b int64) (int64, bool) {
	switch op {
	case "+":
		c := a + b
		return c, (c > a) == (b > 0)
	case "-":
		c := a - b
		return c, (c < a) == (b > 0)
	case "*":
		return multiply(a, b)
	default:
		return a % b, true
	}
}

func multiply(a, b int64) (int64, bool) {
	if a == 0 || b == 0 {
		return 0, true
	}
	c := a * b
	if c/b != a || a == -1 && b == math.MinInt64 || b == -1 && a == math.MinInt64 {
		return 0, false
	}
	return c, true
}
