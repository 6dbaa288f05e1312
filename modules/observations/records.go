package observations

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/opsdb/opsdb/modules/observations/internal/db"
	"github.com/opsdb/opsdb/platform/pending"
)

// ExecutedObsUnit is one actual observation of a planned obs unit, as clients see
// it. A field that the record must have is null only in the answer to a write that
// was accepted while the site's replica could not be read.
type ExecutedObsUnit struct {
	ID                 uuid.UUID       `json:"id" doc:"The execution's id, a UUID."`
	ObsUnitID          *int64          `json:"obs_unit_id" doc:"The planned unit that is observed."`
	AzimuthRangeID     *int64          `json:"azimuth_range_id" doc:"The azimuth range of the unit that is scanned."`
	PreScheduledSlotID *int64          `json:"pre_scheduled_slot_id" doc:"The slot it was scheduled in."`
	Status             *string         `json:"status" enum:"running,completed,aborted,failed" doc:"How it stands."`
	StartTime          *time.Time      `json:"start_time" doc:"When it began."`
	EndTime            *time.Time      `json:"end_time" doc:"When it ended; null while it runs."`
	MeanAzimuthDeg     *float64        `json:"mean_azimuth_deg" doc:"Mean azimuth, degrees, north through east."`
	MeanElevationDeg   *float64        `json:"mean_elevation_deg" doc:"Mean elevation, degrees."`
	PwvMm              *float64        `json:"pwv_mm" doc:"Precipitable water vapour, mm."`
	Conditions         json.RawMessage `json:"conditions" nullable:"true" doc:"What else is known of the conditions; free JSON."`
	Comment            *string         `json:"comment" doc:"What the observer had to say."`
	RecordedBy         *int64          `json:"recorded_by" doc:"The user who filed it."`
	OriginSiteID       *int64          `json:"origin_site_id" doc:"The site where it was filed."`
	Site               *string         `json:"site" doc:"The short name of that site."`
	Version            *int32          `json:"version" doc:"Counts the changes of the record, from 1."`
	CreatedAt          *time.Time      `json:"created_at" doc:"When it was filed."`
	UpdatedAt          *time.Time      `json:"updated_at" doc:"When it was last changed."`
	Sync               *pending.Sync   `json:"sync" doc:"How far its newest change has come."`
}

// ExecutedObsUnitDetail is an execution with what belongs to it.
type ExecutedObsUnitDetail struct {
	ExecutedObsUnit
	ModuleConfigurationIDs []int64          `json:"module_configuration_ids" doc:"The module configurations that took part."`
	Packages               []RawDataPackage `json:"packages" doc:"Its packages, newest first, at most 500."`
	Files                  []RawDataFile    `json:"files" doc:"Its files, newest first, at most 100; file_count tells all."`
	FileCount              int64            `json:"file_count" doc:"How many files it has."`
}

// RawDataFile is one file that an instrument module has written, as clients see it.
type RawDataFile struct {
	ID                 uuid.UUID     `json:"id" doc:"The file's id, a UUID."`
	ExecutedObsUnitID  uuid.UUID     `json:"executed_obs_unit_id" doc:"The execution it was written in."`
	InstrumentModuleID int64         `json:"instrument_module_id" doc:"The module that wrote it."`
	RawDataPackageID   *uuid.UUID    `json:"raw_data_package_id" doc:"The package it is in; null while it is in none."`
	Name               string        `json:"name" doc:"The file's name."`
	RelativePath       string        `json:"relative_path" doc:"Its path below the module's data location; unique in its execution."`
	FileType           string        `json:"file_type" enum:"g3,fits,hdf5,other" doc:"The format of its contents."`
	SizeBytes          int64         `json:"size_bytes" doc:"Its size in bytes."`
	ChecksumAlgorithm  string        `json:"checksum_algorithm" enum:"xxh64,sha256" doc:"How the checksum was made."`
	Checksum           string        `json:"checksum" doc:"The checksum of its contents."`
	StartTime          *time.Time    `json:"start_time" doc:"The time of its first sample."`
	EndTime            *time.Time    `json:"end_time" doc:"The time of its last sample."`
	CreatedAt          time.Time     `json:"created_at" doc:"When it was registered."`
	UpdatedAt          time.Time     `json:"updated_at" doc:"When its record was last changed."`
	Sync               *pending.Sync `json:"sync" doc:"How far its newest change has come."`
}

// RawDataFileDetail is a file with the places where it lies.
type RawDataFileDetail struct {
	RawDataFile
	PhysicalCopies []FileCopy `json:"physical_copies" doc:"Where the file lies, oldest copy first."`
}

// FileCopy is one copy of a file at a data location, as clients see it with the file.
type FileCopy struct {
	ID             uuid.UUID     `json:"id" doc:"The copy's id, a UUID."`
	DataLocationID int64         `json:"data_location_id" doc:"The location that holds it."`
	Path           string        `json:"path" doc:"Its path there."`
	Status         string        `json:"status" enum:"present,staged,deletion_possible,deletion_scheduled,deletion_in_progress,deleted,deletion_failed" doc:"What has become of it."`
	SizeBytes      *int64        `json:"size_bytes" doc:"Its size in bytes."`
	Checksum       *string       `json:"checksum" doc:"Its checksum as verified there."`
	VerifiedAt     *time.Time    `json:"verified_at" doc:"When it was verified."`
	CreatedAt      time.Time     `json:"created_at" doc:"When it was recorded."`
	UpdatedAt      time.Time     `json:"updated_at" doc:"When its record was last changed."`
	Sync           *pending.Sync `json:"sync" doc:"How far its newest change has come."`
}

// RawDataPackage is the raw files of one execution and instrument module, packed
// for transfer and archive, as clients see it. A field that the record must have is
// null only in the answer to a write that was accepted while the site's replica
// could not be read.
type RawDataPackage struct {
	ID                    uuid.UUID     `json:"id" doc:"The package's id, a UUID."`
	ExecutedObsUnitID     *uuid.UUID    `json:"executed_obs_unit_id" doc:"The execution whose files it holds."`
	InstrumentModuleID    *int64        `json:"instrument_module_id" doc:"The module whose files it holds."`
	Sequence              *int32        `json:"sequence" doc:"Counts the packages of one execution and module, from 1."`
	Name                  *string       `json:"name" doc:"Its name, unique."`
	RelativePath          *string       `json:"relative_path" doc:"Its path below a data location."`
	SizeBytes             *int64        `json:"size_bytes" doc:"Its size in bytes; null until it is built."`
	FileCount             *int32        `json:"file_count" doc:"How many files it holds."`
	ChecksumAlgorithm     *string       `json:"checksum_algorithm" enum:"xxh64,sha256" doc:"How the checksum was made."`
	Checksum              *string       `json:"checksum" doc:"The checksum of the package; null until it is built."`
	Status                *string       `json:"status" enum:"pending,scheduled,in_progress,completed,failed,cancelled" doc:"How far its building has come."`
	State                 *string       `json:"state" enum:"waiting,transferring,archived,failed" doc:"How far its way to the archives has come."`
	DataTransferPackageID *uuid.UUID    `json:"data_transfer_package_id" doc:"The bundle it travels in now."`
	RetryCount            *int32        `json:"retry_count" doc:"How often building was tried again."`
	FailureMessage        *string       `json:"failure_message" doc:"Why it failed."`
	Version               *int32        `json:"version" doc:"Counts the changes of the record, from 1."`
	CreatedAt             *time.Time    `json:"created_at" doc:"When it was opened."`
	UpdatedAt             *time.Time    `json:"updated_at" doc:"When it was last changed."`
	Sync                  *pending.Sync `json:"sync" doc:"How far its newest change has come."`
}

// RawDataPackageDetail is a package with its files and metadata.
type RawDataPackageDetail struct {
	RawDataPackage
	Metadata json.RawMessage `json:"metadata" nullable:"true" doc:"What else is known of it; free JSON, null when nothing is."`
	Files    []RawDataFile   `json:"files" doc:"Its files, newest first, at most 10,000."`
}

// executionOf shows a row of executed_obs_unit.
func executionOf(r *db.GetExecutedObsUnitRow, sync pending.Sync) ExecutedObsUnit {
	return ExecutedObsUnit{
		ID: r.ID, ObsUnitID: &r.ObsUnitID, AzimuthRangeID: r.AzimuthRangeID, PreScheduledSlotID: r.PreScheduledSlotID,
		Status: (*string)(&r.Status), StartTime: &r.StartTime, EndTime: r.EndTime,
		MeanAzimuthDeg: r.MeanAzimuthDeg, MeanElevationDeg: r.MeanElevationDeg, PwvMm: r.PwvMm,
		Conditions: r.Conditions, Comment: &r.Comment, RecordedBy: r.RecordedBy, OriginSiteID: &r.OriginSiteID, Site: r.Site,
		Version: &r.Version, CreatedAt: &r.CreatedAt, UpdatedAt: &r.UpdatedAt, Sync: sync.Shown(),
	}
}

// fileOf shows a row of raw_data_file.
func fileOf(r *db.RawDataFile, sync pending.Sync) RawDataFile {
	return RawDataFile{
		ID: r.ID, ExecutedObsUnitID: r.ExecutedObsUnitID, InstrumentModuleID: r.InstrumentModuleID, RawDataPackageID: r.RawDataPackageID,
		Name: r.Name, RelativePath: r.RelativePath, FileType: r.FileType, SizeBytes: r.SizeBytes,
		ChecksumAlgorithm: r.ChecksumAlgorithm, Checksum: r.Checksum, StartTime: r.StartTime, EndTime: r.EndTime,
		CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt, Sync: sync.Shown(),
	}
}

// copyOf shows a row of physical_copy.
func copyOf(r *db.PhysicalCopy, sync pending.Sync) FileCopy {
	return FileCopy{
		ID: r.ID, DataLocationID: r.DataLocationID, Path: r.Path, Status: string(r.Status), SizeBytes: r.SizeBytes,
		Checksum: r.Checksum, VerifiedAt: r.VerifiedAt, CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt, Sync: sync.Shown(),
	}
}

// packageOf shows a row of raw_data_package.
func packageOf(r *db.RawDataPackage, sync pending.Sync) RawDataPackage {
	return RawDataPackage{
		ID: r.ID, ExecutedObsUnitID: &r.ExecutedObsUnitID, InstrumentModuleID: &r.InstrumentModuleID, Sequence: &r.Sequence,
		Name: &r.Name, RelativePath: &r.RelativePath, SizeBytes: r.SizeBytes, FileCount: &r.FileCount,
		ChecksumAlgorithm: r.ChecksumAlgorithm, Checksum: r.Checksum, Status: (*string)(&r.Status), State: (*string)(&r.State),
		DataTransferPackageID: r.DataTransferPackageID, RetryCount: &r.RetryCount, FailureMessage: r.FailureMessage,
		Version: &r.Version, CreatedAt: &r.CreatedAt, UpdatedAt: &r.UpdatedAt, Sync: sync.Shown(),
	}
}

// decode reads the columns of a pending row; what they do not name stays as it is in v.
func decode(columns json.RawMessage, v any) error {
	if err := json.Unmarshal(columns, v); err != nil {
		return fmt.Errorf("reading a pending row: %w", err)
	}
	return nil
}
