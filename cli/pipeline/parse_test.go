package pipeline

import (
	"fmt"
	"os"
	"testing"
	"time"
)

func TestScratch(t *testing.T) {
	for _, n := range []string{"hello", "everything"} {
		b, err := os.ReadFile("testdata/valid/" + n + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		f := []File{{n + ".yaml", b}}
		src, ps := Parse(f, Options{Now: time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)})
		fmt.Println(ps.Text(f, false), len(src.Documents))
	}
}
