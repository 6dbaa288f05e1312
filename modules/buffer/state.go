package buffer

import (
	"errors"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/opsdb/opsdb/platform/problem"
)

// What the processor is doing, as /health names it.
const (
	statusStarting     = "starting"
	statusRunning      = "running"
	statusIdle         = "idle"
	statusPaused       = "paused"
	statusStandby      = "standby" // another process of the site drains
	statusReconnecting = "reconnecting"
	statusFault        = "fault"   // the primary cannot apply, through no fault of the transactions
	statusStopped      = "stopped" // it must not go on: the reason says why
)

// statuses are all of them.
var statuses = []string{
	statusStarting, statusRunning, statusIdle, statusPaused, statusStandby, statusReconnecting, statusFault, statusStopped,
}

// processorState is what is known of the processor, for /health.
type processorState struct {
	mu        sync.Mutex
	status    string
	reason    error
	online    bool // the line to the primary works
	changed   time.Time
	heard     time.Time // the primary answered on a claimed connection
	lastRun   time.Time
	lastError error
	count     int64
	answered  bool // the newest failure is what the primary said, not silence
}

// processorReport is a copy of it.
type processorReport struct {
	Status    string
	Reason    error
	Online    bool
	LastRun   time.Time
	LastError error
	Processed int64
	Answered  bool
}

func (s *processorState) set(status string, reason error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status, s.reason = status, reason
	if status == statusIdle || status == statusRunning || status == statusPaused {
		s.online = true
	}
}

// failed records why a connection ended or could not be made.
func (s *processorState) failed(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status, s.reason, s.lastError = statusReconnecting, err, err
	if errors.Is(err, problem.PendingUnavailable) {
		return // says nothing of the primary
	}
	var said *pgconn.PgError
	s.answered = errors.As(err, &said)
	s.online = s.answered
}

func (s *processorState) connected(at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.online, s.answered, s.changed, s.heard = true, false, at, at
	s.status, s.reason = statusIdle, nil
}

// hear records that the primary answered on a connection that was claimed.
func (s *processorState) hear(at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heard = at
}

// lastHeard is when the primary last answered this process on a connection that was
// claimed; zero when it never did.
func (s *processorState) lastHeard() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.heard
}

// mainSeen records whether the primary could be reached, by another connection
// than the processor's.
func (s *processorState) mainSeen(online bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.online = online
	if err != nil {
		s.lastError = err
	}
}

func (s *processorState) processed(n int, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count += int64(n)
	s.lastRun = at
}

func (s *processorState) report() processorReport {
	s.mu.Lock()
	defer s.mu.Unlock()
	return processorReport{
		Status: s.status, Reason: s.reason, Online: s.online, LastRun: s.lastRun, LastError: s.lastError,
		Processed: s.count, Answered: s.answered,
	}
}
