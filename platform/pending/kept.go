package pending

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
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
// included that are applied or replicated already, in the order in which they are
// applied: by place, then seq; up to the newest one of when it began. It reads pages
// and keeps nothing but the numbers of the corrections, so it needs little memory
// however much is kept, and no Store. It ends with fn's first error.
func EachKept(ctx context.Context, client *rdb.Client, site string, decoder Decoder, fn func(Kept) error) error {
	k := keeping{client: client, prefix: prefixOf(site), reader: newState(nil, decoder)}
	var err error
	k.newest, err = client.Get(ctx, k.prefix+"seq").Int64()
	if errors.Is(err, redis.Nil) {
		return nil // nothing was ever accepted
	}
	if err != nil {
		return fmt.Errorf("reading what the site keeps: %w", err)
	}
	// The stream goes by seq. A correction stands behind what was accepted after the
	// mistake and belongs before it, so where they are must be known beforehand.
	late, err := k.corrections(ctx)
	if err != nil {
		return err
	}
	upTo := func(place int64) error {
		for len(late) > 0 && late[0].place < place {
			page, err := k.page(ctx, late[0].id(), late[0].id())
			if err != nil {
				return err
			}
			if err := k.each(ctx, page, fn); err != nil {
				return err
			}
			late = late[1:]
		}
		return nil
	}
	if err := k.pages(ctx, func(page []entry) error {
		return k.each(ctx, page, func(kept Kept) error {
			if kept.Place != kept.Seq {
				return nil // it has been at its place
			}
			if err := upTo(kept.Seq); err != nil {
				return err
			}
			return fn(kept)
		})
	}); err != nil {
		return err
	}
	return upTo(math.MaxInt64)
}

// keeping reads what a site's Redis keeps.
type keeping struct {
	client *rdb.Client
	prefix string
	reader *state
	newest int64 // seq
}

// correction is where a transaction stands that takes the place of another.
type correction struct{ seq, place int64 }

func (c correction) id() string { return strconv.FormatInt(c.seq, 10) + "-0" }

// corrections lists those that are kept, by place, then seq: as many as operators have
// corrected dead letters.
func (k keeping) corrections(ctx context.Context) ([]correction, error) {
	var found []correction
	err := k.pages(ctx, func(page []entry) error {
		for _, e := range page {
			if !bytes.Contains(e.body, []byte(`"place":`)) {
				continue // as nearly all: not worth reading
			}
			if t, err := decode(e.seq, e.head, e.body); err == nil && t.Place != 0 {
				found = append(found, correction{e.seq, t.Place})
			}
		}
		return nil
	})
	slices.SortFunc(found, func(a, b correction) int { return cmp.Or(cmp.Compare(a.place, b.place), cmp.Compare(a.seq, b.seq)) })
	return found, err
}

// pages calls fn with everything that is kept, by rising seq.
func (k keeping) pages(ctx context.Context, fn func([]entry) error) error {
	from, to := "-", strconv.FormatInt(k.newest, 10)+"-0"
	for {
		page, err := k.page(ctx, from, to)
		if err != nil || len(page) == 0 {
			return err
		}
		if err := fn(page); err != nil {
			return err
		}
		from = "(" + strconv.FormatInt(page[len(page)-1].seq, 10) + "-0"
	}
}

func (k keeping) page(ctx context.Context, from, to string) ([]entry, error) {
	messages, err := k.client.XRangeN(ctx, k.prefix+"transactions", from, to, keptCount).Result()
	if err != nil {
		return nil, fmt.Errorf("reading what the site keeps: %w", err)
	}
	page := make([]entry, len(messages))
	for i, m := range messages {
		if page[i], err = entryOf(messageOf(m)); err != nil {
			return nil, err
		}
	}
	return page, nil
}

// each calls fn with the transactions of a page as they are now.
func (k keeping) each(ctx context.Context, page []entry, fn func(Kept) error) error {
	if len(page) == 0 {
		return nil // it has expired since
	}
	seqs := make([]string, len(page))
	for i, e := range page {
		seqs[i] = strconv.FormatInt(e.seq, 10)
	}
	var dead, discarded *redis.SliceCmd
	if _, err := k.client.TxPipelined(ctx, func(p redis.Pipeliner) error {
		dead, discarded = p.HMGet(ctx, k.prefix+"dead_letters", seqs...), p.HMGet(ctx, k.prefix+"discarded", seqs...)
		return nil
	}); err != nil {
		return fmt.Errorf("reading what the site keeps: %w", err)
	}
	for i, e := range page {
		kept := Kept{Tx: k.reader.read(e.seq, e.head, e.body), Dead: dead.Val()[i] != nil}
		if by := discarded.Val()[i]; by != nil {
			// One that was decided about since it began is the dead letter that it was
			// then: the correction is not among these transactions, and what waits for
			// it would be applied before it.
			kept.Dead = number(by) > k.newest
			kept.Discarded = !kept.Dead
		}
		if err := fn(kept); err != nil {
			return err
		}
	}
	return nil
}
