package pipeline

import (
	"fmt"
	"io"
	"os"
	"testing"
	"time"
)

func TestScratch(t *testing.T) {
	b, _ := io.ReadAll(os.Stdin)
	if len(b) == 0 {
		b, _ = os.ReadFile("/tmp/pl/in.yaml")
	}
	f := []File{{"a.yaml", b}}
	src, ps := Parse(f, Options{Now: time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)})
	fmt.Println(ps.Text(f, false), len(src.Documents))
}
