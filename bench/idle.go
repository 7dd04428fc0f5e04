package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// idle measures P14: what each service uses while nothing is due.
func (b *bench) idle(ctx context.Context, in *installation) (err error) {
	// The server says what it is asked, of sessions that begin now.
	name := pgx.Identifier{in.name}.Sanitize()
	if _, err := b.pg.admin.Exec(ctx, "ALTER DATABASE "+name+" SET log_min_duration_statement = 0"); err != nil {
		return err
	}
	defer func() {
		_, _ = b.pg.admin.Exec(context.WithoutCancel(ctx), "ALTER DATABASE "+name+" RESET log_min_duration_statement")
	}()
	f, err := b.startFleet(ctx, in)
	if err != nil {
		return err
	}
	defer func() { err = joined(err, f.stop()) }()
	if err := sleep(ctx, time.Duration(b.size(30, 2))*time.Second); err != nil {
		return err
	}
	log, err := os.Open(b.pg.logFile())
	if err != nil {
		return err
	}
	defer log.Close()
	if _, err := log.Seek(0, io.SeekEnd); err != nil {
		return err
	}
	m, err := startMeter(ctx, b.pg)
	if err != nil {
		return err
	}
	var before, after []time.Duration
	for _, p := range f {
		before = append(before, ran(p.cmd.Process.Pid))
	}
	if err := sleep(ctx, time.Duration(b.size(60, 3))*time.Second); err != nil {
		return err
	}
	for _, p := range f {
		after = append(after, ran(p.cmd.Process.Pid))
	}
	used, err := m.stop(ctx)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(log)
	if err != nil {
		return err
	}
	asked := queries(text)
	for i, p := range f {
		rss, err := memory(p.cmd.Process.Pid)
		if err != nil {
			return wrong("%s has ended: %v", p.name, err)
		}
		n := asked["synthesizer "+p.name]
		b.tell(line{Row: "P14", What: p.name + " idle, memory", Value: float64(rss) / 1e6, Unit: "MB", Gate: 30, Goal: 15, Note: children(p.cmd.Process.Pid)})
		b.tell(line{Row: "P14", What: p.name + " idle, share of a core", Value: 100 * (after[i] - before[i]).Seconds() / used.Seconds, Unit: "%", Gate: 0.2, Goal: 0.05})
		b.tell(line{Row: "P14", What: p.name + " idle, queries", Value: float64(n.total) / used.Seconds, Unit: "/s", Gate: 2, Goal: 1, Note: n.most()})
	}
	b.tell(line{What: "Postgres meanwhile, share of a core", Value: 100 * used.Postgres / used.Seconds, Unit: "%"})
	return nil
}

// ran is how long a process has run on a processor, over all its threads, by the
// scheduler's own account: finer than ticks.
func ran(pid int) time.Duration {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid)) // the pattern is right
	var sum int64
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // the thread has ended
		}
		first, _, _ := strings.Cut(string(text), " ")
		n, _ := strconv.ParseInt(first, 10, 64)
		sum += n
	}
	return time.Duration(sum)
}

// children tells the memory of the processes that a service has started.
func children(pid int) string {
	all, err := processes()
	if err != nil {
		return ""
	}
	var notes []string
	for child, p := range all {
		if p.parent != pid {
			continue
		}
		if rss, err := memory(child); err == nil {
			notes = append(notes, fmt.Sprintf("and %.1f MB in a child", float64(rss)/1e6))
		}
	}
	slices.Sort(notes)
	return strings.Join(notes, ", ")
}

// An asked is what one service asked the server.
type asked struct {
	total int
	by    map[string]int // by the name of the query
}

// queries counts in the server's log what was executed, by the service that the
// connection is named after.
func queries(log []byte) map[string]*asked {
	all := map[string]*asked{}
	for _, service := range programs {
		all["synthesizer "+service.name] = &asked{by: map[string]int{}}
	}
	for line := range bytes.Lines(log) {
		// 2026-11-24 05:00:00.000 UTC [123] synthesizer api LOG:  duration: 0.1 ms  execute stmt: -- name: X :one
		_, rest, ok := bytes.Cut(line, []byte("] "))
		if !ok {
			continue
		}
		app, rest, ok := bytes.Cut(rest, []byte(" LOG:  duration: "))
		if !ok {
			continue
		}
		_, what, executed := bytes.Cut(rest, []byte(" ms  "))
		if !executed || bytes.HasPrefix(what, []byte("parse ")) || bytes.HasPrefix(what, []byte("bind ")) {
			continue
		}
		for name, a := range all {
			if string(app) != name && !bytes.HasPrefix(app, []byte(name+" ")) {
				continue
			}
			a.total++
			_, text, _ := bytes.Cut(what, []byte(": "))
			if _, named, ok := bytes.Cut(text, []byte("-- name: ")); ok {
				text = named
			}
			a.by[strings.Join(strings.Fields(string(text))[:min(1, len(bytes.Fields(text)))], " ")]++
		}
	}
	return all
}

// most names the queries that were asked most.
func (a *asked) most() string {
	names := make([]string, 0, len(a.by))
	for name := range a.by {
		names = append(names, name)
	}
	slices.SortFunc(names, func(x, y string) int { return a.by[y] - a.by[x] })
	for i, name := range names {
		names[i] = fmt.Sprintf("%s %d", name, a.by[name])
	}
	return strings.Join(names[:min(5, len(names))], ", ")
}
