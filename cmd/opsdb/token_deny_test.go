package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/opsdb/opsdb/modules/auth"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/sandbox"
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
		login := func(username string) string {
			userID, err := auth.UserID(ctx, s.local, username)
			if err != nil {
				t.Fatal(err)
			}
			session := auth.Session{ID: uuid.NewString(), UserID: userID, Username: username, Created: time.Now(), Expires: time.Now().Add(time.Hour)}
			if err := s.store.BeginSession(ctx, session, "hash of "+session.ID); err != nil {
				t.Fatal(err)
			}
			return session.ID
		}
		theirs, one, another := login("observer1"), login("scientist1"), login("scientist1")
		o.says("", "token", "deny", "--session", one, "--reason", "a library's computer")
		o.says("", "token", "deny", "--user", "observer1", "--reason", "laptop stolen")
		for id, want := range map[string]bool{theirs: false, one: false, another: true} {
			if session, err := s.store.Session(ctx, id); err != nil || (session != nil) != want {
				t.Errorf("session %s goes on: %t, %v; want %t", id, session != nil, err, want)
			}
		}
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
	o.refuses("nobody is denied", "token", "deny", "--user", "Observer1", "--reason", "mistyped")
	o.refuses("is the id right?", "token", "deny", "--token", "99999", "--reason", "mistyped")
	o.refuses("is the id right?", "token", "deny", "--session", "01890000-0000-4000-8000-000000000001", "--reason", "mistyped")
	o.refuses("is no UUID", "token", "deny", "--session", "zzz", "--reason", "mistyped")
	o.refuses("is no id", "token", "deny", "--token", "-1", "--reason", "mistyped")
	o.refuses("stands alone", "token", "deny", "--list", "--user", "observer1")
	o.says("user:observer1  2", "token", "deny", "--list")
	o.says("laptop stolen", "token", "deny", "--list")
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

// TestDeniedStayOutWhateverIsRestarted: whom a site denies it never lets in while its API, its Redis or both are killed and
// begin again, with the link cut and after main was told, though main has let the user in again; until the refusal is lifted.
func TestDeniedStayOutWhateverIsRestarted(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the whole product")
	}
	s := &denying{restoring: newRestoring(t, buildProgram(t), false), denied: map[string]bool{}, refused: map[string]bool{}}
	conn, err := pgx.Connect(s.ctx, s.stack.Primary.URL(demoDatabase))
	s.must(err)
	defer conn.Close(context.WithoutCancel(s.ctx)) //nolint:errcheck // the test is over
	admin := auth.NewAdmin(conn)
	token := func(name string) (string, string) {
		text, id, err := admin.CreateToken(s.ctx, auth.NewToken{Username: "scientist1", Name: name})
		s.must(err)
		return text, strconv.FormatInt(id, 10)
	}
	mallory, other := s.tokens.Observer, s.tokens.Viewer
	leaked, leakedID := token("leaked")
	var further [][2]string
	for i := range 5 {
		text, id := token(fmt.Sprintf("leaked too %d", i))
		further = append(further, [2]string{text, id})
	}
	s.must(s.stack.WaitForReplay(s.ctx))
	s.must(s.stack.Link.Apply(sandbox.Change{Up: &no}))
	defer s.knock()()
	s.in(1, mallory)
	s.in(1, leaked)
	s.deny(mallory, "--user", "observer1")
	s.deny(leaked, "--token", leakedID)
	// A further one that is refused shows that the list was read again since.
	stayOut := func() {
		t.Helper()
		next := further[0]
		further = further[1:]
		s.in(1, next[0])
		s.deny(next[0], "--token", next[1])
		s.out()
		s.in(1, other)
	}

	api, redis := s.apis[1], s.stack.Redis
	s.must(api.Crash(s.ctx))
	stayOut()
	failures := s.unread()
	s.must(redis.Kill())
	s.eventually("the site to notice that the list cannot be read", func() bool { return s.unread() > failures })
	s.out()
	s.must(redis.Start(s.ctx))
	stayOut()
	both := func() {
		s.must(errors.Join(api.Kill(), redis.Kill()))
		s.must(redis.Start(s.ctx))
		s.must(api.Start(s.ctx))
	}
	both()
	stayOut()
	s.lift(leaked, "--token", leakedID)
	s.out()

	s.must(s.stack.Link.Apply(sandbox.Change{Up: &yes}))
	s.eventually("main to put the user out", func() bool {
		user, err := admin.User(s.ctx, "observer1")
		s.must(err)
		return !user.IsActive
	})
	s.must(admin.SetActive(s.ctx, "observer1", true))
	s.in(0, mallory)
	s.must(s.stack.WaitForReplay(s.ctx))
	stayOut()
	both()
	stayOut()
	s.lift(mallory, "--user", "observer1")
	// Of what was lifted main had been told.
	s.eventually("the token to be revoked", func() bool {
		status, answer := whoAmI(t, s.url(1), leaked)
		return status == http.StatusUnauthorized && strings.Contains(answer, "has been revoked")
	})
}

// denying is a demo whose secondary site denies some credentials.
type denying struct {
	*restoring
	mu      sync.Mutex
	denied  map[string]bool // by bearer text
	refused map[string]bool // those of them that were since out began
}

// knock asks the site with all that it denies, over and over until stop: none may be let in, not even once. Meanwhile it may
// be away, or not know.
func (s *denying) knock() (stop func()) {
	ctx, cancel := context.WithCancel(s.ctx)
	var done sync.WaitGroup
	done.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			s.mu.Lock()
			for bearer := range s.denied {
				err := apiClient{base: s.url(1), token: bearer}.get(ctx, "/auth/me", nil)
				var answer *refusal
				switch {
				case err == nil:
					s.t.Error("a denied credential was let in")
				case errors.As(err, &answer) && answer.status == http.StatusUnauthorized:
					s.refused[bearer] = true
				case errors.As(err, &answer) && answer.status != http.StatusServiceUnavailable:
					s.t.Errorf("a denied credential: %v", err)
				}
			}
			s.mu.Unlock()
			<-tick.C
		}
	})
	return func() { cancel(); done.Wait() }
}

// out waits until the site has refused all that it denies once more.
func (s *denying) out() {
	s.t.Helper()
	s.mu.Lock()
	clear(s.refused)
	s.mu.Unlock()
	s.eventually("the denied credentials to be refused", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.refused) == len(s.denied)
	})
}

// in waits until a server lets a credential in.
func (s *denying) in(server int, bearer string) {
	s.t.Helper()
	s.eventually("a credential to be let in", func() bool { status, _ := whoAmI(s.t, s.url(server), bearer); return status == http.StatusOK })
}

func (s *denying) deny(bearer string, args ...string) {
	s.t.Helper()
	s.must(s.opsdb(s.ctx, 1, append([]string{"token", "deny", "--reason", "a test"}, args...)...))
	s.eventually("a credential to be denied", func() bool { status, _ := whoAmI(s.t, s.url(1), bearer); return status == http.StatusUnauthorized })
	s.mu.Lock()
	defer s.mu.Unlock()
	s.denied[bearer] = true
}

func (s *denying) lift(bearer string, args ...string) {
	s.t.Helper()
	s.mu.Lock()
	delete(s.denied, bearer)
	s.mu.Unlock()
	s.must(s.opsdb(s.ctx, 1, append([]string{"token", "deny", "--lift", "--reason", "a test"}, args...)...))
	s.in(1, bearer)
}

// unread counts how often the site has said that it cannot read whom it denies.
func (s *denying) unread() int {
	s.t.Helper()
	log, err := os.ReadFile(filepath.Join(s.stack.Dir, "log", "api_observatory_1.log"))
	s.must(err)
	return strings.Count(string(log), "who is denied at this site cannot be read")
}
