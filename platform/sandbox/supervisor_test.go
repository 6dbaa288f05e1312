package sandbox

import (
	"context"
	"errors"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/opsdb/opsdb/platform/observe/observetest"
)

// TestReadinessIsAskedAtItsPace: a question that is logged where it fails must
// not be asked every few milliseconds.
func TestReadinessIsAskedAtItsPace(t *testing.T) {
	t.Parallel()
	asked := 0
	p := newProcess("sleeper", processSpec{
		command: func() Command {
			return Command{Path: "/bin/sleep", Args: []string{"60"}, Log: filepath.Join(t.TempDir(), "log")}
		},
		ready: func(context.Context) error { asked++; return errors.New("not yet") },
		pause: 100 * time.Millisecond, stop: syscall.SIGTERM,
	}, observetest.Logger(t), func() {})
	limited, cancel := context.WithTimeout(t.Context(), 450*time.Millisecond)
	defer cancel()
	if err := p.Start(limited); err == nil {
		t.Fatal("it counts as ready")
	}
	if asked < 1 || asked > 6 {
		t.Errorf("it was asked %d times in 450 ms", asked)
	}
}
