package pending

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
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

// TakeTokenUses takes what is kept out of the site's Redis, for whoever writes it to the primary: what cannot be written
// he adds again.
func (s *Store) TakeTokenUses(ctx context.Context) ([]TokenUse, error) {
	p := s.client.TxPipeline()
	kept := p.HGetAll(ctx, s.prefix+"token_uses")
	p.Del(ctx, s.prefix+"token_uses")
	if _, err := p.Exec(ctx); err != nil {
		return nil, s.unavailable("taking the uses of tokens", err)
	}
	var uses []TokenUse
	for field, value := range kept.Val() {
		token, ok := strings.CutSuffix(field, ":uses")
		if !ok {
			continue
		}
		id, err := strconv.ParseInt(token, 10, 64)
		count, err2 := strconv.ParseInt(value, 10, 64)
		last, err3 := strconv.ParseInt(kept.Val()[token+":last"], 10, 64)
		if err := errors.Join(err, err2, err3); err != nil {
			return nil, fmt.Errorf("reading the uses of token %q: %w", token, err)
		}
		uses = append(uses, TokenUse{TokenID: id, Uses: count, Last: time.Unix(last, 0).UTC()})
	}
	return uses, nil
}
