package instruments

import (
	"testing"

	"github.com/opsdb/opsdb/modules/instruments/internal/db"
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
		{"Observatories", observatoryFilters, db.ListObservatoriesParams{}, db.CountObservatoriesParams{}},
		{"Telescopes", telescopeFilters, db.ListTelescopesParams{}, db.CountTelescopesParams{}},
		{"SpectralLines", spectralLineFilters, db.ListSpectralLinesParams{}, db.CountSpectralLinesParams{}},
		{"Instruments", instrumentFilters, db.ListInstrumentsParams{}, db.CountInstrumentsParams{}},
		{"InstrumentModules", moduleFilters, db.ListInstrumentModulesParams{}, db.CountInstrumentModulesParams{}},
		{"InstrumentModuleConfigurations", configurationFilters, db.ListInstrumentModuleConfigurationsParams{}, db.CountInstrumentModuleConfigurationsParams{}},
	} {
		for _, params := range []any{c.page, c.count} {
			if err := c.filters.Fits(params); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
		}
	}
}
