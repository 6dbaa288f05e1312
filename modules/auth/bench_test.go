package auth_test

import (
	"testing"
	"time"

	"github.com/opsdb/opsdb/modules/auth"
	"github.com/opsdb/opsdb/platform/sandbox/sandboxtest"
)

// cachedCredentialLimit is the bar of BenchmarkCachedCredential: some ten times what was measured, so that noise does not
// reach it.
const cachedCredentialLimit = 20 * time.Microsecond

// BenchmarkCachedCredential is what a credential costs that was verified less than 30 s ago, at both kinds of site. It fails
// above cachedCredentialLimit, when the site's database is asked, and when PostgreSQL counts more than the one row that all
// uses of a token together write at main.
func BenchmarkCachedCredential(b *testing.B) {
	for _, secondary := range []bool{false, true} {
		s := newSite(b, sandboxtest.New(b), secondary)
		s.user(b, "ada", "observer")
		token := s.token(b, auth.NewToken{Username: "ada", Name: "laptop"})
		s.replay(b)
		jwt := s.accessToken(b, s.session(b, "ada"))
		uses := auth.UseSink(auth.NewUseTable(s.main))
		batch := int64(1)
		if secondary {
			uses, batch = s.store, 0 // in Redis, until main is told
		}
		b.Run(s.name()+"/api_token", func(b *testing.B) { s.benchmarkCredential(b, token, uses, batch) })
		b.Run(s.name()+"/jwt", func(b *testing.B) { s.benchmarkCredential(b, jwt, uses, 0) })
	}
}

// benchmarkCredential expects that the uses of one batch, whose number is b.N, write so many rows.
func (s *site) benchmarkCredential(b *testing.B, bearer string, uses auth.UseSink, batch int64) {
	ctx := b.Context()
	if _, err := s.auth.Authenticate(ctx, bearer); err != nil {
		b.Fatal(err)
	}
	asked, written := s.db.queries.Load(), s.written(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.auth.Authenticate(ctx, bearer); err != nil {
			b.Fatal(err)
		}
	}
	if each := b.Elapsed() / time.Duration(b.N); each > cachedCredentialLimit {
		b.Errorf("a cached credential costs %v, more than %v", each, cachedCredentialLimit)
	}
	asked = s.db.queries.Load() - asked
	if err := s.uses.Flush(ctx, uses); err != nil { // as every ten seconds
		b.Fatal(err)
	}
	written = s.written(b) - written
	if asked != 0 || written != batch {
		b.Errorf("%d requests have asked the database %d times and written %d rows, want %d", b.N, asked, written, batch)
	}
	b.ReportMetric(float64(asked)/float64(b.N), "queries/op")
	b.ReportMetric(float64(written)/float64(b.N), "rows-written/op")
}

// written is how many rows of the primary have been inserted, changed or deleted, as PostgreSQL counts them.
func (s *site) written(b *testing.B) (rows int64) {
	b.Helper()
	ctx := sandboxtest.Context(b)
	for _, conn := range s.main.AcquireAllIdle(ctx) { // a session hands its own counts over at times, or when it is told
		if _, err := conn.Exec(ctx, "SELECT pg_stat_force_next_flush()"); err != nil {
			b.Fatal(err)
		}
		conn.Release()
	}
	if err := s.main.QueryRow(ctx, "SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_user_tables").Scan(&rows); err != nil {
		b.Fatal(err)
	}
	return rows
}
