package observations

import (
	"net/http"

	"github.com/opsdb/opsdb/platform/problem"
)

// The problems of this module.
var (
	// ObservationNotRunning: an execution can be finished once.
	ObservationNotRunning = &problem.Kind{Code: "observation-not-running", Status: http.StatusConflict, Title: "The observation is not running",
		Doc: "An execution is finished once, while it is running. Read it to see how and when it ended; a comment or conditions can still be changed with PATCH."}
	// FileExists: an execution has each relative path once.
	FileExists = &problem.Kind{Code: "file-exists", Status: http.StatusConflict, Title: "The file is registered already",
		Doc: "The execution has a file with this `relative_path` already. A client that repeats a request after a lost answer should send the same `Idempotency-Key`: it then gets the first answer again."}
	// FileInPackage: a file is in at most one package.
	FileInPackage = &problem.Kind{Code: "file-in-package", Status: http.StatusConflict, Title: "A file is in a package already",
		Doc: "A file can be put into a package once, and only into one of its own execution and instrument module. `GET /raw_data_files?unpackaged=true` lists those that are free."}
	// PackageExists: package names, and sequences within an execution and module, are unique.
	PackageExists = &problem.Kind{Code: "package-exists", Status: http.StatusConflict, Title: "The package exists already",
		Doc: "A package has this `name` already, or this number in its execution and instrument module. Leave `name` out to get a free one."}
	// PackageNotOpen: a package is finalized once.
	PackageNotOpen = &problem.Kind{Code: "package-not-open", Status: http.StatusConflict, Title: "The package is not open",
		Doc: "A package is finalized once, while it is pending, scheduled or in progress. Read it to see what has become of it."}
	// PackageTooLarge: packages have an upper size.
	PackageTooLarge = &problem.Kind{Code: "package-too-large", Status: http.StatusUnprocessableEntity, Title: "The package would be too large",
		Doc: "The files of a package may have `PACKAGE_MAX_BYTES` together. Name fewer of them in `file_ids`, and put the others into a further package."}
	// CopyExists: a data location holds each object once.
	CopyExists = &problem.Kind{Code: "copy-exists", Status: http.StatusConflict, Title: "The location has a copy already",
		Doc: "A data location holds at most one copy of a file or package that is not deleted."}
)

// PackageWarnBytes is the size above which a new package is answered with a warning.
const PackageWarnBytes = 50_000_000_000

// Problems are the problems of this module and what its tables' constraints mean.
var Problems = problem.Set{
	Kinds: []*problem.Kind{ObservationNotRunning, FileExists, FileInPackage, PackageExists, PackageNotOpen, PackageTooLarge, CopyExists},
	Constraints: map[string]problem.Constraint{
		"executed_obs_unit_pkey":                                          {Kind: problem.IDTaken, Field: "body.id", Message: "another execution has this id"},
		"executed_obs_unit_obs_unit_id_fkey":                              {Kind: problem.Invalid, Field: "body.obs_unit_id", Message: "there is no such obs unit"},
		"executed_obs_unit_azimuth_range_id_fkey":                         {Kind: problem.Invalid, Field: "body.azimuth_range_id", Message: "there is no such azimuth range"},
		"executed_obs_unit_pre_scheduled_slot_id_fkey":                    {Kind: problem.Invalid, Field: "body.pre_scheduled_slot_id", Message: "there is no such slot"},
		"executed_obs_unit_recorded_by_fkey":                              {Kind: problem.Conflict, Message: "the user who recorded the execution no longer exists"},
		"executed_obs_unit_origin_site_id_fkey":                           {Kind: problem.Conflict, Message: "the site that filed the execution is not known at the primary"},
		"executed_obs_unit_start_time_end_time_check":                     {Kind: problem.Invalid, Field: "body.end_time", Message: "an execution cannot end before its start"},
		"executed_obs_unit_status_end_time_check":                         {Kind: problem.Invalid, Field: "body.status", Message: "a running execution has no end, any other has one"},
		"executed_obs_unit_module_pkey":                                   {Kind: problem.Invalid, Field: "body.module_configuration_ids", Message: "a module configuration is named twice"},
		"executed_obs_unit_module_executed_obs_unit_id_fkey":              {Kind: problem.Conflict, Message: "the execution does not exist"},
		"executed_obs_unit_module_instrument_module_configuration_i_fkey": {Kind: problem.Invalid, Field: "body.module_configuration_ids", Message: "there is no such module configuration"},

		"raw_data_file_pkey":                                   {Kind: problem.IDTaken, Field: "body.id", Message: "another file has this id"},
		"raw_data_file_executed_obs_unit_id_fkey":              {Kind: problem.Invalid, Field: "body.executed_obs_unit_id", Message: "there is no such execution"},
		"raw_data_file_instrument_module_id_fkey":              {Kind: problem.Invalid, Field: "body.instrument_module_id", Message: "there is no such instrument module"},
		"raw_data_file_raw_data_package_id_fkey":               {Kind: problem.Conflict, Message: "the package does not exist"},
		"raw_data_file_executed_obs_unit_id_relative_path_key": {Kind: FileExists, Field: "body.relative_path", Message: "the execution has a file with this path already"},
		"raw_data_file_relative_path_check":                    {Kind: problem.Invalid, Field: "body.relative_path", Message: "a path has 1 to 2048 bytes"},
		"raw_data_file_file_type_check":                        {Kind: problem.Invalid, Field: "body.file_type", Message: "it is g3, fits, hdf5 or other"},
		"raw_data_file_size_bytes_check":                       {Kind: problem.Invalid, Field: "body.size_bytes", Message: "a size cannot be negative"},
		"raw_data_file_checksum_algorithm_check":               {Kind: problem.Invalid, Field: "body.checksum_algorithm", Message: "it is xxh64 or sha256"},

		"raw_data_package_pkey":                                           {Kind: problem.IDTaken, Field: "body.id", Message: "another package has this id"},
		"raw_data_package_executed_obs_unit_id_fkey":                      {Kind: problem.Invalid, Field: "body.executed_obs_unit_id", Message: "there is no such execution"},
		"raw_data_package_instrument_module_id_fkey":                      {Kind: problem.Invalid, Field: "body.instrument_module_id", Message: "there is no such instrument module"},
		"raw_data_package_data_transfer_package_id_fkey":                  {Kind: problem.Conflict, Message: "the transfer package does not exist"},
		"raw_data_package_executed_obs_unit_id_instrument_module_id__key": {Kind: PackageExists, Message: "the execution and instrument module have a package with this number already"},
		"raw_data_package_name_key":                                       {Kind: PackageExists, Field: "body.name", Message: "another package has this name"},
		"raw_data_package_name_check":                                     {Kind: problem.Invalid, Field: "body.name", Message: "a name has 1 to 2048 bytes"},
		"raw_data_package_sequence_check":                                 {Kind: problem.Invalid, Field: "body.sequence", Message: "packages are counted from 1"},
		"raw_data_package_size_bytes_check":                               {Kind: problem.Invalid, Field: "body.size_bytes", Message: "a size cannot be negative"},
		"raw_data_package_file_count_check":                               {Kind: problem.Invalid, Field: "body.file_ids", Message: "a package cannot have fewer than no files"},
		"raw_data_package_checksum_algorithm_check":                       {Kind: problem.Invalid, Field: "body.checksum_algorithm", Message: "it is xxh64 or sha256"},
		"raw_data_package_checksum_algorithm_checksum_check":              {Kind: problem.Invalid, Field: "body.checksum", Message: "a checksum needs its algorithm, and the reverse"},
		"raw_data_package_metadata_pkey":                                  {Kind: problem.Conflict, Message: "the package has metadata already"},
		"raw_data_package_metadata_raw_data_package_id_fkey":              {Kind: problem.Conflict, Message: "the package does not exist"},

		"physical_copy_pkey":                                          {Kind: problem.IDTaken, Field: "body.id", Message: "another copy has this id"},
		"physical_copy_raw_data_file_id_fkey":                         {Kind: problem.Invalid, Field: "body.raw_data_file_id", Message: "there is no such file"},
		"physical_copy_raw_data_package_id_fkey":                      {Kind: problem.Invalid, Field: "body.raw_data_package_id", Message: "there is no such package"},
		"physical_copy_data_transfer_package_id_fkey":                 {Kind: problem.Invalid, Field: "body.data_transfer_package_id", Message: "there is no such transfer package"},
		"physical_copy_data_location_id_fkey":                         {Kind: problem.Invalid, Field: "body.data_location_id", Message: "there is no such data location"},
		"physical_copy_kind_raw_data_file_id_check":                   {Kind: problem.Invalid, Field: "body.raw_data_file_id", Message: "it does not fit the kind of the copy"},
		"physical_copy_kind_raw_data_package_id_check":                {Kind: problem.Invalid, Field: "body.raw_data_package_id", Message: "it does not fit the kind of the copy"},
		"physical_copy_kind_data_transfer_package_id_check":           {Kind: problem.Invalid, Field: "body.data_transfer_package_id", Message: "it does not fit the kind of the copy"},
		"physical_copy_size_bytes_check":                              {Kind: problem.Invalid, Field: "body.size_bytes", Message: "a size cannot be negative"},
		"physical_copy_claimed_by_claimed_until_check":                {Kind: problem.Conflict, Message: "a claim has a worker and an end"},
		"physical_copy_raw_data_file_id_data_location_id_key":         {Kind: CopyExists, Field: "body.data_location_id", Message: "the location has a copy of the file already"},
		"physical_copy_raw_data_package_id_data_location_id_key":      {Kind: CopyExists, Field: "body.data_location_id", Message: "the location has a copy of the package already"},
		"physical_copy_data_transfer_package_id_data_location_id_key": {Kind: CopyExists, Field: "body.data_location_id", Message: "the location has a copy of the transfer package already"},
	},
}
