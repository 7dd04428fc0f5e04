//go:build ignore

// Generate packs the zone files that come with Go, and the names that stand
// for others, into zones.gz. Run it in the folder schedule with the tzdata.zi
// of the system's tzdata package (it knows which names are links, the zone
// files do not) after an update of Go:
//
//	go run zonedata/generate.go -zi /usr/share/zoneinfo/tzdata.zi -tab /usr/share/zoneinfo/zone.tab
package main

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"log"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Names that look like zones and stand for a rule without a place. Newer
// tzdata makes them links to these places.
var retired = map[string]string{
	"CET": "Europe/Brussels", "CST6CDT": "America/Chicago", "EET": "Europe/Athens", "EST": "America/Panama",
	"EST5EDT": "America/New_York", "HST": "Pacific/Honolulu", "MET": "Europe/Brussels", "MST": "America/Phoenix",
	"MST7MDT": "America/Denver", "PST8PDT": "America/Los_Angeles", "WET": "Europe/Lisbon", "Factory": "UTC",
}

func main() {
	log.SetFlags(0)
	zi := flag.String("zi", "/usr/share/zoneinfo/tzdata.zi", "`file` with the links")
	tab := flag.String("tab", "/usr/share/zoneinfo/zone.tab", "`file` with the names of places")
	flag.Parse()
	if err := run(*zi, *tab); err != nil {
		log.Fatal(err)
	}
}

func run(zi, tab string) error {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return err
	}
	dir := filepath.Join(strings.TrimSpace(string(root)), "lib", "time")
	script, err := os.ReadFile(filepath.Join(dir, "update.bash"))
	if err != nil {
		return err
	}
	version := regexp.MustCompile(`(?m)^DATA=(\S+)`).FindSubmatch(script)
	if version == nil {
		return fmt.Errorf("no version in update.bash")
	}
	links, err := readLinks(zi, tab)
	if err != nil {
		return err
	}
	zones, err := readZones(filepath.Join(dir, "zoneinfo.zip"))
	if err != nil {
		return err
	}
	for name := range links {
		delete(zones, name)
	}
	for name, target := range links {
		if _, ok := zones[target]; !ok {
			return fmt.Errorf("%s stands for %s, which is not there", name, target)
		}
	}
	var b bytes.Buffer
	put := func(s string) { b.Write(binary.AppendUvarint(nil, uint64(len(s)))); b.WriteString(s) }
	put(string(version[1]))
	b.Write(binary.AppendUvarint(nil, uint64(len(zones))))
	for _, name := range slices.Sorted(maps.Keys(zones)) {
		put(name)
		put(zones[name])
	}
	b.Write(binary.AppendUvarint(nil, uint64(len(links))))
	for _, name := range slices.Sorted(maps.Keys(links)) {
		put(name)
		put(links[name])
	}
	out, err := os.Create("zonedata/zones.gz")
	if err != nil {
		return err
	}
	z, err := gzip.NewWriterLevel(out, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := z.Write(b.Bytes()); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	fmt.Printf("tzdata %s: %d zones, %d old names\n", version[1], len(zones), len(links))
	return out.Close()
}

// readLinks gives the old names. A name of zone.tab is nobody's old name,
// even if its place keeps the time of another.
func readLinks(zi, tab string) (map[string]string, error) {
	places := map[string]bool{"UTC": true, "GMT": true}
	text, err := os.ReadFile(tab)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(text)) {
		if columns := strings.Fields(line); !strings.HasPrefix(line, "#") && len(columns) > 2 {
			places[columns[2]] = true
		}
	}
	text, err = os.ReadFile(zi)
	if err != nil {
		return nil, err
	}
	links := maps.Clone(retired)
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if len(words) == 3 && words[0] == "L" && !places[words[2]] {
			target := words[1]
			if target == "Etc/UTC" {
				target = "UTC"
			}
			links[words[2]] = target
		}
	}
	return links, nil
}

func readZones(path string) (map[string]string, error) {
	archive, err := zip.OpenReader(path)
	if err != nil {
		return nil, err
	}
	defer archive.Close()
	zones := map[string]string{}
	for _, file := range archive.File {
		if strings.HasSuffix(file.Name, "/") {
			continue
		}
		r, err := file.Open()
		if err != nil {
			return nil, err
		}
		data, err := io.ReadAll(r)
		if err != nil {
			return nil, err
		}
		zones[file.Name] = string(data)
	}
	return zones, nil
}
