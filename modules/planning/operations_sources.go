package planning

import (
	"context"
	"net/http"
	"time"

	"github.com/opsdb/opsdb/modules/planning/internal/db"
	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/record"
)

// Source is what can be observed: a position, a body of the solar system, or a survey area at constant elevation.
type Source struct {
	ID            int64         `json:"id" doc:"The record's id."`
	Name          string        `json:"name" doc:"Its name, by which lists are ordered."`
	Kind          db.SourceKind `json:"kind" enum:"fixed,solar_system,constant_elevation" doc:"Whether it has a fixed position, is a body of the solar system, or an area scanned at constant elevation."`
	Aliases       []string      `json:"aliases" doc:"Other names."`
	RaDeg         *float64      `json:"ra_deg" doc:"Right ascension (ICRS), degrees; fixed sources only."`
	DecDeg        *float64      `json:"dec_deg" doc:"Declination (ICRS), degrees; fixed sources only."`
	Frame         string        `json:"frame" doc:"Frame of the position."`
	PmRaMasYr     *float64      `json:"pm_ra_mas_yr" doc:"Proper motion in right ascension, mas/yr."`
	PmDecMasYr    *float64      `json:"pm_dec_mas_yr" doc:"Proper motion in declination, mas/yr."`
	VLsrKmS       *float64      `json:"v_lsr_km_s" doc:"Velocity in the local standard of rest, km/s."`
	BodyName      *string       `json:"body_name" doc:"The body; solar system only."`
	NaifID        *int32        `json:"naif_id" doc:"NAIF id of the body."`
	AreaRaMinDeg  *float64      `json:"area_ra_min_deg" doc:"Western edge of the area, degrees; above area_ra_max_deg when the area crosses 0 h."`
	AreaRaMaxDeg  *float64      `json:"area_ra_max_deg" doc:"Eastern edge of the area, degrees."`
	AreaDecMinDeg *float64      `json:"area_dec_min_deg" doc:"Southern edge of the area, degrees."`
	AreaDecMaxDeg *float64      `json:"area_dec_max_deg" doc:"Northern edge of the area, degrees."`
	ElevationDeg  *float64      `json:"elevation_deg" doc:"Elevation of the scans, degrees; survey areas only."`
	AzimuthMinDeg *float64      `json:"azimuth_min_deg" doc:"Lowest azimuth of the scans, degrees."`
	AzimuthMaxDeg *float64      `json:"azimuth_max_deg" doc:"Highest azimuth of the scans, degrees."`
	Notes         string        `json:"notes" doc:"Remarks."`
	Version       int32         `json:"version" doc:"Counts the changes of the record."`
	CreatedAt     time.Time     `json:"created_at" doc:"When the record was made."`
	UpdatedAt     time.Time     `json:"updated_at" doc:"When the record was changed last."`
}

// ObsMode is a way of observing.
type ObsMode struct {
	ID          int64     `json:"id" doc:"The record's id."`
	Name        string    `json:"name" doc:"Its name, by which lists are ordered."`
	Description string    `json:"description" doc:"What it is."`
	Pattern     string    `json:"pattern" enum:"otf,raster,total_power,pong,daisy,constant_elevation,sky_dip,focus,pointing" doc:"The scan pattern."`
	Version     int32     `json:"version" doc:"Counts the changes of the record."`
	CreatedAt   time.Time `json:"created_at" doc:"When the record was made."`
	UpdatedAt   time.Time `json:"updated_at" doc:"When the record was changed last."`
}

var (
	sourceFilters = api.NewFilters(
		api.String("name"), api.Text("name"), api.Enum("kind", "fixed", "solar_system", "constant_elevation"), api.String("body_name"),
		api.Number("ra_deg"), api.Number("dec_deg"), api.Nullable(api.Number("v_lsr_km_s")), api.Cone(),
		api.Search().Doc("In the name and in the other names."),
	)
	obsModeFilters = api.NewFilters(
		api.String("name"), api.Text("name"),
		api.Enum("pattern", "otf", "raster", "total_power", "pong", "daisy", "constant_elevation", "sky_dip", "focus", "pointing"),
	)
)

type listInput struct{ api.List }

type getInput struct {
	api.Read
	api.IfNoneMatch
	ID int64 `path:"id" doc:"The record's id."`
}

func registerSources(r *api.Router, m *Module) {
	api.Register(r, api.Op{
		ID: "list-sources", Method: http.MethodGet, Path: "/sources", Permission: "read:sources",
		Tags: []string{"shared", "planning"}, Summary: "Sources, by name", Filters: sourceFilters, Order: api.ByName,
		Description: "A cone finds fixed sources by their position and survey areas by their centre; a body of the solar system has no place of its own and is in no cone.",
	}, m.listSources)
	api.Register(r, api.Op{
		ID: "get-source", Method: http.MethodGet, Path: "/sources/{id}", Permission: "read:sources",
		Tags: []string{"shared", "planning"}, Summary: "One source",
	}, m.getSource)
	api.Register(r, api.Op{
		ID: "list-obs-modes", Method: http.MethodGet, Path: "/obs_modes", Permission: "read:instruments",
		Tags: []string{"shared", "planning"}, Summary: "Modes of observing, by name", Filters: obsModeFilters, Order: api.ByName,
	}, m.listObsModes)
}

func (m *Module) listSources(ctx context.Context, in *listInput) (*api.PageOutput[Source], error) {
	var page db.ListSourcesParams
	var count db.CountSourcesParams
	if err := record.Fill(in.List, &page, &count); err != nil {
		return nil, err
	}
	return record.List[db.Source, Source]{
		Page: func(ctx context.Context, tx pending.DBTX, from record.From) ([]db.Source, error) {
			page.AfterName, page.AfterID, page.PageSize = from.Name, from.ID, from.Size
			return db.New(tx).ListSources(ctx, page)
		},
		Count: func(ctx context.Context, tx pending.DBTX) (int64, error) { return db.New(tx).CountSources(ctx, count) },
		Items: record.Each(func(row db.Source) Source { return Source(row) }),
		Key:   func(row db.Source) (string, int64) { return row.Name, row.ID },
	}.Answer(ctx, m.reader, in.List)
}

func (m *Module) getSource(ctx context.Context, in *getInput) (*record.Output[Source], error) {
	return record.One(ctx, m.reader, in.IfNoneMatch, func(ctx context.Context, s *pending.Snapshot) (Source, error) {
		row, err := db.New(s.DB).GetSource(ctx, in.ID)
		return Source(row), record.Found(err, in.ID, "source")
	})
}

func (m *Module) listObsModes(ctx context.Context, in *listInput) (*api.PageOutput[ObsMode], error) {
	var page db.ListObsModesParams
	var count db.CountObsModesParams
	if err := record.Fill(in.List, &page, &count); err != nil {
		return nil, err
	}
	return record.List[db.ObsMode, ObsMode]{
		Page: func(ctx context.Context, tx pending.DBTX, from record.From) ([]db.ObsMode, error) {
			page.AfterName, page.AfterID, page.PageSize = from.Name, from.ID, from.Size
			return db.New(tx).ListObsModes(ctx, page)
		},
		Count: func(ctx context.Context, tx pending.DBTX) (int64, error) { return db.New(tx).CountObsModes(ctx, count) },
		Items: record.Each(func(row db.ObsMode) ObsMode { return ObsMode(row) }),
		Key:   func(row db.ObsMode) (string, int64) { return row.Name, row.ID },
	}.Answer(ctx, m.reader, in.List)
}
