package main

import (
	"net/http/httptest"
	"testing"
)

func TestWhileStartingEveryAnswerSaysWhereAndWhenToAskAgain(t *testing.T) {
	for path, status := range map[string]int{"/health": 503, "/raw_data_files": 503, "/health/live": 200} {
		answer := httptest.NewRecorder()
		starting("observatory")(answer, httptest.NewRequest("GET", path, nil))
		h := answer.Header()
		if answer.Code != status || h.Get("X-Site") != "observatory" || status == 503 && h.Get("Retry-After") != "2" {
			t.Errorf("%s: %d, %v", path, answer.Code, h)
		}
	}
}
