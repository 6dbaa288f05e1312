package planning

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/opsdb/opsdb/modules/planning/internal/db"
	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/record"
)

// ObservationConfiguration is settings of an instrument that several obs units share.
type ObservationConfiguration struct {
	ID           int64           `json:"id" doc:"The record's id, as obs units name it."`
	Name         string          `json:"name" doc:"Its name, by which lists are ordered."`
	InstrumentID int64           `json:"instrument_id" doc:"The instrument it is for."`
	Parameters   json.RawMessage `json:"parameters" doc:"Keys and values of the telescope's software, unchanged."`
	Version      int32           `json:"version" doc:"Counts the changes of the record."`
	CreatedAt    time.Time       `json:"created_at" doc:"When the record was made."`
	UpdatedAt    time.Time       `json:"updated_at" doc:"When the record was changed last."`
}

var configurationFilters = api.NewFilters(
	api.String("name"), api.Text("name"), api.Int("instrument_id").Doc("The instrument it is for."),
)

func registerConfigurations(r *api.Router, m *Module) {
	api.Register(r, api.Op{
		ID: "list-observation-configurations", Method: http.MethodGet, Path: "/observation_configurations", Permission: "read:observations",
		Tags: []string{"ui", "planning"}, Summary: "Observation configurations, by name", Filters: configurationFilters, Order: api.ByName,
	}, m.listConfigurations)
	api.Register(r, api.Op{
		ID: "get-observation-configuration", Method: http.MethodGet, Path: "/observation_configurations/{id}", Permission: "read:observations",
		Tags: []string{"ui", "planning"}, Summary: "One observation configuration",
		Description: "`parameters` come back with the keys and values they were given.",
	}, m.getConfiguration)
}

func (m *Module) listConfigurations(ctx context.Context, in *listInput) (*api.PageOutput[ObservationConfiguration], error) {
	var page db.ListObservationConfigurationsParams
	var count db.CountObservationConfigurationsParams
	if err := record.Fill(in.List, &page, &count); err != nil {
		return nil, err
	}
	return record.List[db.ObservationConfiguration, ObservationConfiguration]{
		Page: func(ctx context.Context, tx pending.DBTX, from record.From) ([]db.ObservationConfiguration, error) {
			page.AfterName, page.AfterID, page.PageSize = from.Name, from.ID, from.Size
			return db.New(tx).ListObservationConfigurations(ctx, page)
		},
		Count: func(ctx context.Context, tx pending.DBTX) (int64, error) {
			return db.New(tx).CountObservationConfigurations(ctx, count)
		},
		Items: record.Each(func(row db.ObservationConfiguration) ObservationConfiguration { return ObservationConfiguration(row) }),
		Key:   func(row db.ObservationConfiguration) (string, int64) { return row.Name, row.ID },
	}.Answer(ctx, m.reader, in.List)
}

func (m *Module) getConfiguration(ctx context.Context, in *getInput) (*record.Output[ObservationConfiguration], error) {
	return record.One(ctx, m.reader, in.IfNoneMatch, func(ctx context.Context, s *pending.Snapshot) (ObservationConfiguration, error) {
		row, err := db.New(s.DB).GetObservationConfiguration(ctx, in.ID)
		return ObservationConfiguration(row), record.Found(err, in.ID, "observation configuration")
	})
}
