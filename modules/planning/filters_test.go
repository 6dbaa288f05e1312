package planning

import (
	"testing"

	"github.com/opsdb/opsdb/modules/planning/internal/db"
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
		{"Sources", sourceFilters, db.ListSourcesParams{}, db.CountSourcesParams{}},
		{"ObsModes", obsModeFilters, db.ListObsModesParams{}, db.CountObsModesParams{}},
		{"ObservingPrograms", programFilters, db.ListObservingProgramsParams{}, db.CountObservingProgramsParams{}},
		{"SubObservingPrograms", subProgramFilters, db.ListSubObservingProgramsParams{}, db.CountSubObservingProgramsParams{}},
		{"ObservationConfigurations", configurationFilters, db.ListObservationConfigurationsParams{}, db.CountObservationConfigurationsParams{}},
		{"ObsUnits", obsUnitFilters, db.ListObsUnitsParams{}, db.CountObsUnitsParams{}},
	} {
		for _, params := range []any{c.page, c.count} {
			if err := c.filters.Fits(params); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
		}
	}
}
