package schedule_test

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// The oracle shares nothing with the package: it reads a cron text by
// expanding it to sets, looks at every single minute through the standard
// library, and applies the policy to the list of wall clocks it saw.

type oracle struct {
	minute, hour, month map[int]bool
	dom, dow            string
	both                bool // both day fields must match
	follows             bool
}

func newOracle(text string) *oracle {
	f := strings.Fields(strings.ToUpper(text))
	star := func(i int) bool { return f[i][0] == '*' }
	return &oracle{
		minute:  expand(f[0], 0, 59, nil),
		hour:    expand(f[1], 0, 23, nil),
		month:   expand(f[3], 1, 12, []string{"", "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"}),
		dom:     f[2],
		dow:     f[4],
		both:    star(2) || star(4),
		follows: star(0) || star(1),
	}
}

// expand lists the plain items of a field; L, W and # are left to day.
func expand(field string, lo, hi int, names []string) map[int]bool {
	set := map[int]bool{}
	for _, item := range strings.Split(field, ",") {
		if strings.ContainsAny(item, "#") || strings.HasSuffix(item, "W") || strings.HasSuffix(item, "L") && item != "JUL" {
			continue
		}
		value := func(s string, end bool) int {
			if i := slices.Index(names, s); i >= 0 {
				if end && s == "SUN" {
					return 7
				}
				return i
			}
			n, err := strconv.Atoi(s)
			if err != nil {
				panic(err)
			}
			return n
		}
		step, from, to := 1, lo, hi
		if base, s, ok := strings.Cut(item, "/"); ok {
			step, _ = strconv.Atoi(s)
			if base != "*" && !strings.Contains(base, "-") {
				base += "-" + strconv.Itoa(hi)
			}
			item = base
		}
		if item != "*" {
			if a, b, ok := strings.Cut(item, "-"); ok {
				from, to = value(a, false), value(b, true)
			} else {
				from = value(item, false)
				to = from
			}
		}
		for v := from; v <= to; v += step {
			set[v] = true
		}
	}
	return set
}

func (o *oracle) day(y int, m time.Month, d int) bool {
	if !o.month[int(m)] {
		return false
	}
	t := time.Date(y, m, d, 12, 0, 0, 0, time.UTC)
	last := time.Date(y, m+1, 0, 12, 0, 0, 0, time.UTC).Day()
	dom := expand(o.dom, 1, 31, nil)[d]
	for _, item := range strings.Split(o.dom, ",") {
		if item == "L" && d == last {
			dom = true
		}
		if n, err := strconv.Atoi(strings.TrimSuffix(item, "W")); err == nil && strings.HasSuffix(item, "W") && n <= last {
			// The nearest weekday within the month: Friday before a Saturday,
			// Monday after a Sunday, unless that is another month.
			near := time.Date(y, m, n, 12, 0, 0, 0, time.UTC)
			switch {
			case near.Weekday() == time.Saturday && n > 1:
				near = near.AddDate(0, 0, -1)
			case near.Weekday() == time.Saturday:
				near = near.AddDate(0, 0, 2)
			case near.Weekday() == time.Sunday && n < last:
				near = near.AddDate(0, 0, 1)
			case near.Weekday() == time.Sunday:
				near = near.AddDate(0, 0, -2)
			}
			dom = dom || near.Day() == d
		}
	}
	names := []string{"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"}
	set := expand(o.dow, 0, 7, names)
	w := int(t.Weekday())
	dow := set[w] || w == 0 && set[7]
	which := func(s string) int {
		if i := slices.Index(names, s); i >= 0 {
			return i
		}
		n, _ := strconv.Atoi(s)
		return n % 7
	}
	for _, item := range strings.Split(o.dow, ",") {
		if base, ok := strings.CutSuffix(item, "L"); ok && which(base) == w && d+7 > last {
			dow = true
		}
		if base, k, ok := strings.Cut(item, "#"); ok && which(base) == w && k == strconv.Itoa((d+6)/7) {
			dow = true
		}
	}
	if o.both {
		return dom && dow
	}
	return dom || dow
}

// film is what the wall of a zone shows minute by minute.
type film struct {
	from  int64   // Unix minute of the first
	walls []int64 // wall minutes
}

func shoot(loc *time.Location, from, to time.Time) film {
	f := film{from: from.Unix() / 60}
	for t := f.from; t <= to.Unix()/60; t++ {
		_, off := time.Unix(t*60, 0).In(loc).Zone()
		f.walls = append(f.walls, t+int64(off)/60)
	}
	return f
}

// ticks gives the ticks on the film. Those within a day of its ends may be
// wrong, because their other occurrence may not be on it.
func (o *oracle) ticks(f film, gap, overlap string) []int64 {
	lo, hi := slices.Min(f.walls), slices.Max(f.walls)
	matches := make([]bool, hi-lo+1)
	for w := lo; w <= hi; {
		d := time.Unix(w*60, 0).UTC()
		rest := int64(1440 - d.Hour()*60 - d.Minute())
		if o.day(d.Date()) {
			for i := int64(0); i < rest && w+i <= hi; i++ {
				m := (d.Hour()*60 + d.Minute() + int(i))
				matches[w+i-lo] = o.hour[m/60] && o.minute[m%60]
			}
		}
		w += rest
	}
	set := map[int64]bool{}
	if o.follows {
		for i, w := range f.walls {
			if matches[w-lo] {
				set[f.from+int64(i)] = true
			}
		}
		return sorted(set)
	}
	shown := make([][]int64, hi-lo+1)
	for i, w := range f.walls {
		if matches[w-lo] {
			shown[w-lo] = append(shown[w-lo], f.from+int64(i))
		}
	}
	for i, due := range matches {
		if !due {
			continue
		}
		switch at := shown[i]; {
		case len(at) == 1:
			set[at[0]] = true
		case len(at) == 2:
			large := at[1]-at[0] >= 180
			if overlap != "second" || large {
				set[at[0]] = true
			}
			if overlap != "first" && !large {
				set[at[1]] = true
			}
		case len(at) > 2:
			panic("a wall clock came three times")
		default:
			for k := 1; k < len(f.walls); k++ {
				if before, after := f.walls[k-1]-lo, f.walls[k]-lo; before < int64(i) && after > int64(i) {
					if gap == "next" && after-before-1 < 180 {
						set[f.from+int64(k)] = true
					}
					break
				}
			}
		}
	}
	return sorted(set)
}

func sorted(set map[int64]bool) []int64 {
	var list []int64
	for t := range set {
		list = append(list, t)
	}
	slices.Sort(list)
	return list
}
