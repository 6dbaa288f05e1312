package transfers

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/opsdb/opsdb/modules/transfers/internal/db"
)

// siteName is what the primary takes for a short name.
var siteName = regexp.MustCompile(`^[a-z0-9]{1,63}$`)

// NewSite says which site to add.
type NewSite struct {
	ShortName    string // SITE_NAME, never to be changed
	Name         string
	Location     string
	Main         bool
	LatitudeDeg  *float64
	LongitudeDeg *float64
}

// AddSite adds a site to the primary behind conn, together with the row that numbers its commits, and tells whether
// it was missing. A site of that short name stays as it is.
func AddSite(ctx context.Context, conn interface {
	Begin(ctx context.Context) (pgx.Tx, error)
}, site NewSite) (added bool, err error) {
	if !siteName.MatchString(site.ShortName) {
		return false, fmt.Errorf("adding site %q: a short name has 1 to 63 lower-case letters and digits", site.ShortName)
	}
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		q := db.New(tx)
		rows, err := q.AddSite(ctx, db.AddSiteParams{
			Name: site.Name, ShortName: site.ShortName, Location: site.Location, IsMain: site.Main,
			LatitudeDeg: site.LatitudeDeg, LongitudeDeg: site.LongitudeDeg, CreatedAt: time.Now().UTC(),
		})
		if err != nil {
			return err
		}
		added = rows == 1
		return q.AddSiteStatus(ctx, site.ShortName)
	})
	if err != nil {
		return false, fmt.Errorf("adding site %s: %w", site.ShortName, err)
	}
	return added, nil
}

// ErrUnknownSite says that no site has the short name.
var ErrUnknownSite = errors.New("no such site")

// SiteID returns the id of the site with a short name; ErrUnknownSite when there is none.
func SiteID(ctx context.Context, conn db.DBTX, shortName string) (int64, error) {
	id, err := db.New(conn).GetSiteID(ctx, shortName)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, fmt.Errorf("%s: %w", shortName, ErrUnknownSite)
	}
	if err != nil {
		return 0, fmt.Errorf("looking for site %s: %w", shortName, err)
	}
	return id, nil
}

// MainSite returns id and short name of the main site; ErrUnknownSite when there is none yet.
func MainSite(ctx context.Context, conn db.DBTX) (id int64, shortName string, err error) {
	site, err := db.New(conn).GetMainSite(ctx)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, "", fmt.Errorf("the main site: %w", ErrUnknownSite)
	}
	if err != nil {
		return 0, "", fmt.Errorf("looking for the main site: %w", err)
	}
	return site.ID, site.ShortName, nil
}
