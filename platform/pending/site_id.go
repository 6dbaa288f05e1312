package pending

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"

	"github.com/opsdb/opsdb/platform/rdb"
)

// sitesKey is the only key without a site's prefix: a hash of the names under which
// sites have used this Redis, each with the site's id.
const sitesKey = "opsdb:sites"

// ErrRenamed is returned by SetSiteID for a site whose transactions still wait under
// another name: nobody would drain them.
var ErrRenamed = errors.New("the site has transactions waiting under another name")

// prefixOf is what all keys of a site begin with.
func prefixOf(site string) string { return "site:" + site + ":" }

// UsedBy tells whether a server of a site has used this Redis.
func UsedBy(ctx context.Context, client *rdb.Client, site string) (bool, error) {
	n, err := client.Exists(ctx, prefixOf(site)+"site", prefixOf(site)+"load").Result()
	return n > 0, err
}

// SiteID is the site's id as kept in Redis, so that a start needs no replica; 0
// when none is kept yet.
func (s *Store) SiteID(ctx context.Context) (int64, error) {
	id, err := s.client.Get(ctx, s.prefix+"site").Int64()
	if errors.Is(err, redis.Nil) {
		return 0, nil
	}
	if err != nil {
		return 0, s.unavailable("reading the site's id", err)
	}
	return id, nil
}

// SetSiteID keeps the site's id in Redis. It fails with ErrRenamed, and keeps nothing,
// when this site has used this Redis under another name and transactions or dead
// letters wait there. Those of another site are warned of: it may share this Redis.
func (s *Store) SetSiteID(ctx context.Context, id int64) error {
	names, err := s.client.HGetAll(ctx, sitesKey).Result()
	if err != nil {
		return s.unavailable("reading which sites have used this Redis", err)
	}
	for name, of := range names {
		if name == s.opts.Site {
			continue
		}
		waiting, err := s.waitingAt(ctx, name)
		switch {
		case err != nil:
			return err
		case waiting == 0:
		case of == strconv.FormatInt(id, 10):
			return fmt.Errorf("%w: %d at %q, which is now %q. Start it as %s once more and let it drain (`opsdb buffer status`, `retry`, `discard`), then change the name",
				ErrRenamed, waiting, name, s.opts.Site, name)
		default:
			s.log.WarnContext(ctx, "transactions of another site wait in this Redis, and only a server of that name drains them", "site", name, "waiting", waiting)
		}
	}
	p := s.client.TxPipeline()
	p.Set(ctx, s.prefix+"site", id, 0)
	p.HSet(ctx, sitesKey, s.opts.Site, id)
	if _, err := p.Exec(ctx); err != nil {
		return s.unavailable("keeping the site's id", err)
	}
	return nil
}

// waitingAt counts what has not been applied of a site.
func (s *Store) waitingAt(ctx context.Context, name string) (int64, error) {
	prefix := prefixOf(name)
	p := s.client.Pipeline()
	buffered, dead := p.LLen(ctx, prefix+"transaction_buffer"), p.HLen(ctx, prefix+"dead_letters")
	if _, err := p.Exec(ctx); err != nil {
		return 0, s.unavailable("looking for transactions of another name", err)
	}
	return buffered.Val() + dead.Val(), nil
}
