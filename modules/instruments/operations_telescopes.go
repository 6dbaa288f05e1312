package instruments

import (
	"context"
	"net/http"
	"time"

	"github.com/opsdb/opsdb/modules/instruments/internal/db"
	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/record"
)

// Observatory is an observatory, the owner of telescopes.
type Observatory struct {
	ID          int64     `json:"id" doc:"The record's id."`
	Name        string    `json:"name" doc:"Its name, by which lists are ordered."`
	ShortName   string    `json:"short_name" doc:"Its short name."`
	Description string    `json:"description" doc:"What it is."`
	Version     int32     `json:"version" doc:"Counts the changes of the record."`
	CreatedAt   time.Time `json:"created_at" doc:"When the record was made."`
	UpdatedAt   time.Time `json:"updated_at" doc:"When the record was changed last."`
}

// Telescope is a telescope with its place on Earth.
type Telescope struct {
	ID              int64     `json:"id" doc:"The record's id."`
	ObservatoryID   int64     `json:"observatory_id" doc:"The observatory it belongs to."`
	Name            string    `json:"name" doc:"Its name, by which lists are ordered."`
	ShortName       string    `json:"short_name" doc:"Its short name."`
	LatitudeDeg     float64   `json:"latitude_deg" doc:"Latitude, degrees, north is positive."`
	LongitudeDeg    float64   `json:"longitude_deg" doc:"Longitude, degrees, east is positive."`
	AltitudeM       float64   `json:"altitude_m" doc:"Height above sea level, metres."`
	ElevationMinDeg float64   `json:"elevation_min_deg" doc:"The lowest elevation it can point to, degrees."`
	ElevationMaxDeg float64   `json:"elevation_max_deg" doc:"The highest elevation it can point to, degrees."`
	Description     string    `json:"description" doc:"What it is."`
	Version         int32     `json:"version" doc:"Counts the changes of the record."`
	CreatedAt       time.Time `json:"created_at" doc:"When the record was made."`
	UpdatedAt       time.Time `json:"updated_at" doc:"When the record was changed last."`
}

// SpectralLine is a spectral line.
type SpectralLine struct {
	ID               int64     `json:"id" doc:"The record's id."`
	Name             string    `json:"name" doc:"Its name, by which lists are ordered."`
	Species          string    `json:"species" doc:"The molecule, atom or ion."`
	Transition       string    `json:"transition" doc:"The transition."`
	RestFrequencyGhz float64   `json:"rest_frequency_ghz" doc:"Rest frequency, GHz."`
	Version          int32     `json:"version" doc:"Counts the changes of the record."`
	CreatedAt        time.Time `json:"created_at" doc:"When the record was made."`
	UpdatedAt        time.Time `json:"updated_at" doc:"When the record was changed last."`
}

var (
	observatoryFilters = api.NewFilters(
		api.String("name"), api.Text("name"), api.String("short_name"), api.Text("short_name"),
	)
	telescopeFilters = api.NewFilters(
		api.Int("observatory_id"), api.String("name"), api.Text("name"), api.String("short_name"), api.Text("short_name"),
	)
	spectralLineFilters = api.NewFilters(
		api.String("name"), api.Text("name"), api.String("species"), api.Text("species"), api.Number("rest_frequency_ghz"),
	)
)

type listInput struct{ api.List }

func registerTelescopes(r *api.Router, m *Module) {
	api.Register(r, api.Op{
		ID: "list-observatories", Method: http.MethodGet, Path: "/observatories", Permission: "read:instruments",
		Tags: []string{"shared", "instruments"}, Summary: "Observatories, by name", Filters: observatoryFilters, Order: api.ByName,
	}, m.listObservatories)
	api.Register(r, api.Op{
		ID: "list-telescopes", Method: http.MethodGet, Path: "/telescopes", Permission: "read:instruments",
		Tags: []string{"shared", "instruments"}, Summary: "Telescopes, by name", Filters: telescopeFilters, Order: api.ByName,
	}, m.listTelescopes)
	api.Register(r, api.Op{
		ID: "list-spectral-lines", Method: http.MethodGet, Path: "/spectral_lines", Permission: "read:instruments",
		Tags: []string{"shared", "instruments"}, Summary: "Spectral lines, by name", Filters: spectralLineFilters, Order: api.ByName,
	}, m.listSpectralLines)
}

func (m *Module) listObservatories(ctx context.Context, in *listInput) (*api.PageOutput[Observatory], error) {
	var page db.ListObservatoriesParams
	var count db.CountObservatoriesParams
	if err := record.Fill(in.List, &page, &count); err != nil {
		return nil, err
	}
	return record.List[db.Observatory, Observatory]{
		Page: func(ctx context.Context, tx pending.DBTX, from record.From) ([]db.Observatory, error) {
			page.AfterName, page.AfterID, page.PageSize = from.Name, from.ID, from.Size
			return db.New(tx).ListObservatories(ctx, page)
		},
		Count: func(ctx context.Context, tx pending.DBTX) (int64, error) {
			return db.New(tx).CountObservatories(ctx, count)
		},
		Items: record.Each(func(row db.Observatory) Observatory { return Observatory(row) }),
		Key:   func(row db.Observatory) (string, int64) { return row.Name, row.ID },
	}.Answer(ctx, m.reader, in.List)
}

func (m *Module) listTelescopes(ctx context.Context, in *listInput) (*api.PageOutput[Telescope], error) {
	var page db.ListTelescopesParams
	var count db.CountTelescopesParams
	if err := record.Fill(in.List, &page, &count); err != nil {
		return nil, err
	}
	return record.List[db.Telescope, Telescope]{
		Page: func(ctx context.Context, tx pending.DBTX, from record.From) ([]db.Telescope, error) {
			page.AfterName, page.AfterID, page.PageSize = from.Name, from.ID, from.Size
			return db.New(tx).ListTelescopes(ctx, page)
		},
		Count: func(ctx context.Context, tx pending.DBTX) (int64, error) {
			return db.New(tx).CountTelescopes(ctx, count)
		},
		Items: record.Each(func(row db.Telescope) Telescope { return Telescope(row) }),
		Key:   func(row db.Telescope) (string, int64) { return row.Name, row.ID },
	}.Answer(ctx, m.reader, in.List)
}

func (m *Module) listSpectralLines(ctx context.Context, in *listInput) (*api.PageOutput[SpectralLine], error) {
	var page db.ListSpectralLinesParams
	var count db.CountSpectralLinesParams
	if err := record.Fill(in.List, &page, &count); err != nil {
		return nil, err
	}
	return record.List[db.SpectralLine, SpectralLine]{
		Page: func(ctx context.Context, tx pending.DBTX, from record.From) ([]db.SpectralLine, error) {
			page.AfterName, page.AfterID, page.PageSize = from.Name, from.ID, from.Size
			return db.New(tx).ListSpectralLines(ctx, page)
		},
		Count: func(ctx context.Context, tx pending.DBTX) (int64, error) {
			return db.New(tx).CountSpectralLines(ctx, count)
		},
		Items: record.Each(func(row db.SpectralLine) SpectralLine { return SpectralLine(row) }),
		Key:   func(row db.SpectralLine) (string, int64) { return row.Name, row.ID },
	}.Answer(ctx, m.reader, in.List)
}
