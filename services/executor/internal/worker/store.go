package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/executor/internal/output"
)

// store keeps the output of one attempt in the database, as long as the
// attempt is ours.
type store struct {
	w *Worker
	h *held
}

// Append stores chunks, and with them how much there is by now.
func (s *store) Append(ctx context.Context, chunks []output.Chunk) error {
	if s.w.gone(s.h) || !s.w.cfg.Lease.Held() {
		return output.ErrLost
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	stats := s.h.log.Stats()
	p := db.StoreLogParams{RunID: s.h.live.RunID, Number: s.h.live.Number, Token: s.h.live.Token, Seen: stats.Seen, Stored: stats.Stored}
	if stats.CutAt >= 0 {
		p.CutAt = &stats.CutAt
	}
	for _, c := range chunks {
		p.Seqs = append(p.Seqs, int32(c.Seq))
		p.AtBytes = append(p.AtBytes, c.AtByte)
		p.Datas = append(p.Datas, c.Data)
		p.Marks = append(p.Marks, c.Marks)
		p.Stored += int64(len(c.Data))
	}
	_, err := s.w.cfg.Logs.Queries().StoreLog(ctx, p)
	if errors.Is(err, db.ErrNoRows) {
		s.w.mu.Lock()
		s.w.lose(s.h)
		s.w.mu.Unlock()
		return output.ErrLost
	}
	if err != nil {
		return fmt.Errorf("store output: %w", err)
	}
	s.w.cfg.Notify(db.ChannelEvent)
	return nil
}
