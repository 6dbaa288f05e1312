package auth

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/opsdb/opsdb/modules/auth/internal/db"
	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/txn"
)

// deniedFor is how long the list of who is denied is trusted: a credential that is denied at a site opens nothing there a
// second later, in any process.
const deniedFor = time.Second

// DenyList is the list of those whose credentials a cut-off site refuses by itself, while main cannot be told: pending.Store.
// Subjects are those of Subject.
type DenyList interface {
	Denied(ctx context.Context) (map[string]string, error)
}

// Subject is whom a deny-list names: a user, an API token or a session; one of them.
type Subject struct {
	Username  string
	TokenID   int64
	SessionID string
}

// String is the subject as the list has it.
func (s Subject) String() string {
	switch {
	case s.Username != "":
		return "user:" + s.Username
	case s.TokenID != 0:
		return "token:" + strconv.FormatInt(s.TokenID, 10)
	}
	return "session:" + s.SessionID
}

// denied is the list as this process read it last.
type denied struct {
	list DenyList                  // nil: the site has none
	read atomic.Pointer[time.Time] // when it was last tried
	them atomic.Pointer[map[string]string]
	load sync.Mutex // one request reads the list for the first time, the others wait
}

// errUnread is that the list was never read: whom it has is not known.
var errUnread = errors.New("the deny-list was not read yet")

// first reads the list for the first time.
func (d *denied) first(ctx context.Context, now time.Time) error {
	d.load.Lock()
	defer d.load.Unlock()
	if d.them.Load() != nil {
		return nil
	}
	if last := d.read.Load(); last != nil && now.Sub(*last) < deniedFor {
		return errUnread // it has just failed
	}
	d.read.Store(&now)
	if err := d.again(ctx, lookupTimeoutUnseen); err != nil {
		return fmt.Errorf("%w: %w", errUnread, err)
	}
	return nil
}

// again reads the list; one that cannot be read stays as it is. A client that hangs up does not end it, for others go by
// what it finds.
func (d *denied) again(ctx context.Context, patience time.Duration) error {
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	them, err := d.list.Denied(limited)
	if err == nil {
		d.them.Store(&them)
	}
	return err
}

// refuses tells whether a principal is on the list, and why the list could not be read again. Then it is as it was read
// last: it is for emergencies, and a broken Redis must not lock everybody out. One that was never read is errUnread.
func (d *denied) refuses(ctx context.Context, p api.Principal, now time.Time) (refused bool, failed error) {
	if d.list == nil {
		return false, nil
	}
	if d.them.Load() == nil {
		if err := d.first(ctx, now); err != nil {
			return false, err
		}
	}
	last := d.read.Load()
	if now.Sub(*last) >= deniedFor && d.read.CompareAndSwap(last, &now) { // one request of each second
		failed = d.again(ctx, lookupTimeout)
	}
	them := d.them.Load()
	if them == nil || len(*them) == 0 {
		return false, failed
	}
	for _, subject := range []Subject{{Username: p.Username}, {TokenID: p.TokenID}, {SessionID: p.SessionID}} {
		if _, there := (*them)[subject.String()]; there {
			return true, failed
		}
	}
	return false, failed
}

// UserID is the id of a user as a site's database has it.
func UserID(ctx context.Context, site DBTX, username string) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeoutMain)
	defer cancel()
	user, err := db.New(site).GetUser(ctx, username)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, fmt.Errorf("user %s: %w", username, ErrUserUnknown)
	}
	if err != nil {
		return 0, fmt.Errorf("reading user %s: %w", username, err)
	}
	return user.ID, nil
}

// HasTokenID tells whether a site's database has an API token of an id.
func HasTokenID(ctx context.Context, site DBTX, id int64) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeoutMain)
	defer cancel()
	_, err := db.New(site).GetToken(ctx, id)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading token %d: %w", id, err)
	}
	return true, nil
}

// Steps returns one value of each step of this module that a secondary site buffers, for the catalog.
func Steps() []txn.Step { return []txn.Step{Revoke{}, EndSessions{}, RecordEvent{}} }

// Revoke makes at main what a cut-off site has denied: the user is not active any more, or the token is revoked.
type Revoke db.RevokeParams

// Kind implements txn.Step.
func (Revoke) Kind() string { return "auth.revoke/1" }

// ReadBy implements txn.Confidential: it says who was put out.
func (Revoke) ReadBy() string { return "read:audit" }

// Apply implements txn.Step.
func (s Revoke) Apply(ctx context.Context, to txn.DBTX) error {
	return db.New(to).Revoke(ctx, db.RevokeParams(s))
}

// Rows implements txn.Step.
func (s Revoke) Rows() []pending.Change {
	if s.TokenID != 0 {
		return []pending.Change{txn.Update("api_token", txn.NumberID(s.TokenID), map[string]any{"is_active": false, "revoked_at": s.At})}
	}
	return []pending.Change{txn.Update("app_user", txn.NumberID(s.UserID), map[string]any{"is_active": false, "sessions_from": s.At, "updated_at": s.At})}
}
