package pending

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"

	"github.com/opsdb/opsdb/platform/rdb"
)

// keptCount bounds one page of an export: each may hold transactions of megabytes.
const keptCount = 64

// Kept is a transaction that a site's Redis keeps, with what an export must know of
// its state.
type Kept struct {
	*Tx
	// Dead and Discarded say that it is a dead letter, or that an operator has
	// discarded it.
	Dead, Discarded bool
}

// EachKept calls fn for each transaction that the Redis of a site keeps, those
// included that are applied or replicated already, by rising seq, up to the newest
// one of when it began. It reads pages and keeps nothing, so it needs little memory
// however much is kept, and no Store. It ends with fn's first error.
func EachKept(ctx context.Context, client *rdb.Client, site string, decoder Decoder, fn func(Kept) error) error {
	prefix := "site:" + site + ":"
	newest, err := client.Get(ctx, prefix+"seq").Int64()
	if errors.Is(err, redis.Nil) {
		return nil // nothing was ever accepted
	}
	if err != nil {
		return fmt.Errorf("reading what the site keeps: %w", err)
	}
	reader := newState(nil, decoder)
	from, to := "-", strconv.FormatInt(newest, 10)+"-0"
	for {
		page, err := client.XRangeN(ctx, prefix+"transactions", from, to, keptCount).Result()
		if err != nil {
			return fmt.Errorf("reading what the site keeps: %w", err)
		}
		if len(page) == 0 {
			return nil
		}
		from = "(" + page[len(page)-1].ID
		entries, seqs := make([]entry, len(page)), make([]string, len(page))
		for i, m := range page {
			if entries[i], err = entryOf(messageOf(m)); err != nil {
				return err
			}
			seqs[i] = strconv.FormatInt(entries[i].seq, 10)
		}
		var dead, discarded *redis.SliceCmd
		if _, err := client.TxPipelined(ctx, func(p redis.Pipeliner) error {
			dead, discarded = p.HMGet(ctx, prefix+"dead_letters", seqs...), p.HMGet(ctx, prefix+"discarded", seqs...)
			return nil
		}); err != nil {
			return fmt.Errorf("reading what the site keeps: %w", err)
		}
		for i, e := range entries {
			tx := reader.read(e.seq, e.head, e.body)
			if err := fn(Kept{tx, dead.Val()[i] != nil, discarded.Val()[i] != nil}); err != nil {
				return err
			}
		}
	}
}
