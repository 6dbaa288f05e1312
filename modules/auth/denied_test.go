package auth_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/opsdb/opsdb/modules/auth"
	"github.com/opsdb/opsdb/platform/observe/observetest"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/sandbox/sandboxtest"
	"github.com/opsdb/opsdb/platform/txn"
)

// A released kind never changes: what a buffer somewhere still holds must mean the same to every later program.
func TestGoldenStepsStayReadable(t *testing.T) {
	t.Parallel()
	catalog, err := txn.NewCatalog(auth.Steps()...)
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range catalog.Kinds() {
		content, err := os.ReadFile(filepath.Join("testdata", "steps", strings.ReplaceAll(kind, "/", "-")+".json"))
		if err != nil {
			t.Fatalf("every step has a golden file: %v", err)
		}
		var samples []json.RawMessage
		if err := json.Unmarshal(content, &samples); err != nil {
			t.Fatal(err)
		}
		for i, sample := range samples {
			step, err := catalog.Decode(pending.Step{Kind: kind, Data: sample})
			if err != nil {
				t.Errorf("%s, sample %d: %v", kind, i, err)
				continue
			}
			encoded, err := catalog.Encode(step)
			if err != nil {
				t.Fatal(err)
			}
			var want bytes.Buffer
			if err := json.Compact(&want, sample); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want.String(), string(encoded.Data)); diff != "" {
				t.Errorf("%s, sample %d (-released +now):\n%s", kind, i, diff)
			}
		}
	}
}

// listOnce is a deny-list that cannot be read at first.
type listOnce struct {
	asked  int
	denied map[string]string
}

func (l *listOnce) Denied(context.Context) (map[string]string, error) {
	l.asked++
	if l.asked == 1 {
		return nil, errors.New("no answer")
	}
	return l.denied, nil
}

// TestNobodyIsLetInBeforeTheDenyListWasRead: until then it is not known who is denied.
func TestNobodyIsLetInBeforeTheDenyListWasRead(t *testing.T) {
	t.Parallel()
	s := newSite(t, sandboxtest.New(t), true)
	s.user(t, "vera", "viewer")
	s.user(t, "mallory", "viewer")
	s.replay(t)
	ctx := sandboxtest.Context(t)
	vera, mallory := s.token(t, auth.NewToken{Username: "vera", Name: "x"}), s.token(t, auth.NewToken{Username: "mallory", Name: "x"})
	s.replay(t)
	list := &listOnce{denied: map[string]string{"user:mallory": "x"}}
	a := auth.NewAuthenticator(auth.AuthenticatorOptions{
		DB: s.db, Credentials: s.store, Denied: list, LookupTimeout: 10 * time.Second, Now: s.clock.now, Logger: observetest.Logger(t),
	})
	for range 3 {
		if _, err := a.Authenticate(ctx, mallory); !errors.Is(err, problem.CredentialsUnavailable) {
			t.Errorf("the list cannot be read: %v", err)
		}
	}
	if list.asked != 1 {
		t.Errorf("the list was asked for %d times within a second", list.asked)
	}
	s.clock.advance(2 * time.Second)
	if _, err := a.Authenticate(ctx, mallory); !errors.Is(err, problem.Unauthorized) {
		t.Errorf("denied: %v", err)
	}
	if _, err := a.Authenticate(ctx, vera); err != nil {
		t.Errorf("not denied: %v", err)
	}
}
