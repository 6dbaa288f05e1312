package planning

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/opsdb/opsdb/modules/planning/internal/db"
	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/record"
)

// ObservingProgram is a science or technical programme that owns obs units.
type ObservingProgram struct {
	ID             int64     `json:"id" doc:"The record's id."`
	Name           string    `json:"name" doc:"Its name, by which lists are ordered."`
	ShortName      string    `json:"short_name" doc:"Its short name, which a path can take instead of the id."`
	Kind           string    `json:"kind" enum:"science,technical" doc:"science or technical."`
	InstrumentID   *int64    `json:"instrument_id" doc:"The instrument, where there is only one."`
	Lead           string    `json:"lead" doc:"Who leads it."`
	Description    string    `json:"description" doc:"What it is."`
	AllocatedHours *float64  `json:"allocated_hours" doc:"Hours it was given; null when nobody has set a limit."`
	Version        int32     `json:"version" doc:"Counts the changes of the record."`
	CreatedAt      time.Time `json:"created_at" doc:"When the record was made."`
	UpdatedAt      time.Time `json:"updated_at" doc:"When the record was changed last."`
}

// ObservingProgramDetail is a programme with its progress.
type ObservingProgramDetail struct {
	ID             int64                    `json:"id" doc:"The record's id."`
	Name           string                   `json:"name" doc:"Its name, by which lists are ordered."`
	ShortName      string                   `json:"short_name" doc:"Its short name, which a path can take instead of the id."`
	Kind           string                   `json:"kind" enum:"science,technical" doc:"science or technical."`
	InstrumentID   *int64                   `json:"instrument_id" doc:"The instrument, where there is only one."`
	Lead           string                   `json:"lead" doc:"Who leads it."`
	Description    string                   `json:"description" doc:"What it is."`
	AllocatedHours *float64                 `json:"allocated_hours" doc:"Hours it was given; null when nobody has set a limit."`
	Version        int32                    `json:"version" doc:"Counts the changes of the record."`
	CreatedAt      time.Time                `json:"created_at" doc:"When the record was made."`
	UpdatedAt      time.Time                `json:"updated_at" doc:"When the record was changed last."`
	Progress       ObservingProgramProgress `json:"progress" doc:"What was observed of it, executions included that are pending at this site."`
}

// ObservingProgramProgress is how much of a programme has been observed.
type ObservingProgramProgress struct {
	RequestedHours float64 `json:"requested_hours" doc:"What its obs units ask for, hours."`
	ExecutedHours  float64 `json:"executed_hours" doc:"What completed executions took, hours."`
	ObsUnits       int64   `json:"obs_units" doc:"How many obs units it has."`
	Running        int64   `json:"running" doc:"Executions that are running."`
	Completed      int64   `json:"completed" doc:"Executions that were completed."`
	Aborted        int64   `json:"aborted" doc:"Executions that were aborted."`
	Failed         int64   `json:"failed" doc:"Executions that failed."`
}

// SubObservingProgram is a part of a programme.
type SubObservingProgram struct {
	ID                 int64     `json:"id" doc:"The record's id."`
	ObservingProgramID int64     `json:"observing_program_id" doc:"The programme."`
	Name               string    `json:"name" doc:"Its name, by which lists are ordered."`
	ShortName          string    `json:"short_name" doc:"Its short name."`
	Description        string    `json:"description" doc:"What it is."`
	Version            int32     `json:"version" doc:"Counts the changes of the record."`
	CreatedAt          time.Time `json:"created_at" doc:"When the record was made."`
	UpdatedAt          time.Time `json:"updated_at" doc:"When the record was changed last."`
}

var (
	programFilters = api.NewFilters(
		api.String("name"), api.Text("name"), api.String("short_name"), api.Text("short_name"), api.Enum("kind", "science", "technical"),
		api.Nullable(api.Int("instrument_id")), api.Nullable(api.Number("allocated_hours")),
		api.Search().Doc("In the names, the lead and the description."),
	)
	subProgramFilters = api.NewFilters(
		api.String("name"), api.Text("name"), api.String("short_name"), api.Text("short_name"),
	)
)

type getProgramInput struct {
	api.Read
	api.IfNoneMatch
	ID string `path:"id" minLength:"1" maxLength:"63" doc:"The id when it has only digits, else the short name." example:"GEco"`
}

type listSubProgramsInput struct {
	api.List
	ID string `path:"id" minLength:"1" maxLength:"63" doc:"The id when it has only digits, else the short name." example:"GEco"`
}

func registerPrograms(r *api.Router, m *Module) {
	api.Register(r, api.Op{
		ID: "list-observing-programs", Method: http.MethodGet, Path: "/observing_program", Permission: "read:programs",
		Tags: []string{"ui", "planning"}, Summary: "Observing programmes, by name", Filters: programFilters, Order: api.ByName,
	}, m.listObservingPrograms)
	api.Register(r, api.Op{
		ID: "get-observing-program", Method: http.MethodGet, Path: "/observing_program/{id}", Permission: "read:programs",
		Tags: []string{"ui", "planning"}, Summary: "One observing programme, with its progress",
	}, m.getObservingProgram)
	api.Register(r, api.Op{
		ID: "list-sub-observing-programs", Method: http.MethodGet, Path: "/observing_program/{id}/sub_programs", Permission: "read:programs",
		Tags: []string{"ui", "planning"}, Summary: "The parts of an observing programme, by name", Filters: subProgramFilters, Order: api.ByName,
	}, m.listSubObservingPrograms)
}

func (m *Module) listObservingPrograms(ctx context.Context, in *listInput) (*api.PageOutput[ObservingProgram], error) {
	var page db.ListObservingProgramsParams
	var count db.CountObservingProgramsParams
	if err := record.Fill(in.List, &page, &count); err != nil {
		return nil, err
	}
	return record.List[db.ObservingProgram, ObservingProgram]{
		Page: func(ctx context.Context, tx pending.DBTX, from record.From) ([]db.ObservingProgram, error) {
			page.AfterName, page.AfterID, page.PageSize = from.Name, from.ID, from.Size
			return db.New(tx).ListObservingPrograms(ctx, page)
		},
		Count: func(ctx context.Context, tx pending.DBTX) (int64, error) {
			return db.New(tx).CountObservingPrograms(ctx, count)
		},
		Items: record.Each(func(row db.ObservingProgram) ObservingProgram { return ObservingProgram(row) }),
		Key:   func(row db.ObservingProgram) (string, int64) { return row.Name, row.ID },
	}.Answer(ctx, m.reader, in.List)
}

// findProgram reads the programme that a path names: by its id when the path has only digits, else by its short name.
func findProgram(ctx context.Context, tx pending.DBTX, path string) (db.ObservingProgram, error) {
	params := db.GetObservingProgramParams{ShortName: &path}
	if id, err := strconv.ParseUint(path, 10, 63); err == nil {
		byID := int64(id)
		params = db.GetObservingProgramParams{ID: &byID}
	} else if errors.Is(err, strconv.ErrRange) {
		return db.ObservingProgram{}, problem.NotFound.Field("path.id", path, "there is no such programme")
	}
	row, err := db.New(tx).GetObservingProgram(ctx, params)
	return row, record.Found(err, path, "programme")
}

func (m *Module) getObservingProgram(ctx context.Context, in *getProgramInput) (*record.Output[ObservingProgramDetail], error) {
	return record.Merged(ctx, m.reader, in.Read, in.IfNoneMatch, func(ctx context.Context, s *pending.Snapshot) (ObservingProgramDetail, error) {
		row, err := findProgram(ctx, s.DB, in.ID)
		if err != nil {
			return ObservingProgramDetail{}, err
		}
		detail := ObservingProgramDetail{
			ID:             row.ID,
			Name:           row.Name,
			ShortName:      row.ShortName,
			Kind:           row.Kind,
			InstrumentID:   row.InstrumentID,
			Lead:           row.Lead,
			Description:    row.Description,
			AllocatedHours: row.AllocatedHours,
			Version:        row.Version,
			CreatedAt:      row.CreatedAt,
			UpdatedAt:      row.UpdatedAt,
		}
		detail.Progress, err = progress(ctx, s, row.ID)
		return detail, err
	})
}

// progress counts what was observed of a programme. Executions are buffered at a secondary site, so the pending ones
// count along.
func progress(ctx context.Context, s *pending.Snapshot, id int64) (ObservingProgramProgress, error) {
	overlay := s.All("executed_obs_unit", pending.Page{Undecided: true})
	row, err := db.New(s.DB).GetProgramProgress(ctx, db.GetProgramProgressParams{ObservingProgramID: id, Replaced: overlay.Replaced, Pending: overlay.Pending})
	if err != nil {
		return ObservingProgramProgress{}, fmt.Errorf("reading the progress of a programme: %w", err)
	}
	return ObservingProgramProgress(row), nil
}

func (m *Module) listSubObservingPrograms(ctx context.Context, in *listSubProgramsInput) (*api.PageOutput[SubObservingProgram], error) {
	var page db.ListSubObservingProgramsParams
	var count db.CountSubObservingProgramsParams
	if err := record.Fill(in.List, &page, &count); err != nil {
		return nil, err
	}
	return record.List[db.SubObservingProgram, SubObservingProgram]{
		Check: func(ctx context.Context, tx pending.DBTX) error {
			program, err := findProgram(ctx, tx, in.ID)
			page.ObservingProgramID, count.ObservingProgramID = program.ID, program.ID
			return err
		},
		Page: func(ctx context.Context, tx pending.DBTX, from record.From) ([]db.SubObservingProgram, error) {
			page.AfterName, page.AfterID, page.PageSize = from.Name, from.ID, from.Size
			return db.New(tx).ListSubObservingPrograms(ctx, page)
		},
		Count: func(ctx context.Context, tx pending.DBTX) (int64, error) {
			return db.New(tx).CountSubObservingPrograms(ctx, count)
		},
		Items: record.Each(func(row db.SubObservingProgram) SubObservingProgram { return SubObservingProgram(row) }),
		Key:   func(row db.SubObservingProgram) (string, int64) { return row.Name, row.ID },
	}.Answer(ctx, m.reader, in.List)
}
