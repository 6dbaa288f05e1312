package observetest

import (
	"io"
	"log/slog"
	"strings"
	"testing"
)

// TestSecretsAreFound: what is looked for is found, and what may be said is not.
func TestSecretsAreFound(t *testing.T) {
	for _, text := range []string{
		"token=ops_api_token_3vQB7B6MrGQZaxCuFg4oh", `{"authorization":"Bearer eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJ2ZXJhIn0.x"}`,
		"Cookie: __Secure-opsdb_refresh_cologne=AZ8fhj29fj2", "GET /github/callback?code=1234", "postgres://opsdb:hunter2@db:5432/opsdb",
		"ALTER ROLE x PASSWORD 'hunter2'", "-----BEGIN PRIVATE KEY-----", "gho_16C7e42F292c6912E7710c838347Ae178B4a", `"token":"hunter2-hunter2"`, "literally",
		`"body":"{\"refresh_token\": \"hunter2-hunter2\"}"`, "a refresh token: " + strings.Repeat("aB-_", 21) + "aB", "device code IWMPOVSQTCTBKQIAEDTKDWT6KQ,",
	} {
		if len(Secrets("2026-11-25 "+text+" and more", "literally")) == 0 {
			t.Errorf("not found: %s", text)
		}
	}
	for _, text := range []string{
		"GET /github/callback 302", "postgres://opsdb@db:5432/opsdb", "postgres://opsdb:xxxxx@db/opsdb", `"token_id":17`, "redis://default:***@db:6379", "the API token is malformed",
		strings.Repeat("0f", 32), `"token":"***"`,
	} {
		if found := Secrets(text, "literally"); len(found) > 0 {
			t.Errorf("found in %q: %v", text, found)
		}
	}
}

// overheard is a test that may fail.
type overheard struct {
	testing.TB
	failures int
	cleanups []func()
}

func (o *overheard) Errorf(string, ...any) { o.failures++ }
func (o *overheard) Cleanup(f func())      { o.cleanups = append(o.cleanups, f) }

func TestSecretInALogFailsTheTest(t *testing.T) {
	const secret = "ops_api_token_3vQB7B6MrGQZaxCuFg4oh"
	discreet, talkative := &overheard{TB: t}, &overheard{TB: t}
	Logger(discreet).Debug("a token is known", "token_id", 17)
	logger := Logger(talkative)
	logger.With(slog.Group("credential", "bearer", secret)).Debug("a token is known")
	for _, test := range []*overheard{discreet, talkative} {
		for _, f := range test.cleanups {
			f()
		}
	}
	if discreet.failures != 0 || talkative.failures != 1 {
		t.Errorf("%d failures without a secret, %d with one", discreet.failures, talkative.failures)
	}
	logger.Info("a server that outlives its test", "token", secret)
	if found := unowned.end(io.Discard); len(found) == 0 {
		t.Error("what is logged after the end of a test is not searched")
	}
}
