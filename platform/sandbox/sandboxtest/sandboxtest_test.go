package sandboxtest

import (
	"testing"
	"time"

	"github.com/opsdb/opsdb/platform/sandbox"
)

func TestMain(m *testing.M) { MainLeakless(m) }

func TestEveryTestHasItsOwnDatabaseAtBothServers(t *testing.T) {
	t.Parallel()
	one, other := New(t), New(t)
	if one.SiteID == 0 || one.SiteID == one.MainSiteID {
		t.Errorf("the sites have the ids %d and %d", one.SiteID, one.MainSiteID)
	}
	one.Exec(t, "INSERT INTO observatory (name, short_name) VALUES ('One', 'ONE')")
	one.WaitForReplay(t)
	for pair, want := range map[*Pair]int{one: 1, other: 0} {
		var got int
		if err := pair.Replica(t).QueryRow(Context(t), "SELECT count(*) FROM observatory").Scan(&got); err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("%s has %d observatories, want %d", pair.Database, got, want)
		}
	}
	if one.RedisURL == other.RedisURL {
		t.Error("both tests have the same Redis database")
	}
}

func TestCloningIsQuick(t *testing.T) {
	t.Parallel()
	New(t)
	began := time.Now()
	New(t)
	t.Logf("a clone took %v", time.Since(began))
}

func TestSeededHasTheDemoData(t *testing.T) {
	t.Parallel()
	pair := New(t, Seeded())
	var units int
	if err := pair.Replica(t).QueryRow(Context(t), "SELECT count(*) FROM obs_unit").Scan(&units); err != nil {
		t.Fatal(err)
	}
	if units == 0 {
		t.Error("there is no obs unit")
	}
}

func TestAPrivatePairFeelsItsLink(t *testing.T) {
	t.Parallel()
	pair := NewPrivate(t, sandbox.Options{RTT: 40 * time.Millisecond})
	pool := Pool(t, pair.LinkURL)
	if err := pool.Ping(Context(t)); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := pool.Ping(Context(t)); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 40*time.Millisecond {
		t.Errorf("a round trip took %v, want at least 40ms", took)
	}
}

func TestUnprivilegedRolesReachTheirServers(t *testing.T) {
	t.Parallel()
	pair := New(t)
	for _, url := range []string{pair.MainRoleURL, pair.ProcessorURL, pair.ReaderURL} {
		var super bool
		err := Pool(t, url).QueryRow(Context(t), "SELECT rolsuper FROM pg_roles WHERE rolname = current_user AND (SELECT count(*) FROM site) = 2").Scan(&super)
		if err != nil || super {
			t.Errorf("superuser %v, %v", super, err)
		}
	}
}
