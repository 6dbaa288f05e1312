package instruments

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/opsdb/opsdb/modules/instruments/internal/db"
	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/record"
)

// Instrument is an instrument of a telescope.
type Instrument struct {
	ID          int64             `json:"id" doc:"The record's id."`
	TelescopeID int64             `json:"telescope_id" doc:"The telescope it is mounted on."`
	Name        string            `json:"name" doc:"Its name, by which lists are ordered."`
	Kind        db.InstrumentKind `json:"kind" enum:"heterodyne,camera" doc:"What kind of instrument it is."`
	Available   bool              `json:"available" doc:"Whether it can be used at present."`
	Description string            `json:"description" doc:"What it is."`
	Website     string            `json:"website" doc:"Where to read more."`
	Version     int32             `json:"version" doc:"Counts the changes of the record."`
	CreatedAt   time.Time         `json:"created_at" doc:"When the record was made."`
	UpdatedAt   time.Time         `json:"updated_at" doc:"When the record was changed last."`
}

// InstrumentModule is a detector array of an instrument; files and packages belong to one.
type InstrumentModule struct {
	ID              int64     `json:"id" doc:"The record's id."`
	InstrumentID    int64     `json:"instrument_id" doc:"The instrument."`
	Name            string    `json:"name" doc:"Its name, by which lists are ordered."`
	Available       bool      `json:"available" doc:"Whether it can be used at present."`
	PixelCount      *int32    `json:"pixel_count" doc:"Number of pixels or detectors."`
	FrequencyMinGhz *float64  `json:"frequency_min_ghz" doc:"Lower edge of the band, GHz."`
	FrequencyMaxGhz *float64  `json:"frequency_max_ghz" doc:"Upper edge of the band, GHz."`
	BeamFwhmArcsec  *float64  `json:"beam_fwhm_arcsec" doc:"Width of the beam at half maximum, arcseconds."`
	OffsetXArcmin   float64   `json:"offset_x_arcmin" doc:"Place in the focal plane, arcminutes."`
	OffsetYArcmin   float64   `json:"offset_y_arcmin" doc:"Place in the focal plane, arcminutes."`
	Description     string    `json:"description" doc:"What it is."`
	Version         int32     `json:"version" doc:"Counts the changes of the record."`
	CreatedAt       time.Time `json:"created_at" doc:"When the record was made."`
	UpdatedAt       time.Time `json:"updated_at" doc:"When the record was changed last."`
}

// InstrumentModuleConfiguration is a named setting of an instrument module.
type InstrumentModuleConfiguration struct {
	ID                 int64           `json:"id" doc:"The record's id."`
	InstrumentModuleID int64           `json:"instrument_module_id" doc:"The instrument module."`
	Name               string          `json:"name" doc:"Its name, by which lists are ordered."`
	LineID             *int64          `json:"line_id" doc:"The spectral line it is tuned to; heterodyne modules only."`
	Sideband           *string         `json:"sideband" enum:"usb,lsb" doc:"The sideband with the line: usb or lsb."`
	VelocityKmS        *float64        `json:"velocity_km_s" doc:"Velocity it is tuned for, km/s."`
	CenterFrequencyGhz *float64        `json:"center_frequency_ghz" doc:"Centre of the band, GHz."`
	Parameters         json.RawMessage `json:"parameters" doc:"The instrument's own settings, as they were given."`
	Available          bool            `json:"available" doc:"Whether it can be used at present."`
	Version            int32           `json:"version" doc:"Counts the changes of the record."`
	CreatedAt          time.Time       `json:"created_at" doc:"When the record was made."`
	UpdatedAt          time.Time       `json:"updated_at" doc:"When the record was changed last."`
}

var (
	instrumentFilters = api.NewFilters(
		api.Int("telescope_id"), api.String("name"), api.Text("name"), api.Enum("kind", "heterodyne", "camera"), api.Flag("available"),
	)
	moduleFilters = api.NewFilters(
		api.String("name"), api.Text("name"), api.Flag("available"), api.Range("pixel_count"), api.Number("frequency_min_ghz"), api.Number("frequency_max_ghz"),
	)
	configurationFilters = api.NewFilters(
		api.String("name"), api.Text("name"), api.Nullable(api.Int("line_id")), api.Flag("available"),
	)
)

type getInput struct {
	api.Read
	api.IfNoneMatch
	ID int64 `path:"id" doc:"The record's id."`
}

type childrenInput struct {
	api.List
	ID int64 `path:"id" doc:"The parent's id."`
}

func registerInstruments(r *api.Router, m *Module) {
	api.Register(r, api.Op{
		ID: "list-instruments", Method: http.MethodGet, Path: "/instruments", Permission: "read:instruments",
		Tags: []string{"shared", "instruments"}, Summary: "Instruments, by name", Filters: instrumentFilters, Order: api.ByName,
	}, m.listInstruments)
	api.Register(r, api.Op{
		ID: "get-instrument", Method: http.MethodGet, Path: "/instruments/{id}", Permission: "read:instruments",
		Tags: []string{"shared", "instruments"}, Summary: "One instrument",
	}, m.getInstrument)
	api.Register(r, api.Op{
		ID: "list-instrument-modules", Method: http.MethodGet, Path: "/instruments/{id}/modules", Permission: "read:instruments",
		Tags: []string{"shared", "instruments"}, Summary: "The modules of an instrument, by name", Filters: moduleFilters, Order: api.ByName,
	}, m.listModules)
	api.Register(r, api.Op{
		ID: "get-instrument-module", Method: http.MethodGet, Path: "/instrument_modules/{id}", Permission: "read:instruments",
		Tags: []string{"shared", "instruments"}, Summary: "One instrument module",
	}, m.getModule)
	api.Register(r, api.Op{
		ID: "list-instrument-module-configurations", Method: http.MethodGet, Path: "/instrument_modules/{id}/configurations", Permission: "read:instruments",
		Tags: []string{"shared", "instruments"}, Summary: "The configurations of an instrument module, by name", Filters: configurationFilters, Order: api.ByName,
	}, m.listConfigurations)
}

func (m *Module) listInstruments(ctx context.Context, in *listInput) (*api.PageOutput[Instrument], error) {
	var page db.ListInstrumentsParams
	var count db.CountInstrumentsParams
	if err := record.Fill(in.List, &page, &count); err != nil {
		return nil, err
	}
	return record.List[db.Instrument, Instrument]{
		Page: func(ctx context.Context, tx pending.DBTX, from record.From) ([]db.Instrument, error) {
			page.AfterName, page.AfterID, page.PageSize = from.Name, from.ID, from.Size
			return db.New(tx).ListInstruments(ctx, page)
		},
		Count: func(ctx context.Context, tx pending.DBTX) (int64, error) {
			return db.New(tx).CountInstruments(ctx, count)
		},
		Items: record.Each(func(row db.Instrument) Instrument { return Instrument(row) }),
		Key:   func(row db.Instrument) (string, int64) { return row.Name, row.ID },
	}.Answer(ctx, m.reader, in.List)
}

func (m *Module) getInstrument(ctx context.Context, in *getInput) (*record.Output[Instrument], error) {
	return record.One(ctx, m.reader, in.IfNoneMatch, func(ctx context.Context, s *pending.Snapshot) (Instrument, error) {
		row, err := db.New(s.DB).GetInstrument(ctx, in.ID)
		return Instrument(row), record.Found(err, in.ID, "instrument")
	})
}

func (m *Module) listModules(ctx context.Context, in *childrenInput) (*api.PageOutput[InstrumentModule], error) {
	page := db.ListInstrumentModulesParams{InstrumentID: in.ID}
	count := db.CountInstrumentModulesParams{InstrumentID: in.ID}
	if err := record.Fill(in.List, &page, &count); err != nil {
		return nil, err
	}
	return record.List[db.InstrumentModule, InstrumentModule]{
		Check: func(ctx context.Context, tx pending.DBTX) error {
			_, err := db.New(tx).GetInstrument(ctx, in.ID)
			return record.Found(err, in.ID, "instrument")
		},
		Page: func(ctx context.Context, tx pending.DBTX, from record.From) ([]db.InstrumentModule, error) {
			page.AfterName, page.AfterID, page.PageSize = from.Name, from.ID, from.Size
			return db.New(tx).ListInstrumentModules(ctx, page)
		},
		Count: func(ctx context.Context, tx pending.DBTX) (int64, error) {
			return db.New(tx).CountInstrumentModules(ctx, count)
		},
		Items: record.Each(func(row db.InstrumentModule) InstrumentModule { return InstrumentModule(row) }),
		Key:   func(row db.InstrumentModule) (string, int64) { return row.Name, row.ID },
	}.Answer(ctx, m.reader, in.List)
}

func (m *Module) getModule(ctx context.Context, in *getInput) (*record.Output[InstrumentModule], error) {
	return record.One(ctx, m.reader, in.IfNoneMatch, func(ctx context.Context, s *pending.Snapshot) (InstrumentModule, error) {
		row, err := db.New(s.DB).GetInstrumentModule(ctx, in.ID)
		return InstrumentModule(row), record.Found(err, in.ID, "instrument module")
	})
}

func (m *Module) listConfigurations(ctx context.Context, in *childrenInput) (*api.PageOutput[InstrumentModuleConfiguration], error) {
	page := db.ListInstrumentModuleConfigurationsParams{InstrumentModuleID: in.ID}
	count := db.CountInstrumentModuleConfigurationsParams{InstrumentModuleID: in.ID}
	if err := record.Fill(in.List, &page, &count); err != nil {
		return nil, err
	}
	return record.List[db.InstrumentModuleConfiguration, InstrumentModuleConfiguration]{
		Check: func(ctx context.Context, tx pending.DBTX) error {
			_, err := db.New(tx).GetInstrumentModule(ctx, in.ID)
			return record.Found(err, in.ID, "instrument module")
		},
		Page: func(ctx context.Context, tx pending.DBTX, from record.From) ([]db.InstrumentModuleConfiguration, error) {
			page.AfterName, page.AfterID, page.PageSize = from.Name, from.ID, from.Size
			return db.New(tx).ListInstrumentModuleConfigurations(ctx, page)
		},
		Count: func(ctx context.Context, tx pending.DBTX) (int64, error) {
			return db.New(tx).CountInstrumentModuleConfigurations(ctx, count)
		},
		Items: record.Each(func(row db.InstrumentModuleConfiguration) InstrumentModuleConfiguration {
			return InstrumentModuleConfiguration(row)
		}),
		Key: func(row db.InstrumentModuleConfiguration) (string, int64) { return row.Name, row.ID },
	}.Answer(ctx, m.reader, in.List)
}
