package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/opsdb/opsdb/platform/config"
	"github.com/opsdb/opsdb/platform/observe/observetest"
	"github.com/opsdb/opsdb/platform/sandbox/sandboxtest"
)

// Main never becomes ready on a schema that is older than it needs: it ends and says what
// is to be done. A newer one, as in an upgrade, it serves. (A site goes on over an older
// replica, for it must observe: it warns.)
func TestMainIsReadyOnlyOnASchemaItKnows(t *testing.T) {
	t.Parallel()
	newest, err := schemaVersion()
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		version int64
		applied bool
		refused string
	}{
		"older": {newest, false, fmt.Sprintf("schema is at version %d; this binary needs %d: run opsdb migrate up", newest-1, newest)},
		"newer": {newest + 1, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pair := sandboxtest.New(t)
			pair.Exec(t, fmt.Sprintf("INSERT INTO goose_db_version (version_id, is_applied) VALUES (%d, %t)", tc.version, tc.applied))
			c := configOf(t, map[string]string{"SITE_NAME": sandboxtest.MainSite, "SITE_TYPE": "main", "MAIN_DB_URL": pair.MainRoleURL, "HTTP_ADDR": free(t), "SITE_KEYS_DIR": t.TempDir()})
			ctx, stop := context.WithCancel(sandboxtest.Context(t))
			defer stop()
			ended, everReady := make(chan error, 1), false
			go func() { ended <- serve(ctx, c, observetest.Logger(t)) }()
			for over := false; !over; {
				select {
				case err = <-ended:
					over = true
				case <-time.After(10 * time.Millisecond):
					answer, err := http.Get("http://" + c.HTTPAddr + "/health/ready")
					if err != nil {
						continue // not yet, or not any more
					}
					if err := answer.Body.Close(); err != nil {
						t.Error(err)
					}
					if answer.StatusCode == 200 {
						everReady = true
						stop()
					}
				}
			}
			if tc.refused == "" && (!everReady || err != nil) {
				t.Errorf("ready: %t, then %v", everReady, err)
			}
			if tc.refused != "" && (everReady || err == nil || !strings.Contains(err.Error(), tc.refused)) {
				t.Errorf("ready: %t, then %v, want %q", everReady, err, tc.refused)
			}
		})
	}
}

func configOf(t *testing.T, environment map[string]string) *config.Config {
	t.Helper()
	c, err := config.Parse(environment)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// free is an address that nobody listens at.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return l.Addr().String()
}
