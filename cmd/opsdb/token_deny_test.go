package main

import (
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/opsdb/opsdb/modules/auth"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/sandbox/sandboxtest"
)

// TestDeniedAtACutOffSite: a credential is refused at the site at once, and at main when the buffer has drained.
func TestDeniedAtACutOffSite(t *testing.T) {
	o := at(t)
	ctx := sandboxtest.Context(t)
	main := o.pair.Primary(t)
	admin := auth.NewAdmin(main)
	token := func(user, name string) (string, int64) {
		text, id, err := admin.CreateToken(ctx, auth.NewToken{Username: user, Name: name})
		if err != nil {
			t.Fatal(err)
		}
		return text, id
	}
	mallory, _ := token("observer1", "laptop")
	leaked, id := token("scientist1", "leaked")
	other, _ := token("scientist1", "other")
	o.pair.WaitForReplay(t)
	err := withSite(ctx, func(s *site, _ pending.View) error {
		checker := auth.NewAuthenticator(auth.AuthenticatorOptions{DB: s.local, Credentials: s.store, Denied: s.store, LookupTimeout: 10 * time.Second})
		in := func(text string) bool {
			_, err := checker.Authenticate(ctx, text)
			if err != nil && !errors.Is(err, problem.Unauthorized) {
				t.Fatal(err)
			}
			return err == nil
		}
		if !in(mallory) || !in(leaked) || !in(other) {
			t.Fatal("a credential is refused before it is denied")
		}
		o.says("", "token", "deny", "--user", "observer1", "--reason", "laptop stolen")
		o.says("", "token", "deny", "--token", strconv.FormatInt(id, 10), "--reason", "in a public repository")
		sandboxtest.Eventually(t, 30*time.Second, "both to be refused", func() bool { return !in(mallory) && !in(leaked) })
		if !in(other) {
			t.Error("another token of the same user is refused")
		}
		o.says("", "token", "deny", "--token", strconv.FormatInt(id, 10), "--reason", "it was another's", "--lift")
		sandboxtest.Eventually(t, 30*time.Second, "the refusal to be taken back", func() bool { return in(leaked) })
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	o.refuses("is not denied here", "token", "deny", "--session", "x", "--reason", "y", "--lift")
	o.refuses("say why", "token", "deny", "--session", "x", "--lift")
	o.refuses("name one of", "token", "deny", "--reason", "x")
	o.refuses("say why", "token", "deny", "--user", "observer1")

	var active, valid bool
	state := func() {
		t.Helper()
		err := main.QueryRow(ctx, "SELECT (SELECT is_active FROM app_user WHERE username = 'observer1'), (SELECT is_active AND revoked_at IS NULL FROM api_token WHERE id = $1)", id).Scan(&active, &valid)
		if err != nil {
			t.Fatal(err)
		}
	}
	if state(); !active || !valid {
		t.Errorf("main has heard of it before the buffer drained: user active %t, token valid %t", active, valid)
	}
	o.drain()
	var events int
	err = main.QueryRow(ctx, `SELECT count(*) FROM audit_event WHERE action = 'credential.deny' AND site = $1 AND detail->>'actor' LIKE 'shell:%'
		AND (detail->>'subject', detail->>'reason') IN (('user:observer1', 'laptop stolen'), ('token:' || $2::text, 'in a public repository'))`, o.pair.Site, strconv.FormatInt(id, 10)).Scan(&events)
	if err != nil || events != 2 {
		t.Errorf("%d denials are in the audit log, want 2: %v", events, err)
	}
	var lifted int
	err = main.QueryRow(ctx, "SELECT count(*) FROM audit_event WHERE action = 'credential.admit' AND site = $1 AND detail->>'subject' = 'token:' || $2::text", o.pair.Site, strconv.FormatInt(id, 10)).Scan(&lifted)
	if err != nil || lifted != 1 {
		t.Errorf("%d liftings are in the audit log, want 1: %v", lifted, err)
	}
	if state(); active || valid {
		t.Errorf("after draining: user active %t, token valid %t", active, valid)
	}
}
