package pending

import (
	"context"
	"strconv"
	"time"
)

// TokenUse is how often an API token was used since the last batch, and when for the last time.
type TokenUse struct {
	TokenID int64
	Uses    int64
	Last    time.Time
}

// AddTokenUses adds a batch of uses to those the site keeps until they are written to the primary, in the hash
// token_uses: `<token>:uses` and `<token>:last` (unix seconds). A batch whose answer was lost may be counted twice:
// these are figures to look at, nothing is decided by them.
func (s *Store) AddTokenUses(ctx context.Context, uses []TokenUse) error {
	p := s.client.TxPipeline()
	for _, use := range uses {
		token := strconv.FormatInt(use.TokenID, 10)
		p.HIncrBy(ctx, s.prefix+"token_uses", token+":uses", use.Uses)
		p.HSet(ctx, s.prefix+"token_uses", token+":last", use.Last.Unix())
	}
	if _, err := p.Exec(ctx); err != nil {
		return s.unavailable("keeping the uses of tokens", err)
	}
	return nil
}
