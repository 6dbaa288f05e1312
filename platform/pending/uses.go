package pending

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// TokenUse is how often an API token was used since the last batch, and when and from where for the last time.
type TokenUse struct {
	TokenID int64
	Uses    int64
	Last    time.Time
	From    netip.Addr // the zero Addr: not known
}

// AddTokenUses adds a batch of uses to those the site keeps until they are written to the primary, in the hash
// token_uses: `<token>:uses`, `<token>:last` (unix seconds) and `<token>:from`. A batch whose answer was lost may be counted twice:
// these are figures to look at, nothing is decided by them.
func (s *Store) AddTokenUses(ctx context.Context, uses []TokenUse) error {
	p := s.client.TxPipeline()
	for _, use := range uses {
		token := strconv.FormatInt(use.TokenID, 10)
		p.HIncrBy(ctx, s.prefix+"token_uses", token+":uses", use.Uses)
		p.HSet(ctx, s.prefix+"token_uses", token+":last", use.Last.Unix(), token+":from", address(use.From))
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
		var from netip.Addr
		var err4 error
		if text := kept.Val()[token+":from"]; text != "" {
			from, err4 = netip.ParseAddr(text)
		}
		if err := errors.Join(err, err2, err3, err4); err != nil {
			return nil, fmt.Errorf("reading the uses of token %q: %w", token, err)
		}
		uses = append(uses, TokenUse{TokenID: id, Uses: count, Last: time.Unix(last, 0).UTC(), From: from})
	}
	return uses, nil
}

// address is "" for the zero Addr.
func address(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}
