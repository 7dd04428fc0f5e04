package schedule

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

//go:generate go run zonedata/generate.go

// TZVersion is the release of the embedded time zone data. Ticks computed
// with another one may differ.
const TZVersion = "2025c"

// The zones travel with the program. The zone files of a host, which the
// standard library would prefer, differ from machine to machine.
//
//go:embed zonedata/zones.gz
var packedZones []byte

type zoneTable struct {
	version string
	data    map[string]string // canonical name → zone file
	links   map[string]string // old name → canonical name
}

// zones unpacks the table when it is first asked for.
var zones = sync.OnceValue(func() zoneTable {
	table, err := unpackZones(packedZones)
	if err != nil {
		panic("embedded time zones: " + err.Error())
	}
	return table
})

// locations keeps each zone that was loaded: thousands of schedules share a
// handful, and a Location never changes.
var locations sync.Map // name → *time.Location

func unpackZones(packed []byte) (zoneTable, error) {
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return zoneTable{}, err
	}
	all, err := io.ReadAll(z)
	if err != nil {
		return zoneTable{}, err
	}
	rest := string(all)
	number := func() int {
		n, size := binary.Uvarint([]byte(rest[:min(len(rest), binary.MaxVarintLen64)]))
		rest = rest[size:]
		return int(n)
	}
	text := func() string {
		n := number()
		s := rest[:n]
		rest = rest[n:]
		return s
	}
	pairs := func() map[string]string {
		m := make(map[string]string)
		for range number() {
			name := text()
			m[name] = text()
		}
		return m
	}
	return zoneTable{version: text(), data: pairs(), links: pairs()}, nil
}

// LoadZone gives the zone of a canonical IANA name, from the embedded data
// alone. Its error is an *Error that knows the nearest name.
func LoadZone(name string) (*time.Location, error) {
	if loc, ok := locations.Load(name); ok {
		return loc.(*time.Location), nil
	}
	data, ok := zones().data[name]
	if !ok {
		return nil, unknownZone(name)
	}
	loc := time.UTC
	if name != "UTC" && name != "Etc/UTC" {
		var err error
		if loc, err = time.LoadLocationFromTZData(name, []byte(data)); err != nil {
			return nil, &Error{Code: "SYN1207", Field: "timezone", Message: fmt.Sprintf("time zone %s: %v", name, err), Hint: "report it: the embedded data is damaged"}
		}
	}
	kept, _ := locations.LoadOrStore(name, loc)
	return kept.(*time.Location), nil
}

// ZoneNames lists the names LoadZone knows, in order.
func ZoneNames() []string { return slices.Sorted(maps.Keys(zones().data)) }

func unknownZone(name string) *Error {
	e := &Error{
		Code: "SYN1207", Field: "timezone", Len: len([]rune(name)),
		Message: fmt.Sprintf("unknown time zone %s", quote(name)),
	}
	if target, ok := zones().links[name]; ok {
		e.Message = fmt.Sprintf("time zone %s is an old name", quote(name))
		e.Hint = fmt.Sprintf("did you mean %q?", target)
		return e
	}
	switch strings.ToLower(name) {
	case "":
		e.Message = "time zone is empty"
		e.Hint = `a name like Europe/Berlin; without timezone: it is "UTC"`
		return e
	case "local", "localtime", "posixrules", "system", "posix":
		e.Message = fmt.Sprintf("time zone %s differs from machine to machine", quote(name))
		e.Hint = `"UTC", or a name like Europe/Berlin`
		return e
	}
	if hint := offsetHint(name); hint != "" {
		e.Message = fmt.Sprintf("time zone %s is an offset, not a zone", quote(name))
		e.Hint = hint
		return e
	}
	if near := nearestZone(name); near != "" {
		e.Hint = fmt.Sprintf("did you mean %q?", near)
	} else {
		e.Hint = "a name like Europe/Berlin, or UTC"
	}
	return e
}

var offsetRE = regexp.MustCompile(`^(?i:utc|gmt)?([+-])(\d{1,2})(?::?(\d\d))?$`)

// offsetHint says what to write for "+02:00" or "UTC-5". The IANA zones of
// whole offsets have their sign turned round.
func offsetHint(name string) string {
	m := offsetRE.FindStringSubmatch(name)
	if m == nil {
		return ""
	}
	hours, _ := strconv.Atoi(m[2])
	sign := "-"
	if m[1] == "-" {
		sign = "+"
	}
	canonical := fmt.Sprintf("Etc/GMT%s%d", sign, hours)
	if _, ok := zones().data[canonical]; ok && (m[3] == "" || m[3] == "00") {
		return fmt.Sprintf("a name like Europe/Berlin; %s is UTC%s%d for ever", canonical, m[1], hours)
	}
	return "a name like Europe/Berlin"
}

// nearestZone finds the canonical name that was probably meant.
func nearestZone(name string) string {
	if len(name) > 64 {
		return ""
	}
	for _, prefix := range []string{"right/", "posix/"} {
		if rest, ok := strings.CutPrefix(name, prefix); ok {
			name = rest
		}
	}
	table := zones()
	resolve := func(known string) string {
		if target, ok := table.links[known]; ok {
			return target
		}
		return known
	}
	names := slices.Concat(ZoneNames(), slices.Sorted(maps.Keys(table.links)))
	for _, known := range names {
		if strings.EqualFold(known, name) {
			return resolve(known)
		}
	}
	// A city alone, or with blanks: "berlin", "New York".
	city := strings.ReplaceAll(name[strings.LastIndexByte(name, '/')+1:], " ", "_")
	for _, known := range names {
		if strings.EqualFold(known[strings.LastIndexByte(known, '/')+1:], city) {
			return resolve(known)
		}
	}
	if near := nearest(name, names, 2); near != "" {
		return resolve(near)
	}
	for _, known := range names {
		if near := nearest(city, []string{known[strings.LastIndexByte(known, '/')+1:]}, 1); near != "" && len(city) > 3 {
			return resolve(known)
		}
	}
	return ""
}
