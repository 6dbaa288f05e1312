package auth

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/opsdb/opsdb/modules/auth/internal/db"
)

// Verdict is what a look at the whole audit log has come to.
type Verdict struct {
	Events int64         `json:"events"`
	Sites  []SiteVerdict `json:"sites"`
	Broken []BrokenEvent `json:"broken"`
}

// SiteVerdict tells of the chain of one site.
type SiteVerdict struct {
	Site   string `json:"site"`
	Events int64  `json:"events"`
	// Chains is how often a chain begins: once, and again each time when the site could not know its last event.
	Chains int64 `json:"chains"`
}

// BrokenEvent is an event that is not as it was recorded, or is missing.
type BrokenEvent struct {
	Site   string    `json:"site"`
	ID     uuid.UUID `json:"id"`
	At     time.Time `json:"at"`
	Action string    `json:"action"`
	Wrong  string    `json:"wrong"`
}

// maxBroken is how many broken events are told of each kind.
const maxBroken = 100

// VerifyAudit walks the chain of each site (of one, when it is named) and holds it against the ledger: an event that was
// changed has another hash, one that was taken out of the middle is missing before the next, and one that was taken off
// the end is in the ledger still. Broken events come in the order of their times.
func (a *Admin) VerifyAudit(ctx context.Context, site string) (Verdict, error) {
	var only *string
	if site != "" {
		only = &site
	}
	q, verdict := db.New(a.conn), Verdict{Sites: []SiteVerdict{}, Broken: []BrokenEvent{}}
	chains := map[string]*chain{}
	page := db.ListAuditChainParams{Site: only, PageSize: 10_000}
	for {
		rows, err := q.ListAuditChain(ctx, page)
		if err != nil {
			return verdict, fmt.Errorf("reading the audit log: %w", err)
		}
		for _, row := range rows {
			c := chains[row.Site]
			if c == nil {
				c = &chain{hashes: map[string]bool{}}
				chains[row.Site] = c
			}
			wrong, err := c.add(RecordEvent(row))
			if err != nil {
				return verdict, err
			}
			if wrong != "" && len(verdict.Broken) < maxBroken {
				verdict.Broken = append(verdict.Broken, BrokenEvent{row.Site, row.ID, row.At, row.Action, wrong})
			}
			verdict.Events++
		}
		if len(rows) < int(page.PageSize) {
			break
		}
		last := rows[len(rows)-1]
		page.AfterTime, page.AfterID = &last.At, &last.ID
	}
	for name, c := range chains {
		verdict.Sites = append(verdict.Sites, SiteVerdict{name, c.events, c.begins})
	}
	lost, err := q.ListLostAuditEvents(ctx, db.ListLostAuditEventsParams{Site: only, PageSize: maxBroken})
	if err != nil {
		return verdict, fmt.Errorf("holding the audit log against the ledger: %w", err)
	}
	for _, row := range lost {
		verdict.Broken = append(verdict.Broken, BrokenEvent{row.Site, row.ID, row.AcceptedAt, row.Action, "the ledger has recorded it, and it is missing or was changed"})
	}
	foreign, err := q.ListForeignAuditEvents(ctx, db.ListForeignAuditEventsParams{Site: only, PageSize: maxBroken})
	if err != nil {
		return verdict, fmt.Errorf("holding the ledger against the audit log: %w", err)
	}
	for _, row := range foreign {
		verdict.Broken = append(verdict.Broken, BrokenEvent{row.Site, row.ID, row.At, row.Action, "no transaction of its site in the ledger has recorded it: it was put in by hand, or by another site"})
	}
	verdict.sort()
	return verdict, nil
}

// chain is what was seen of a site's events so far.
type chain struct {
	hashes         map[string]bool // of events that the next may follow
	events, begins int64
}

// add looks at the next event of a chain and says what is wrong with it.
func (c *chain) add(e RecordEvent) (wrong string, err error) {
	digest, err := e.digest()
	if err != nil {
		return "", err
	}
	c.events++
	switch {
	case digest != e.Hash:
		wrong = "it was changed: its hash is another one"
	case e.PrevHash == "", e.PrevHash == chainBegins+e.ID.String():
		c.begins++
	case !c.hashes[e.PrevHash]:
		wrong = "the event that it follows is missing or was changed"
	}
	// What it followed cannot be followed twice, so it need not be remembered.
	delete(c.hashes, e.PrevHash)
	c.hashes[e.Hash] = true
	return wrong, nil
}

func (v *Verdict) sort() {
	slices.SortFunc(v.Sites, func(a, b SiteVerdict) int { return strings.Compare(a.Site, b.Site) })
	slices.SortStableFunc(v.Broken, func(a, b BrokenEvent) int { return a.At.Compare(b.At) })
}
