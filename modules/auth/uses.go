package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/opsdb/opsdb/modules/auth/internal/db"
	"github.com/opsdb/opsdb/platform/pending"
)

// Uses counts uses of tokens in memory. Who must know them gets them in batches, never per request.
type Uses struct {
	mu     sync.Mutex
	counts map[int64]TokenUse
}

// TokenUse is how often a token was used since the last batch, and when and from where for the last time.
type TokenUse = pending.TokenUse

// UseSink keeps counted uses: UseTable at main; pending.Store at a secondary site, which keeps them in its Redis until
// the primary is told.
type UseSink interface {
	// AddTokenUses adds a batch to what is stored; after an error the batch is tried again with the next one.
	AddTokenUses(ctx context.Context, uses []TokenUse) error
}

// NewUses returns an empty count.
func NewUses() *Uses { return &Uses{counts: map[int64]TokenUse{}} }

// Count notes one use of a token.
func (u *Uses) Count(tokenID int64, at time.Time, from netip.Addr) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.add(TokenUse{TokenID: tokenID, Uses: 1, Last: at, From: from})
}

func (u *Uses) add(use TokenUse) {
	sum := u.counts[use.TokenID]
	sum.TokenID = use.TokenID
	sum.Uses += use.Uses
	if !use.Last.Before(sum.Last) {
		sum.Last, sum.From = use.Last, use.From
	}
	u.counts[use.TokenID] = sum
}

// Run hands what was counted to sink every interval until ctx ends, and once more then.
func (u *Uses) Run(ctx context.Context, sink UseSink, interval time.Duration, logger *slog.Logger) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			if err := u.Flush(ctx, sink); err != nil {
				logger.WarnContext(ctx, "uses of tokens are not stored yet", "error", err)
			}
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			if err := u.Flush(last, sink); err != nil {
				logger.WarnContext(ctx, "the last uses of tokens are lost", "error", err)
			}
			return
		}
	}
}

// Flush hands what was counted to sink. After an error nothing is lost: it goes with the next flush.
func (u *Uses) Flush(ctx context.Context, sink UseSink) error {
	u.mu.Lock()
	batch := make([]TokenUse, 0, len(u.counts))
	for _, use := range u.counts {
		batch = append(batch, use)
	}
	clear(u.counts)
	u.mu.Unlock()
	if len(batch) == 0 {
		return nil
	}
	if err := sink.AddTokenUses(ctx, batch); err != nil {
		u.mu.Lock()
		for _, use := range batch {
			u.add(use)
		}
		u.mu.Unlock()
		return err
	}
	return nil
}

// UseTable is the UseSink of the main site: the columns usage_count, last_used_at and last_used_ip of api_token.
type UseTable struct{ db db.DBTX }

// NewUseTable returns the sink that writes to the primary.
func NewUseTable(primary db.DBTX) UseTable { return UseTable{primary} }

// AddTokenUses implements UseSink with one statement.
func (t UseTable) AddTokenUses(ctx context.Context, uses []TokenUse) error {
	params := db.CountTokenUsesParams{}
	for _, use := range uses {
		params.ID = append(params.ID, use.TokenID)
		params.Uses = append(params.Uses, use.Uses)
		params.LastUsedAt = append(params.LastUsedAt, use.Last.UTC())
		from := ""
		if use.From.IsValid() {
			from = use.From.String()
		}
		params.LastUsedIP = append(params.LastUsedIP, from)
	}
	if err := db.New(t.db).CountTokenUses(ctx, params); err != nil {
		return fmt.Errorf("storing uses of %d tokens: %w", len(uses), err)
	}
	return nil
}

// KeptUses are the uses that a secondary site keeps until the primary is told: pending.Store.
type KeptUses interface {
	UseSink
	// TakeTokenUses takes what is kept.
	TakeTokenUses(ctx context.Context) ([]TokenUse, error)
}

// forwardPatience bounds one attempt to tell the primary.
const forwardPatience = 10 * time.Second

// ForwardUses writes what a secondary site keeps to the primary every interval until ctx ends. While the primary cannot be
// reached it is kept on.
func ForwardUses(ctx context.Context, kept KeptUses, primary UseSink, interval time.Duration, logger *slog.Logger) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			if err := forwardUses(ctx, kept, primary); err != nil {
				logger.DebugContext(ctx, "the primary is not told of uses of tokens yet", "error", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

func forwardUses(ctx context.Context, kept KeptUses, primary UseSink) error {
	// What is taken is written or put back, also when the process is told to end meanwhile.
	here, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	uses, err := kept.TakeTokenUses(here)
	if err != nil || len(uses) == 0 {
		return err
	}
	there, cancel := context.WithTimeout(ctx, forwardPatience)
	defer cancel()
	if err := primary.AddTokenUses(there, uses); err != nil {
		here, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		return errors.Join(err, kept.AddTokenUses(here, uses))
	}
	return nil
}
