// Package observetest looks for secrets in what tests make the product log. Every server in a test logs to Logger, and
// what is given no logger to that of Run, both at the level debug: whoever lets a secret into a log fails the tests of it.
package observetest

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// What a secret looks like, wherever it comes from. A quote may be one of JSON within JSON.
var secretForms = map[string]*regexp.Regexp{
	"an API token":           regexp.MustCompile(`ops_api_token_[0-9A-Za-z]{12,}`),
	"an access token":        regexp.MustCompile(`eyJ[0-9A-Za-z_-]{8,}\.eyJ[0-9A-Za-z_-]{8,}`),
	"a refresh token":        regexp.MustCompile(`(?:^|[^0-9A-Za-z_-])[0-9A-Za-z_-]{86}(?:$|[^0-9A-Za-z_-])`),
	"a cookie":               regexp.MustCompile(`opsdb_(login|refresh)_[a-z0-9]+=[^; "]{8,}`),
	"a code in an address":   regexp.MustCompile(`[?&#](code|state|code_verifier|device_code)=[0-9A-Za-z_%-]{4,}`),
	"a bearer text":          regexp.MustCompile(`(?i)bearer [0-9A-Za-z_.-]{20,}`),
	"a token of GitHub":      regexp.MustCompile(`gh[opsu]_[0-9A-Za-z]{16,}`),
	"a text of crypto/rand":  regexp.MustCompile(`(?:^|[^0-9A-Za-z_-])[A-Z2-7]{26}(?:$|[^0-9A-Za-z_-])`), // the sandbox's passwords, GitHub's codes
	"a private key":          regexp.MustCompile(`PRIVATE KEY`),
	"a password in a URL":    regexp.MustCompile(`[a-z]+://[^:/@ ]*:[^*xX/@ ][^/@ ]*@`),
	"a password in SQL":      regexp.MustCompile(`(?i)password '(?:[^'*]|\\')+'`),
	"a field named a secret": regexp.MustCompile(`"(?:password|secret|token|refresh_token|access_token|authorization)\\?": ?\\?"[^"*\\]{8,}\\?"`),
}

// Secrets names the secrets in a text, by form or literally.
func Secrets(text string, literal ...string) []string {
	var found []string
	for name, form := range secretForms {
		if at := form.FindStringIndex(text); at != nil {
			found = append(found, fmt.Sprintf("%s: %.300q", name, text[max(0, at[0]-100):]))
		}
	}
	for _, secret := range literal {
		if before, _, there := strings.Cut(text, secret); there {
			found = append(found, fmt.Sprintf("one of this run, after %q", before[max(0, len(before)-200):]))
		}
	}
	slices.Sort(found)
	return found
}

// SecretsInFiles names the secrets in log files, and how much they say.
func SecretsInFiles(files []string, literal ...string) (found []string, size int, err error) {
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, 0, err
		}
		size += len(text)
		for _, secret := range Secrets(string(text), literal...) {
			found = append(found, filepath.Base(file)+" has "+secret)
		}
	}
	return found, size, nil
}

// enough secrets are kept of a log: whoever logs one does so at every request.
const enough = 3

// searched is a log that keeps the first secrets that are written to it.
type searched struct {
	mu    sync.Mutex
	next  io.Writer // gets each line too
	found []string
}

// unowned has the lines of loggers that no test owns, or whose test has ended.
var unowned = &searched{next: io.Discard}

// Write implements io.Writer; slog calls it with a line at a time.
func (s *searched) Write(line []byte) (int, error) {
	found := Secrets(string(line))
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.found) < enough {
		s.found = append(s.found, found...)
	}
	return s.next.Write(line)
}

// end returns what was found, and leaves all further lines to another.
func (s *searched) end(next io.Writer) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next = next
	return s.found
}

func (s *searched) handler() slog.Handler {
	return slog.NewJSONHandler(s, &slog.HandlerOptions{Level: slog.LevelDebug})
}

// Logger returns the logger of a server in a test. Its lines are the test's output. The test fails when a secret is among
// them.
func Logger(t testing.TB) *slog.Logger {
	log := &searched{next: io.Discard}
	if _, fuzzing := t.(*testing.F); !fuzzing { // whose output would be kept of millions of runs
		log.next = t.Output()
	}
	t.Cleanup(func() {
		for _, secret := range log.end(unowned) {
			t.Errorf("the log has %s", secret)
		}
	})
	return slog.New(log.handler())
}

// Run runs the tests of a package, for its TestMain, and returns the exit code: not 0 when a secret was logged by what
// has no logger of a test.
func Run(m *testing.M) (code int) {
	slog.SetDefault(slog.New(slog.NewMultiHandler(slog.NewTextHandler(os.Stderr, nil), unowned.handler())))
	code = m.Run()
	for _, secret := range unowned.end(io.Discard) {
		fmt.Fprintf(os.Stderr, "--- FAIL: what no test owns has logged %s\n", secret)
		code = max(code, 1)
	}
	return code
}
