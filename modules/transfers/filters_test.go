package transfers

import (
	"testing"

	"github.com/opsdb/opsdb/modules/transfers/internal/db"
	"github.com/opsdb/opsdb/platform/api"
)

// TestNoFilterIsForgotten: one that a query does not have would be an error of the server, or be ignored.
func TestNoFilterIsForgotten(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name        string
		filters     *api.Filters
		page, count any
	}{
		{"Sites", siteFilters, db.ListSitesParams{}, db.CountSitesParams{}},
		{"DataLocations", locationFilters, db.ListDataLocationsParams{}, db.CountDataLocationsParams{}},
		{"DataTransferRoutes", routeFilters, db.ListDataTransferRoutesParams{}, db.CountDataTransferRoutesParams{}},
	} {
		for _, params := range []any{c.page, c.count} {
			if err := c.filters.Fits(params); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
		}
	}
}
