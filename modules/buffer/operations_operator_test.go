package buffer

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/opsdb/opsdb/platform/sandbox/sandboxtest"
	"github.com/opsdb/opsdb/platform/txn/txntest"
)

// post sends an operator's request with a key.
func (s site) post(path, key string) *httptest.ResponseRecorder {
	request := httptest.NewRequest("POST", path, nil)
	request.Header.Set("Authorization", "Bearer ada")
	request.Header.Set("Idempotency-Key", key)
	answer := httptest.NewRecorder()
	s.handler.ServeHTTP(answer, request)
	return answer
}

func TestAnOperatorsRequestActsOnceForEachKey(t *testing.T) {
	t.Parallel()
	s := txntest.New(t)
	m := make1(t, s)
	var told []string
	m.config.Audit = func(_ context.Context, action, transaction string, _ map[string]any) {
		told = append(told, strings.TrimSpace(action+" "+transaction))
	}
	at := serve(t, m)
	txntest.Note(t, s.Buffered, "poison", nil)
	start(t, m)
	drained(t, s, 10*time.Second)
	id := s.Store.Current().Dead()[0].ID.String()

	send := func(path, key string, status int, replayed, body string) {
		t.Helper()
		w := at.post(path, key)
		if w.Code != status || w.Header().Get("Idempotency-Replayed") != replayed || body != "" && w.Body.String() != body+"\n" {
			t.Errorf("%s with key %s: %d, replayed %q, %s; want %d, %q, %s", path, key, w.Code, w.Header().Get("Idempotency-Replayed"), w.Body, status, replayed, body)
		}
	}
	paused := func(want bool) {
		t.Helper()
		if got := s.Store.Current().Paused; got != want {
			t.Errorf("paused is %v, want %v", got, want)
		}
	}
	send("/buffer/pause", "a", 200, "", `{"paused":true}`)
	send("/buffer/resume", "b", 200, "", `{"paused":false}`)
	send("/buffer/pause", "a", 200, "true", `{"paused":true}`)
	paused(false) // the repeat did nothing
	send("/buffer/resume", "a", 422, "", "")
	send("/buffer/retry", "b", 422, "", "")
	send("/buffer/transactions/"+id+"/retry", "a", 422, "", "")
	send("/buffer/pause", "c", 200, "", `{"paused":true}`)

	send("/buffer/transactions/"+id+"/retry", "d", 202, "", `{"requeued":1}`)
	send("/buffer/transactions/"+id+"/retry", "d", 202, "true", `{"requeued":1}`)
	send("/buffer/retry", "e", 202, "", `{"requeued":0}`)
	s.Exec(t, "ALTER TABLE note DROP CONSTRAINT note_body_check")
	send("/buffer/resume", "f", 200, "", `{"paused":false}`)
	drained(t, s, 10*time.Second)
	sandboxtest.Eventually(t, 5*time.Second, "the dead letter to be gone", func() bool { return len(s.Store.Current().Dead()) == 0 })
	// What it was about has replicated, and the answer is still the first one.
	send("/buffer/transactions/"+id+"/retry", "d", 202, "true", `{"requeued":1}`)
	send("/buffer/retry", "e", 202, "true", `{"requeued":0}`)
	want := []string{"buffer.pause", "buffer.resume", "buffer.pause", "dead_letter.retry " + id, "dead_letter.retry", "buffer.resume"}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Errorf("the audit log is told (-want +got):\n%s", diff)
	}
}
