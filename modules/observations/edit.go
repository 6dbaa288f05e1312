package observations

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/txn"
)

// Editor turns transactions of this module back into the requests that they came from,
// for operators who correct dead letters. It implements buffer.Editor.
type Editor struct{ m *Module }

// Editor returns the module's editor.
func (m *Module) Editor() Editor { return Editor{m} }

// inRequest is where an edited request stands in the request that brings it.
const inRequest = "body.request"

// Request returns the body of the request that would make the transaction now, nil when
// none would. Ids and times that were made here are part of it, for a record keeps
// them. A bulk of files is an object of files by their ids.
func (e Editor) Request(of *pending.Transaction) (json.RawMessage, error) {
	r, err := requestOf(of)
	if err != nil || r == nil {
		return nil, err
	}
	body, err := json.Marshal(r.body)
	if err != nil {
		return nil, fmt.Errorf("writing the request behind transaction %s: %w", of.ID, err)
	}
	return body, nil
}

// Edit lays a merge patch over the request behind a transaction and checks what comes
// of it as the operation does. The function returned puts its steps together; it is nil
// when there is no such request.
func (e Editor) Edit(of *pending.Transaction, patch json.RawMessage) (func(ctx context.Context, tx *txn.Builder) error, error) {
	r, err := requestOf(of)
	if err != nil || r == nil {
		return nil, err
	}
	before, err := json.Marshal(r.body)
	if err != nil {
		return nil, fmt.Errorf("writing the request behind transaction %s: %w", of.ID, err)
	}
	edited, err := mergePatch(before, patch)
	if err != nil {
		return nil, err
	}
	return r.read(e.m, edited)
}

// build is what puts the steps of an edited request together.
type build = func(ctx context.Context, tx *txn.Builder) error

// editable is the body of a request and what reads an edited one.
type editable struct {
	body any
	read func(m *Module, edited json.RawMessage) (build, error)
}

// requestOf finds the request behind a transaction by the step that is its main one;
// nil when there is none.
func requestOf(of *pending.Transaction) (*editable, error) {
	for _, step := range of.Steps {
		var find func(*pending.Transaction, json.RawMessage) (*editable, error)
		switch step.Kind {
		case Start{}.Kind():
			find = startRequest
		case Finish{}.Kind():
			find = finishRequest
		case Patch{}.Kind():
			find = patchRequest
		case CreateFile{}.Kind():
			find = fileRequest
		case CreateFiles{}.Kind():
			find = filesRequest
		case CreatePackage{}.Kind():
			find = packageRequest
		case FinalizePackage{}.Kind():
			find = finalizeRequest
		default:
			continue
		}
		r, err := find(of, step.Data)
		if err != nil {
			return nil, fmt.Errorf("reading step %s of transaction %s: %w", step.Kind, of.ID, err)
		}
		return r, nil
	}
	return nil, nil
}

// steps decodes the steps of one kind.
func steps[S txn.Step](of *pending.Transaction) ([]S, error) {
	var found []S
	for _, stored := range of.Steps {
		var s S
		if stored.Kind != s.Kind() {
			continue
		}
		if err := json.Unmarshal(stored.Data, &s); err != nil {
			return nil, fmt.Errorf("reading step %s: %w", stored.Kind, err)
		}
		found = append(found, s)
	}
	return found, nil
}

// sameID refuses another id for a record: who was told the id must find it there.
func sameID(location string, given *uuid.UUID, id uuid.UUID) error {
	if given == nil || *given != id {
		return problem.Invalid.Field(location, given, "the record keeps its id, %s", id)
	}
	return nil
}

func startRequest(of *pending.Transaction, data json.RawMessage) (*editable, error) {
	var s Start
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, err
	}
	modules, err := steps[AddModule](of)
	if err != nil {
		return nil, err
	}
	body := ExecutedObsUnitStart{
		ID: &s.ID, ObsUnitID: s.ObsUnitID, StartTime: &s.StartTime, AzimuthRangeID: s.AzimuthRangeID,
		PreScheduledSlotID: s.PreScheduledSlotID, Conditions: s.Conditions, Comment: &s.Comment,
	}
	for _, m := range modules {
		body.ModuleConfigurationIDs = append(body.ModuleConfigurationIDs, m.InstrumentModuleConfigurationID)
	}
	return &editable{body, func(m *Module, edited json.RawMessage) (build, error) {
		b, err := api.ReadBody[ExecutedObsUnitStart](inRequest, edited)
		if err != nil {
			return nil, err
		}
		if err := sameID(inRequest+".id", b.ID, s.ID); err != nil {
			return nil, err
		}
		if err := checkFree(inRequest+".conditions", b.Conditions); err != nil {
			return nil, err
		}
		return func(ctx context.Context, tx *txn.Builder) error { return m.buildStart(ctx, tx, b) }, nil
	}}, nil
}

func finishRequest(_ *pending.Transaction, data json.RawMessage) (*editable, error) {
	var s Finish
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, err
	}
	body := ExecutedObsUnitFinish{
		Status: string(s.Status), EndTime: &s.EndTime, MeanAzimuthDeg: s.MeanAzimuthDeg, MeanElevationDeg: s.MeanElevationDeg,
		PwvMm: s.PwvMm, Comment: s.Comment,
	}
	if s.SetConditions {
		body.Conditions = s.Conditions
	}
	return &editable{body, func(m *Module, edited json.RawMessage) (build, error) {
		b, err := api.ReadBody[ExecutedObsUnitFinish](inRequest, edited)
		if err != nil {
			return nil, err
		}
		if err := checkFree(inRequest+".conditions", b.Conditions); err != nil {
			return nil, err
		}
		return func(ctx context.Context, tx *txn.Builder) error {
			_, err := m.buildFinish(ctx, tx, s.ID, version{}, b)
			return err
		}, nil
	}}, nil
}

// patchRequest is the change of an execution. Its conditions are those that it was to
// leave, whole: the patch that led to them is not kept.
func patchRequest(_ *pending.Transaction, data json.RawMessage) (*editable, error) {
	var s Patch
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, err
	}
	var body ExecutedObsUnitPatch
	if s.SetComment {
		body.Comment = api.Some(api.Or(s.Comment, ""))
	}
	if s.SetConditions {
		body.Conditions = api.Some(object(s.Conditions))
	}
	return &editable{body, func(m *Module, edited json.RawMessage) (build, error) {
		b, err := api.ReadBody[ExecutedObsUnitPatch](inRequest, edited)
		if err != nil {
			return nil, err
		}
		if err := checkFree(inRequest+".conditions", b.Conditions.Value); err != nil {
			return nil, err
		}
		return func(ctx context.Context, tx *txn.Builder) error {
			_, err := m.buildPatch(ctx, tx, s.ID, version{}, b)
			return err
		}, nil
	}}, nil
}

func fileRequest(of *pending.Transaction, data json.RawMessage) (*editable, error) {
	var s CreateFile
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, err
	}
	copies, err := steps[CreateFileCopy](of)
	if err != nil {
		return nil, err
	}
	body := RawDataFileCreate{
		ID: &s.ID, ExecutedObsUnitID: s.ExecutedObsUnitID, InstrumentModuleID: s.InstrumentModuleID, Name: s.Name, RelativePath: s.RelativePath,
		FileType: s.FileType, SizeBytes: s.SizeBytes, ChecksumAlgorithm: s.ChecksumAlgorithm, Checksum: s.Checksum, StartTime: s.StartTime, EndTime: s.EndTime,
	}
	if len(copies) > 0 {
		body.DataLocationID = &copies[0].DataLocationID
	}
	return &editable{body, func(m *Module, edited json.RawMessage) (build, error) {
		b, err := api.ReadBody[RawDataFileCreate](inRequest, edited)
		if err != nil {
			return nil, err
		}
		if err := sameID(inRequest+".id", b.ID, s.ID); err != nil {
			return nil, err
		}
		at := func(_ int, member string) string { return inRequest + "." + member }
		return filesBuild(m, []RawDataFileCreate{*b}, at)
	}}, nil
}

func filesRequest(of *pending.Transaction, data json.RawMessage) (*editable, error) {
	var s CreateFiles
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, err
	}
	copies, err := steps[CreateFileCopies](of)
	if err != nil {
		return nil, err
	}
	locations := map[uuid.UUID]*int64{}
	for _, c := range copies {
		for i, id := range c.RawDataFileID {
			locations[id] = &c.DataLocationID[i]
		}
	}
	body := make(map[uuid.UUID]RawDataFileCreate, len(s.ID))
	for i, id := range s.ID {
		f := RawDataFileCreate{
			ID: &id, ExecutedObsUnitID: s.ExecutedObsUnitID[i], InstrumentModuleID: s.InstrumentModuleID[i], Name: s.Name[i], RelativePath: s.RelativePath[i],
			FileType: s.FileType[i], SizeBytes: s.SizeBytes[i], ChecksumAlgorithm: s.ChecksumAlgorithm[i], Checksum: s.Checksum[i], DataLocationID: locations[id],
		}
		for to, text := range map[**time.Time]string{&f.StartTime: s.StartTime[i], &f.EndTime: s.EndTime[i]} {
			if text == "" {
				continue
			}
			t, err := time.Parse(time.RFC3339Nano, text)
			if err != nil {
				return nil, err
			}
			*to = &t
		}
		body[id] = f
	}
	return &editable{body, func(m *Module, edited json.RawMessage) (build, error) {
		var given map[string]json.RawMessage
		if err := json.Unmarshal(edited, &given); err != nil {
			return nil, problem.Invalid.Field(inRequest, nil, "must be an object of files by their ids")
		}
		files := make([]RawDataFileCreate, len(s.ID))
		for i, id := range s.ID {
			member := inRequest + "." + id.String()
			one, there := given[id.String()]
			if !there {
				return nil, problem.Invalid.Field(member, nil, "every file of the request keeps its place in it")
			}
			f, err := api.ReadBody[RawDataFileCreate](member, one)
			if err != nil {
				return nil, err
			}
			if err := sameID(member+".id", f.ID, id); err != nil {
				return nil, err
			}
			files[i] = *f
		}
		if len(given) > len(files) {
			return nil, problem.Invalid.Field(inRequest, nil, "no file can be added to the request")
		}
		at := func(n int, member string) string { return inRequest + "." + s.ID[n].String() + "." + member }
		return filesBuild(m, files, at)
	}}, nil
}

func filesBuild(m *Module, files []RawDataFileCreate, at place) (build, error) {
	if err := checkFiles(files, at); err != nil {
		return nil, err
	}
	return func(ctx context.Context, tx *txn.Builder) error { return m.buildFiles(ctx, tx, files, at) }, nil
}

func packageRequest(of *pending.Transaction, data json.RawMessage) (*editable, error) {
	var s CreatePackage
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, err
	}
	metadata, err := steps[SetPackageMetadata](of)
	if err != nil {
		return nil, err
	}
	body := RawDataPackageCreate{
		ID: &s.ID, ExecutedObsUnitID: s.ExecutedObsUnitID, InstrumentModuleID: s.InstrumentModuleID, Name: &s.Name, RelativePath: &s.RelativePath,
	}
	if body.FileIDs, err = linkedFiles(of); err != nil {
		return nil, err
	}
	if len(metadata) > 0 {
		body.Metadata = metadata[0].Metadata
	}
	return &editable{body, func(m *Module, edited json.RawMessage) (build, error) {
		b, err := api.ReadBody[RawDataPackageCreate](inRequest, edited)
		if err != nil {
			return nil, err
		}
		if err := sameID(inRequest+".id", b.ID, s.ID); err != nil {
			return nil, err
		}
		if err := checkPackage(b); err != nil {
			return nil, err
		}
		if b.FileIDs == nil {
			b.FileIDs = []uuid.UUID{} // none: absent would mean all that are free by now
		}
		return func(ctx context.Context, tx *txn.Builder) error {
			_, err := m.buildPackage(ctx, tx, b)
			return err
		}, nil
	}}, nil
}

func finalizeRequest(of *pending.Transaction, data json.RawMessage) (*editable, error) {
	var s FinalizePackage
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, err
	}
	body := RawDataPackageFinalize{SizeBytes: s.SizeBytes, ChecksumAlgorithm: s.ChecksumAlgorithm, Checksum: s.Checksum}
	var err error
	if body.FileIDs, err = linkedFiles(of); err != nil {
		return nil, err
	}
	return &editable{body, func(m *Module, edited json.RawMessage) (build, error) {
		b, err := api.ReadBody[RawDataPackageFinalize](inRequest, edited)
		if err != nil {
			return nil, err
		}
		if message := checksumFault(b.ChecksumAlgorithm, b.Checksum); message != "" {
			return nil, problem.Invalid.Field(inRequest+".checksum", b.Checksum, "%s", message)
		}
		b.Checksum = strings.ToLower(b.Checksum)
		return func(ctx context.Context, tx *txn.Builder) error {
			_, err := m.buildFinalize(ctx, tx, s.ID, version{}, b)
			return err
		}, nil
	}}, nil
}

// linkedFiles are the files that a transaction puts into a package, nil for none.
func linkedFiles(of *pending.Transaction) ([]uuid.UUID, error) {
	links, err := steps[LinkFiles](of)
	if err != nil {
		return nil, err
	}
	var ids []uuid.UUID
	for _, l := range links {
		ids = slices.Concat(ids, l.ID)
	}
	return ids, nil
}
