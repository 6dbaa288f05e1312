package planning

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/opsdb/opsdb/modules/planning/internal/db"
	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/record"
)

// ObsUnit is a planned observation: one source, one mode, one instrument.
type ObsUnit struct {
	ID                         int64           `json:"id" doc:"The record's id."`
	Name                       string          `json:"name" doc:"Its name, by which lists are ordered."`
	ObservingProgramID         int64           `json:"observing_program_id" doc:"The programme that owns it."`
	SubObservingProgramID      *int64          `json:"sub_observing_program_id" doc:"The part of the programme."`
	SourceID                   int64           `json:"source_id" doc:"The source."`
	ObsModeID                  int64           `json:"obs_mode_id" doc:"The mode."`
	ObservationConfigurationID *int64          `json:"observation_configuration_id" doc:"The observation configuration."`
	InstrumentID               int64           `json:"instrument_id" doc:"The instrument it is observed with."`
	LineID                     *int64          `json:"line_id" doc:"The main line of a heterodyne unit."`
	NominalElevationDeg        *float64        `json:"nominal_elevation_deg" doc:"Elevation of constant-elevation scans, degrees."`
	MappingParameters          json.RawMessage `json:"mapping_parameters" doc:"The planner's own keys and values, unchanged."`
	AdditionalParams           json.RawMessage `json:"additional_params" doc:"Further keys and values of the telescope's software, unchanged."`
	Priority                   int32           `json:"priority" doc:"Lower comes first."`
	RequestedSeconds           float64         `json:"requested_seconds" doc:"Observing time asked for, seconds."`
	MinElevationDeg            float64         `json:"min_elevation_deg" doc:"The lowest elevation to observe at, degrees."`
	MaxElevationDeg            float64         `json:"max_elevation_deg" doc:"The highest elevation to observe at, degrees."`
	MaxPwvMm                   *float64        `json:"max_pwv_mm" doc:"Most precipitable water vapour it can be observed with, mm; null for any."`
	Available                  bool            `json:"available" doc:"Whether it may be scheduled at present."`
	Description                string          `json:"description" doc:"What it is."`
	Version                    int32           `json:"version" doc:"Counts the changes of the record."`
	CreatedAt                  time.Time       `json:"created_at" doc:"When the record was made."`
	UpdatedAt                  time.Time       `json:"updated_at" doc:"When the record was changed last."`

	ModuleConfigurationIDs []int64        `json:"module_configuration_ids" doc:"The module configurations it is observed with."`
	AzimuthRanges          []AzimuthRange `json:"azimuth_ranges" doc:"The azimuth table of a constant-elevation unit."`
	Slots                  []Slot         `json:"slots" doc:"Time set aside for it, earliest first."`
}

// AzimuthRange is one entry of the azimuth table of a constant-elevation unit.
type AzimuthRange struct {
	ID              int64    `json:"id" doc:"The range's id."`
	ElevationDeg    float64  `json:"elevation_deg" doc:"Elevation, degrees."`
	AzimuthMinDeg   float64  `json:"azimuth_min_deg" doc:"Lowest azimuth, degrees."`
	AzimuthMaxDeg   float64  `json:"azimuth_max_deg" doc:"Highest azimuth, degrees."`
	DurationSeconds *float64 `json:"duration_seconds" doc:"How long to scan, seconds."`
	Rising          *bool    `json:"rising" doc:"Whether the source is rising then."`
	Label           string   `json:"label" doc:"A name for it."`
}

// Slot is time set aside for an obs unit.
type Slot struct {
	ID             int64     `json:"id" doc:"The slot's id."`
	AzimuthRangeID *int64    `json:"azimuth_range_id" doc:"The azimuth range it is meant for."`
	StartTime      time.Time `json:"start_time" doc:"When it begins."`
	EndTime        time.Time `json:"end_time" doc:"When it ends."`
}

var obsUnitFilters = api.NewFilters(
	api.String("name"), api.Text("name"), api.Int("observing_program_id"), api.Nullable(api.Int("sub_observing_program_id")),
	api.Int("source_id"), api.Int("obs_mode_id"), api.Nullable(api.Int("observation_configuration_id")), api.Int("instrument_id"),
	api.Nullable(api.Int("line_id")), api.Range("priority"), api.Number("requested_seconds"), api.Nullable(api.Number("max_pwv_mm")),
	api.Flag("available"), api.Search().Doc("In the name and description of the unit, and in the names of its programme and source."),
)

func registerObsUnits(r *api.Router, m *Module) {
	api.Register(r, api.Op{
		ID: "list-obs-units", Method: http.MethodGet, Path: "/obs_unit", Permission: "read:observations",
		Tags: []string{"ui", "planning"}, Summary: "Obs units, by name", Filters: obsUnitFilters, Order: api.ByName,
	}, m.listObsUnits)
	api.Register(r, api.Op{
		ID: "get-obs-unit", Method: http.MethodGet, Path: "/obs_unit/{id}", Permission: "read:observations",
		Tags: []string{"ui", "planning"}, Summary: "One obs unit",
		Description: "`mapping_parameters` and `additional_params` come back with the keys and values they were given.",
	}, m.getObsUnit)
}

func (m *Module) listObsUnits(ctx context.Context, in *listInput) (*api.PageOutput[ObsUnit], error) {
	var page db.ListObsUnitsParams
	var count db.CountObsUnitsParams
	if err := record.Fill(in.List, &page, &count); err != nil {
		return nil, err
	}
	return record.List[db.ObsUnit, ObsUnit]{
		Page: func(ctx context.Context, tx pending.DBTX, from record.From) ([]db.ObsUnit, error) {
			page.AfterName, page.AfterID, page.PageSize = from.Name, from.ID, from.Size
			return db.New(tx).ListObsUnits(ctx, page)
		},
		Count: func(ctx context.Context, tx pending.DBTX) (int64, error) { return db.New(tx).CountObsUnits(ctx, count) },
		Items: showObsUnits,
		Key:   func(row db.ObsUnit) (string, int64) { return row.Name, row.ID },
	}.Answer(ctx, m.reader, in.List)
}

func (m *Module) getObsUnit(ctx context.Context, in *getInput) (*record.Output[ObsUnit], error) {
	return record.One(ctx, m.reader, in.IfNoneMatch, func(ctx context.Context, s *pending.Snapshot) (ObsUnit, error) {
		row, err := db.New(s.DB).GetObsUnit(ctx, in.ID)
		if err := record.Found(err, in.ID, "obs unit"); err != nil {
			return ObsUnit{}, err
		}
		units, err := showObsUnits(ctx, s, []db.ObsUnit{row})
		if err != nil {
			return ObsUnit{}, err
		}
		return units[0], nil
	})
}

// showObsUnits adds to obs units what is shown as a part of each, in three queries however many they are.
func showObsUnits(ctx context.Context, s *pending.Snapshot, rows []db.ObsUnit) ([]ObsUnit, error) {
	units := make([]ObsUnit, len(rows))
	ids := make([]int64, len(rows))
	index := make(map[int64]*ObsUnit, len(rows))
	for i, row := range rows {
		units[i] = ObsUnit{
			ID:                         row.ID,
			Name:                       row.Name,
			ObservingProgramID:         row.ObservingProgramID,
			SubObservingProgramID:      row.SubObservingProgramID,
			SourceID:                   row.SourceID,
			ObsModeID:                  row.ObsModeID,
			ObservationConfigurationID: row.ObservationConfigurationID,
			InstrumentID:               row.InstrumentID,
			LineID:                     row.LineID,
			NominalElevationDeg:        row.NominalElevationDeg,
			MappingParameters:          row.MappingParameters,
			AdditionalParams:           row.AdditionalParams,
			Priority:                   row.Priority,
			RequestedSeconds:           row.RequestedSeconds,
			MinElevationDeg:            row.MinElevationDeg,
			MaxElevationDeg:            row.MaxElevationDeg,
			MaxPwvMm:                   row.MaxPwvMm,
			Available:                  row.Available,
			Description:                row.Description,
			Version:                    row.Version,
			CreatedAt:                  row.CreatedAt,
			UpdatedAt:                  row.UpdatedAt,

			ModuleConfigurationIDs: []int64{}, AzimuthRanges: []AzimuthRange{}, Slots: []Slot{},
		}
		ids[i], index[row.ID] = row.ID, &units[i]
	}
	if len(rows) == 0 {
		return units, nil
	}
	q := db.New(s.DB)
	configurations, err := q.ListObsUnitModuleConfigurations(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("reading the module configurations of obs units: %w", err)
	}
	for _, c := range configurations {
		unit := index[c.ObsUnitID]
		unit.ModuleConfigurationIDs = append(unit.ModuleConfigurationIDs, c.InstrumentModuleConfigurationID)
	}
	ranges, err := q.ListObsUnitAzimuthRanges(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("reading the azimuth ranges of obs units: %w", err)
	}
	for _, r := range ranges {
		unit := index[r.ObsUnitID]
		unit.AzimuthRanges = append(unit.AzimuthRanges, AzimuthRange{
			ID: r.ID, ElevationDeg: r.ElevationDeg, AzimuthMinDeg: r.AzimuthMinDeg, AzimuthMaxDeg: r.AzimuthMaxDeg,
			DurationSeconds: r.DurationSeconds, Rising: r.Rising, Label: r.Label,
		})
	}
	slots, err := q.ListObsUnitSlots(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("reading the slots of obs units: %w", err)
	}
	for _, slot := range slots {
		unit := index[slot.ObsUnitID]
		unit.Slots = append(unit.Slots, Slot{ID: slot.ID, AzimuthRangeID: slot.AzimuthRangeID, StartTime: slot.StartTime, EndTime: slot.EndTime})
	}
	return units, nil
}
