package observations

import (
	"encoding/json"
	"time"

	"github.com/google/uuid"

	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/pending"
)

// ExecutedObsUnitStart is the body that starts an execution.
type ExecutedObsUnitStart struct {
	ID                     *uuid.UUID      `json:"id,omitempty" doc:"Made by the client; absent: made here."`
	ObsUnitID              int64           `json:"obs_unit_id" doc:"The planned unit that is observed."`
	StartTime              *time.Time      `json:"start_time,omitempty" doc:"When it began; absent: now."`
	ModuleConfigurationIDs []int64         `json:"module_configuration_ids,omitempty" maxItems:"1000" doc:"The module configurations that take part."`
	AzimuthRangeID         *int64          `json:"azimuth_range_id,omitempty" doc:"The azimuth range of the unit that is scanned."`
	PreScheduledSlotID     *int64          `json:"pre_scheduled_slot_id,omitempty" doc:"The slot it was scheduled in."`
	Conditions             json.RawMessage `json:"conditions,omitempty" doc:"What is known of the conditions; free JSON of at most 256 KiB, its numbers written out (1e6 counts as 1000000)."`
	Comment                *string         `json:"comment,omitempty" maxLength:"20000" doc:"What the observer has to say."`
}

// ExecutedObsUnitFinish is the body that closes an execution.
type ExecutedObsUnitFinish struct {
	Status           string          `json:"status" enum:"completed,aborted,failed" doc:"How it ended."`
	EndTime          *time.Time      `json:"end_time,omitempty" doc:"When it ended; absent: now. Not before its start."`
	MeanAzimuthDeg   *float64        `json:"mean_azimuth_deg,omitempty" minimum:"-360" maximum:"360" doc:"Mean azimuth, degrees, north through east; absent: unchanged."`
	MeanElevationDeg *float64        `json:"mean_elevation_deg,omitempty" minimum:"-90" maximum:"90" doc:"Mean elevation, degrees; absent: unchanged."`
	PwvMm            *float64        `json:"pwv_mm,omitempty" minimum:"0" doc:"Precipitable water vapour, mm; absent: unchanged."`
	Conditions       json.RawMessage `json:"conditions,omitempty" doc:"Takes the place of the conditions, at most 256 KiB of JSON; absent: unchanged."`
	Comment          *string         `json:"comment,omitempty" maxLength:"20000" doc:"Takes the place of the comment; absent: unchanged."`
}

// ExecutedObsUnitPatch is the body that changes an execution, a JSON merge patch.
type ExecutedObsUnitPatch struct {
	Comment    api.Optional[string]          `json:"comment,omitzero" maxLength:"20000" doc:"The comment; null clears it."`
	Conditions api.Optional[json.RawMessage] `json:"conditions,omitzero" doc:"Merged into the conditions member by member, at most 256 KiB of JSON in the end; null clears them."`
}

// RawDataFileCreate is the body that registers a file.
type RawDataFileCreate struct {
	ID                 *uuid.UUID `json:"id,omitempty" doc:"Made by the client; absent: made here."`
	ExecutedObsUnitID  uuid.UUID  `json:"executed_obs_unit_id" doc:"The execution it was written in, whatever its status."`
	InstrumentModuleID int64      `json:"instrument_module_id" doc:"The module that wrote it."`
	Name               string     `json:"name" minLength:"1" maxLength:"2048" doc:"The file's name: one segment of a path, at most 2048 bytes."`
	RelativePath       string     `json:"relative_path" minLength:"1" maxLength:"2048" doc:"Its path below the module's data location, such as 17841/a.g3: no empty, . or .. segment, no backslash, at most 2048 bytes; unique in its execution."`
	FileType           string     `json:"file_type" enum:"g3,fits,hdf5,other" doc:"The format of its contents."`
	SizeBytes          int64      `json:"size_bytes" minimum:"0" doc:"Its size in bytes."`
	ChecksumAlgorithm  string     `json:"checksum_algorithm" enum:"xxh64,sha256" doc:"How the checksum was made."`
	Checksum           string     `json:"checksum" minLength:"16" maxLength:"64" doc:"The checksum of its contents: hexadecimal, 16 digits for xxh64, 64 for sha256; kept in lower case."`
	StartTime          *time.Time `json:"start_time,omitempty" doc:"The time of its first sample."`
	EndTime            *time.Time `json:"end_time,omitempty" doc:"The time of its last sample."`
	DataLocationID     *int64     `json:"data_location_id,omitempty" doc:"Where it lies, at relative_path; its physical copy is recorded with it."`
}

// RawDataFileBulkResult answers a bulk registration.
type RawDataFileBulkResult struct {
	Count int           `json:"count" doc:"How many files were registered."`
	IDs   []uuid.UUID   `json:"ids" doc:"Their ids, in the order of the body."`
	Sync  *pending.Sync `json:"sync" doc:"How far the registration has come."`
}

// RawDataPackageCreate is the body that opens a package.
type RawDataPackageCreate struct {
	ID                 *uuid.UUID      `json:"id,omitempty" doc:"Made by the client; absent: made here."`
	ExecutedObsUnitID  uuid.UUID       `json:"executed_obs_unit_id" doc:"The execution whose files it holds."`
	InstrumentModuleID int64           `json:"instrument_module_id" doc:"The module whose files it holds."`
	Name               *string         `json:"name,omitempty" minLength:"1" maxLength:"2048" doc:"Its name, one segment of a path, unique; absent: made of obs unit, start, module and a number."`
	RelativePath       *string         `json:"relative_path,omitempty" minLength:"1" maxLength:"2048" doc:"Its path below a data location; absent: the name."`
	FileIDs            []uuid.UUID     `json:"file_ids,omitempty" doc:"Its files; absent: all files of the execution and module that are in no package."`
	Metadata           json.RawMessage `json:"metadata,omitempty" doc:"What else is known of it; free JSON of at most 256 KiB, its numbers written out (1e6 counts as 1000000)."`
}

// RawDataPackageFinalize is the body that completes a package.
type RawDataPackageFinalize struct {
	SizeBytes         int64       `json:"size_bytes" minimum:"0" doc:"The size of the package in bytes."`
	ChecksumAlgorithm string      `json:"checksum_algorithm" enum:"xxh64,sha256" doc:"How the checksum was made."`
	Checksum          string      `json:"checksum" minLength:"16" maxLength:"64" doc:"The checksum of the package: hexadecimal, 16 digits for xxh64, 64 for sha256; kept in lower case."`
	FileIDs           []uuid.UUID `json:"file_ids,omitempty" doc:"Files to add to it; those it has already may be among them."`
}
