package advance_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/internal/outputs"
	"github.com/synthesizer-dev/synthesizer/services/scheduler/internal/schedtest"
)

// Outputs of many items are read a page at a time, each once and in order; what
// is too large is not read to its end, and hides nothing of the others.
func TestOutputsOfManyItemsAreCollected(t *testing.T) {
	t.Parallel()
	const many = 1200
	w := schedtest.New(t)
	items := strings.TrimSuffix(strings.Repeat("1, ", many), ", ")
	w.Register(fmt.Sprintf("name: p\ntasks:\n  few: {for_each: [1, 2, 3], run: x, outputs: {n: {type: integer}}}\n  large: {for_each: [%s], run: x, outputs: {n: {type: integer}}}\n  many: {for_each: [%[1]s], run: x, outputs: {n: {type: integer}}}\n  one: {run: x, outputs: {n: {type: integer}}}\n", items), time.Time{})
	var wanted []outputs.Wanted
	for range 2 {
		run := w.Trigger("p")
		w.Settle()
		if err := db.InTx(t.Context(), w.Pool, func(q *db.Queries) error {
			rev, err := w.Cache.One(t.Context(), q, schedtest.Value[int64](w, `SELECT revision_id FROM run WHERE id = $1`, run))
			if err == nil {
				wanted = append(wanted, outputs.Wanted{RunID: run, Graph: rev.Graph, Ordinals: []int{0, 1, 2, 3}})
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		w.Exec(`UPDATE task SET state = 'succeeded', ended_at = now(), ready_at = now(), outputs = jsonb_build_object('n', CASE WHEN name = 'large' THEN to_jsonb(repeat('x', 60000)) ELSE to_jsonb(number & 16383) END)
			WHERE run_id = $1 AND items IS NULL`, run)
		w.Exec(`DELETE FROM open_run WHERE run_id = $1`, run)
	}
	if err := db.InTx(t.Context(), w.Pool, func(q *db.Queries) error {
		found, err := outputs.Load(t.Context(), q, wanted)
		if err != nil {
			return err
		}
		for _, wanted := range wanted {
			f := found[wanted.RunID]
			want(t, "few", fmt.Sprint(f.Outputs[0]["n"]), "[1 2 3]")
			if !f.TooLarge[1] || f.TooLarge[0] || f.TooLarge[2] {
				t.Errorf("too large: %v, want the second", f.TooLarge)
			}
			list, _ := f.Outputs[2]["n"].([]any)
			if len(list) != many || fmt.Sprint(list[0], list[many-1]) != fmt.Sprint(1, many) {
				t.Errorf("%d of %d items", len(list), many)
			}
			want(t, "one", fmt.Sprint(f.Outputs[3]["n"]), "0")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}
