package auth

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/opsdb/opsdb/platform/problem"
)

// maxRefusals is how many refusals of one kind by one actor a process records in a minute. Anybody may cause them, and
// nobody shall fill the audit log, or a buffer, with them, nor hide those of others behind them. So many actors of a kind
// have a budget of their own in a minute; those who come later share one.
const (
	maxRefusals       = 10
	maxRefusedActors  = 10
	otherRefusedActor = "*"
)

// worthNoting are the refusals of logins that the audit log tells of. That GitHub, main or a device's owner keeps one
// waiting is none.
var worthNoting = []*problem.Kind{loginExpired, loginRefused, notAMember, usernameTaken, problem.Forbidden}

// recordSession tells the audit log what became of a session; more are names and values in turn.
func (m *Module) recordSession(ctx context.Context, action string, session Session, more ...any) {
	if m.config.Audit != nil {
		m.config.Audit.Record(ctx, sessionEvent(action, session, more...))
	}
}

// sessionEvent is what recordSession tells.
func sessionEvent(action string, session Session, more ...any) Event {
	detail := map[string]any{"username": session.Username}
	for i := 0; i+1 < len(more); i += 2 {
		if name, ok := more[i].(string); ok {
			detail[name] = more[i+1]
		}
	}
	userID := session.UserID
	return Event{Action: action, UserID: &userID, Table: "session", Row: session.ID, Detail: detail}
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
		admitted, before := m.refused.admit(kind.Code, person.Login, m.now())
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
	began    time.Time            // the minute
	recorded map[refusedActor]int // in it
	actors   map[string]int       // in it, by kind: those with a budget of their own
	left     map[string]int       // by kind: not recorded since the one that was last
}

// refusedActor is who is refused, and what: actor is empty when it is anybody.
type refusedActor struct{ kind, actor string }

// admit tells whether one more is recorded, and then how many of the kind were not since the one before. kind is one of
// few; actor is what anybody may choose.
func (r *refusals) admit(kind, actor string, now time.Time) (admitted bool, left int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Sub(r.began) >= time.Minute {
		r.began, r.recorded, r.actors = now, map[refusedActor]int{}, map[string]int{}
	}
	if r.left == nil {
		r.left = map[string]int{}
	}
	who := refusedActor{kind, actor}
	if _, known := r.recorded[who]; !known && r.actors[kind] == maxRefusedActors {
		who.actor = otherRefusedActor
	} else if !known {
		r.actors[kind]++
	}
	if r.recorded[who] == maxRefusals {
		r.left[kind]++
		return false, 0
	}
	r.recorded[who]++
	left = r.left[kind]
	delete(r.left, kind)
	return true, left
}
