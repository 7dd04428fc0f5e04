package expr

import (
	"strings"
	"time"
)

func (r *run) zone() *time.Location {
	if r.vars.Zone == nil {
		return time.UTC
	}
	return r.vars.Zone
}

func evalTimestamp(r *run, n *call, args []any) (any, *Error) {
	s, err := textArg(r, n, args, 0)
	if err != nil {
		return nil, err
	}
	t, wrong := parseInstant(s, r.zone())
	if wrong != nil {
		return nil, r.fail(n, "timestamp("+r.shown(s)+"): "+wrong.Error(), "")
	}
	return t, nil
}

func evalDuration(r *run, n *call, args []any) (any, *Error) {
	s, err := textArg(r, n, args, 0)
	if err != nil {
		return nil, err
	}
	d, wrong := parseDuration(s)
	if wrong != nil {
		return nil, r.fail(n, "duration("+r.shown(s)+"): "+wrong.Error(), "")
	}
	return d, nil
}

// zoneArg is the zone of date and format_time: the last argument, if it is there.
func zoneArg(r *run, n *call, args []any) (*time.Location, *Error) {
	if n.zone != nil {
		return n.zone, nil
	}
	if len(args) < n.fn.most {
		return r.zone(), nil
	}
	s, err := textArg(r, n, args, len(args)-1)
	if err != nil {
		return nil, err
	}
	zone, wrong := loadZone(s)
	if wrong != nil {
		return nil, r.fail(n.args[len(args)-1], "the zone of "+n.fn.name+": "+r.shown(s)+" "+strings.TrimPrefix(wrong.Error(), "it "), "")
	}
	return zone, nil
}

func evalDate(r *run, n *call, args []any) (any, *Error) {
	return formatted(r, n, args, time.DateOnly)
}

func evalFormatTime(r *run, n *call, args []any) (any, *Error) {
	layout, err := textArg(r, n, args, 1)
	if err != nil {
		return nil, err
	}
	return formatted(r, n, args, layout)
}

func formatted(r *run, n *call, args []any, layout string) (any, *Error) {
	t, ok := args[0].(time.Time)
	if !ok {
		return nil, wrongArg(r, n, args, 0, KindInstant)
	}
	zone, err := zoneArg(r, n, args)
	if err != nil {
		return nil, err
	}
	if err := r.charge(n, 4*len(layout)); err != nil {
		return nil, err
	}
	return t.In(zone).Format(layout), nil
}
