package auth

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/observe/observetest"
	"github.com/opsdb/opsdb/platform/problem"
)

// noDatabase answers nothing: what is parsed here must not need one.
type noDatabase struct{}

var errNoDatabase = errors.New("there is no database")

func (noDatabase) Exec(context.Context, string, ...any) (pgconn.CommandTag, error) {
	return pgconn.CommandTag{}, errNoDatabase
}
func (noDatabase) Query(context.Context, string, ...any) (pgx.Rows, error) {
	return nil, errNoDatabase
}
func (noDatabase) QueryRow(context.Context, string, ...any) pgx.Row { return noRow{} }

type noRow struct{}

func (noRow) Scan(...any) error { return errNoDatabase }

func fuzzKeys(f *testing.F) *KeyRing {
	f.Helper()
	dir := f.TempDir()
	if _, err := InitSigningKey(dir, "cologne", time.Now()); err != nil {
		f.Fatal(err)
	}
	return NewKeyRing(KeyRingOptions{Dir: dir, Site: "cologne", DB: noDatabase{}, Logger: observetest.Logger(f)})
}

// FuzzAccessToken: no text but the one that was issued is an access token, however much it is like it.
func FuzzAccessToken(f *testing.F) {
	tokens := NewAccessTokens("cologne", fuzzKeys(f), nil)
	issued, _, err := tokens.Issue(Session{ID: uuid.NewString(), Username: "vera", Expires: time.Now().Add(time.Hour)})
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{issued, "eyJhbGciOiJub25lIn0.e30.", "a.b.c", "", "..", issued + "=", issued[:len(issued)-1]} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !isJWT(text) {
			return
		}
		claims, err := tokens.parse(t.Context(), text)
		switch {
		case text == issued && err != nil:
			t.Errorf("the issued token: %v", err)
		case text != issued && err == nil:
			t.Errorf("a forgery passes: %+v", claims)
		case err != nil && !errors.Is(err, problem.Unauthorized) && !errors.Is(err, problem.CredentialsUnavailable):
			t.Errorf("%v", err)
		}
	})
}

// FuzzSealed: nobody can make or change what a browser carries for the server.
func FuzzSealed(f *testing.F) {
	keys := fuzzKeys(f)
	sealed, err := keys.seal(purposeLogin, begunLogin{State: "state", Until: time.Now().Add(time.Hour)})
	if err != nil {
		f.Fatal(err)
	}
	other, err := keys.seal(purposeDevice, begunDevice{Code: "code", Until: time.Now().Add(time.Hour)})
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{sealed, other, "", ".", "cologne.AAAA", sealed + "A", sealed[:len(sealed)-1], sealed + "\n", sealed[:len(sealed)-9] + "\r" + sealed[len(sealed)-9:]} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var begun begunLogin
		if opened := keys.unseal(purposeLogin, text, &begun); opened != (text == sealed) {
			t.Errorf("%q opens: %t", text, opened)
		}
	})
}

// FuzzSecret: a refresh token has one spelling.
func FuzzSecret(f *testing.F) {
	begins, err := newSession()
	if err != nil {
		f.Fatal(err)
	}
	first, err := begins.next()
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{first.text, first.text + "=", "", "AAAA", first.text + "\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		parsed, ok := parseRefresh(text)
		if ok && (parsed.text != text || len(text) != len(first.text)) {
			t.Errorf("%q is taken", text)
		}
		if ok && text != first.text && parsed.hash == first.hash {
			t.Errorf("%q is taken for another", text)
		}
	})
}

// FuzzCallback: whatever comes back instead of a login's end, in the address or in the cookies, is refused before GitHub is
// asked.
func FuzzCallback(f *testing.F) {
	keys := fuzzKeys(f)
	const state = "the-state-of-the-login"
	sealed, err := keys.seal(purposeLogin, begunLogin{State: state, Until: time.Now().Add(24 * time.Hour)})
	if err != nil {
		f.Fatal(err)
	}
	m := New(Config{Site: "cologne", Keys: keys, Logger: observetest.Logger(f), GitHub: NewGitHub(GitHubOptions{
		BaseURL: "http://127.0.0.1:1", APIURL: "http://127.0.0.1:1", Patience: time.Second, Logger: observetest.Logger(f),
	})})
	router, err := api.New(api.Options{Site: "cologne", Logger: observetest.Logger(f)})
	if err != nil {
		f.Fatal(err)
	}
	m.Register(router)
	handler := router.Handler()
	name := m.loginCookieName() + "="
	f.Add("code=x&state="+state, name+sealed)
	f.Add("code=x&state="+state, `a=b; `+name+`"`+sealed+`"`)
	f.Add("code=x&state="+state, name+sealed+"; "+name+sealed)
	f.Add("code=x&state=other", name+sealed)
	f.Add("error=access_denied&state="+state, name+sealed)
	f.Add("code=x&state=", "")
	f.Add("state=%00&code=%ff", name+"cologne.AAAA;;=\x00")
	f.Fuzz(func(t *testing.T, query, cookies string) {
		request := httptest.NewRequest(http.MethodGet, "/github/callback", nil)
		request.URL.RawQuery = query
		request.Header.Set("Cookie", cookies)
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, request)
		values, err := url.ParseQuery(query)
		sent := request.CookiesNamed(m.loginCookieName())
		began := err == nil && len(sent) == 1 && sent[0].Value == sealed && values.Get("state") == state
		switch {
		case answer.Code == http.StatusServiceUnavailable && began, answer.Code == http.StatusForbidden && began:
		case answer.Code == http.StatusBadRequest, answer.Code == http.StatusUnprocessableEntity:
		default:
			t.Errorf("%q with %q: %d %s", query, cookies, answer.Code, answer.Body)
		}
	})
}
