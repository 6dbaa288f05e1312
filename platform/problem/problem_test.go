package problem

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

var notRunning = &Kind{Code: "observation-not-running", Title: "The observation is not running", Status: http.StatusConflict, Doc: "It has ended."}

func TestProblemIsItsKind(t *testing.T) {
	err := fmt.Errorf("finishing: %w", notRunning.New("ended at %s", "04:12"))
	if !errors.Is(err, notRunning) {
		t.Error("errors.Is does not find the kind")
	}
	if errors.Is(err, NotFound) {
		t.Error("errors.Is finds another kind")
	}
	// A dead letter is read back from JSON and must still be recognised.
	var p *Problem
	if !errors.As(err, &p) {
		t.Fatal("no problem in the chain")
	}
	stored, fault := json.Marshal(p)
	if fault != nil {
		t.Fatal(fault)
	}
	var back Problem
	if fault := json.Unmarshal(stored, &back); fault != nil {
		t.Fatal(fault)
	}
	if !errors.Is(&back, notRunning) {
		t.Error("a stored problem has lost its kind")
	}
}

func TestProblemJSONHasEveryField(t *testing.T) {
	got, err := json.Marshal(notRunning.New("ended"))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"type":"/problems/observation-not-running","title":"The observation is not running","status":409,"detail":"ended","instance":"","request_id":"","errors":[],"error_count":0}`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
}

func TestManyFieldErrorsAreCountedAndCut(t *testing.T) {
	p := Invalid.New("many")
	for i := range 250 {
		p.AddField(fmt.Sprintf("body[%d].name", i), strings.Repeat("é", 300), "too long")
	}
	if len(p.Errors) != MaxErrors || p.ErrorCount != 250 {
		t.Fatalf("listed %d of %d, want 100 of 250", len(p.Errors), p.ErrorCount)
	}
	value, ok := p.Errors[0].Value.(string)
	if !ok || utf8.RuneCountInString(value) != maxValue+1 || !strings.HasSuffix(value, "é…") {
		t.Errorf("value is cut to %q", value)
	}
}

func TestSecretsAreNotShown(t *testing.T) {
	for _, location := range []string{"body.password", "header.Authorization", "body.client_secret", "query.token", "body.code", "query.code", "body.device_code"} {
		p := Invalid.Field(location, "hunter2", "wrong")
		if p.Errors[0].Value != nil {
			t.Errorf("%s shows its value %v", location, p.Errors[0].Value)
		}
	}
	whole := Invalid.Field("body", map[string]any{"name": "x", "password": "hunter2"}, "wrong")
	if whole.Errors[0].Value != nil {
		t.Errorf("a whole body shows its secret: %v", whole.Errors[0].Value)
	}
	for _, credential := range []string{"ops_api_token_3vQB7B6MrGQZaxCuFg4oh", "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJ2ZXJhIn0.c2lnbmF0dXJl"} {
		for _, value := range []any{credential, []string{credential}, map[string]string{"name": credential}} {
			p := Invalid.Field("body.name", value, "%s is wrong", credential)
			text, err := json.Marshal(p)
			if err != nil || strings.Contains(string(text), credential[4:]) {
				t.Errorf("a problem shows a credential: %s %v", text, err)
			}
		}
		if got := Mask("/users/" + credential + "/roles"); got != "/users/…/roles" {
			t.Errorf("a path shows a credential: %s", got)
		}
	}
}

func TestHeaders(t *testing.T) {
	if got := BufferFull.New("full").GetHeaders().Get("Retry-After"); got != "30" {
		t.Errorf("Retry-After is %q", got)
	}
	short := TooManyRequests.New("slow down")
	short.RetryAfter = 20 * time.Millisecond
	if got := short.GetHeaders().Get("Retry-After"); got != "1" {
		t.Errorf("Retry-After of 20 ms is %q, want it rounded up", got)
	}
	if got := Unauthorized.New("no").GetHeaders().Get("WWW-Authenticate"); got != "Bearer" {
		t.Errorf("WWW-Authenticate is %q", got)
	}
	if got := MethodNotAllowed.New("no").WithHeader("Allow", "GET").GetHeaders().Get("Allow"); got != "GET" {
		t.Errorf("Allow is %q", got)
	}
}

func FuzzField(f *testing.F) {
	f.Add("body.name", "x")
	f.Add("body\x00.name", "\xff\x00")
	f.Add("query.q", strings.Repeat("\u2028", 500))
	f.Fuzz(func(t *testing.T, location, value string) {
		for _, v := range []any{json.Number(value), []any{json.Number("1e999")}, value, []string{value}, map[string]any{"k": value}, []byte(value), json.RawMessage(value)} {
			encoded, err := json.Marshal(Invalid.Field(location, v, "%s", value))
			if err != nil {
				t.Fatalf("a problem that cannot be written: %v", err)
			}
			if !utf8.Valid(encoded) || strings.Contains(string(encoded), `\u0000`) {
				t.Fatalf("jsonb would refuse %q", encoded)
			}
			var back Problem
			if err := json.Unmarshal(encoded, &back); err != nil {
				t.Fatal(err)
			}
			if s, ok := back.Errors[0].Value.(string); ok && utf8.RuneCountInString(s) > maxValue+1 {
				t.Fatalf("a value of %d characters", utf8.RuneCountInString(s))
			}
		}
	})
}
