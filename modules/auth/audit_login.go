package auth

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/opsdb/opsdb/platform/problem"
)

// maxRefusals is how many refused logins a process records in a minute. Anybody may cause them, and nobody shall fill
// the audit log, or a buffer, with them.
const maxRefusals = 10

// worthNoting are the refusals of logins that the audit log tells of. That GitHub, main or a device's owner keeps one
// waiting is none.
var worthNoting = []*problem.Kind{loginExpired, loginRefused, notAMember, usernameTaken, problem.Forbidden}

// recordSession tells the audit log what became of a session; more are names and values in turn.
func (m *Module) recordSession(ctx context.Context, action string, session Session, more ...any) {
	if m.config.Audit == nil {
		return
	}
	detail := map[string]any{"username": session.Username}
	for i := 0; i+1 < len(more); i += 2 {
		if name, ok := more[i].(string); ok {
			detail[name] = more[i+1]
		}
	}
	userID := session.UserID
	m.config.Audit.Record(ctx, Event{Action: action, UserID: &userID, Table: "session", Row: session.ID, Detail: detail})
}

// recordRefused tells the audit log of a login that was refused, where that is worth noting.
func (m *Module) recordRefused(ctx context.Context, by string, person GitHubPerson, err error) {
	if m.config.Audit == nil || err == nil {
		return
	}
	for _, kind := range worthNoting {
		if !errors.Is(err, kind) {
			continue
		}
		admitted, before := m.refused.admit(m.now())
		if !admitted {
			return
		}
		detail := map[string]any{"by": by, "problem": kind.Code}
		if person.Login != "" {
			detail["github_login"] = person.Login
		}
		if before > 0 {
			detail["not_recorded_before"] = before
		}
		m.config.Audit.Record(ctx, Event{Action: "login.refused", Detail: detail})
		return
	}
}

// refusals bounds how many refusals a process records.
type refusals struct {
	mu       sync.Mutex
	began    time.Time // the minute
	recorded int       // in it
	left     int       // not recorded since the one that was last
}

// admit tells whether one more is recorded, and then how many were not since the one before.
func (r *refusals) admit(now time.Time) (admitted bool, left int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Sub(r.began) >= time.Minute {
		r.began, r.recorded = now, 0
	}
	if r.recorded == maxRefusals {
		r.left++
		return false, 0
	}
	left, r.left = r.left, 0
	r.recorded++
	return true, left
}
