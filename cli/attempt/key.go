package attempt

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"hash"
	"slices"
	"strconv"
	"time"
)

// IdempotencyKey is the key that all attempts of a task (or of an item) in a
// run share: of a tick, by its schedule and instant, so that the same tick
// decided anew has the same key; else by the run. Index is -1 for a task that
// is no item.
func IdempotencyKey(installation, pipeline string, scheduleID int64, fireAt time.Time, runID int64, task string, index int, item json.RawMessage) string {
	h := sha256.New()
	add(h, "synthesizer task 1", installation, pipeline)
	if scheduleID != 0 {
		add(h, "tick", strconv.FormatInt(scheduleID, 10), fireAt.UTC().Format(time.RFC3339Nano))
	} else {
		add(h, "run", strconv.FormatInt(runID, 10))
	}
	add(h, task)
	if index >= 0 {
		add(h, strconv.Itoa(index), string(item))
	}
	return hex.EncodeToString(h.Sum(nil)[:20])
}

// AttemptKey is the key of one attempt: another one for every attempt.
func AttemptKey(key string, attempt int) string { return key + "-" + strconv.Itoa(attempt) }

// add hashes parts so that no two lists of parts look alike.
func add(h hash.Hash, parts ...string) {
	for _, p := range parts {
		h.Write([]byte(strconv.Itoa(len(p)) + ":" + p))
	}
}

func insert(list []int, n int) []int {
	at, found := slices.BinarySearch(list, n)
	if found {
		return list
	}
	return slices.Insert(list, at, n)
}
