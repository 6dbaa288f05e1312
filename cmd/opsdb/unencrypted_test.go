package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/opsdb/opsdb/platform/config"
)

// TestConnectionsThatMayBeUnencryptedAreNamed: to another machine, also when only one of several hosts may be.
func TestConnectionsThatMayBeUnencryptedAreNamed(t *testing.T) {
	for name, c := range map[string]struct {
		main, local, redis string
		want               []string
	}{
		"this machine":     {"postgres://o@localhost/o", "postgres:///o?host=/run/postgresql", "redis://127.0.0.1:6379", nil},
		"IPv6":             {"postgres://o@[::1]/o", "", "redis://[::1]:6379", nil},
		"encrypted":        {"postgres://o@db.example/o?sslmode=verify-full", "postgres://o@r.example/o?sslmode=require", "rediss://r.example", nil},
		"by default":       {"postgres://o@db.example/o", "", "redis://r.example", []string{"MAIN_DB", "REDIS"}},
		"switched off":     {"postgres://o@db.example/o?sslmode=disable", "host=r.example user=o dbname=o sslmode=allow", "", []string{"MAIN_DB", "LOCAL_DB"}},
		"one of two hosts": {"postgres://o@localhost:5432,db.example:5432/o?target_session_attrs=read-write", "", "", []string{"MAIN_DB"}},
	} {
		given := &config.Config{MainDB: config.Database{URL: c.main}, LocalDB: config.Database{URL: c.local}, Redis: config.Redis{URL: c.redis}}
		if diff := cmp.Diff(c.want, unencrypted(given)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
