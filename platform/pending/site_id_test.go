package pending

import (
	"errors"
	"strings"
	"testing"
)

// A site that is started under a new name would leave what waits under the old one
// for ever.
func TestASiteIsNotRenamedWhileAnythingWaits(t *testing.T) {
	t.Parallel()
	r := newRedis(t)
	named := func(name string) *Store { return openStore(t, r, func(o *Options) { o.Site = name }) }
	old, renamed, other := named("alpha"), named("beta"), named("gamma")
	must(t, old.SetSiteID(t.Context(), 12))
	must(t, renamed.SetSiteID(t.Context(), 12)) // nothing waits
	for key, fill := range map[string]func() error{
		"transaction_buffer": func() error { return old.client.LPush(t.Context(), old.prefix+"transaction_buffer", "{}").Err() },
		"dead_letters":       func() error { return old.client.HSet(t.Context(), old.prefix+"dead_letters", "1", "0|0|").Err() },
	} {
		must(t, fill())
		err := renamed.SetSiteID(t.Context(), 12)
		if !errors.Is(err, ErrRenamed) || !strings.Contains(err.Error(), `1 at "alpha"`) {
			t.Errorf("with %s: %v, want ErrRenamed that names alpha", key, err)
		}
		must(t, old.SetSiteID(t.Context(), 12))   // under its own name
		must(t, other.SetSiteID(t.Context(), 13)) // and another site in the same Redis
		must(t, old.client.Del(t.Context(), old.prefix+key).Err())
	}
	must(t, renamed.SetSiteID(t.Context(), 12))
}
