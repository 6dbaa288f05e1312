package instruments

import "github.com/opsdb/opsdb/platform/problem"

// Problems maps the constraints of this module's tables to what they mean to a client.
var Problems = problem.Set{
	Constraints: map[string]problem.Constraint{
		"observatory_name_check":       {Kind: problem.Invalid, Field: "body.name", Message: "1-255 characters"},
		"observatory_short_name_check": {Kind: problem.Invalid, Field: "body.short_name", Message: "1-63 characters"},
		"observatory_pkey":             {Kind: problem.Conflict, Message: "the observatory exists already"},
		"observatory_name_key":         {Kind: problem.Conflict, Field: "body.name", Message: "the name is taken"},
		"observatory_short_name_key":   {Kind: problem.Conflict, Field: "body.short_name", Message: "the short name is taken"},

		"telescope_elevation_min_deg_elevation_max_deg_check": {Kind: problem.Invalid, Field: "body.elevation_min_deg", Message: "elevations lie between 0 and 90 degrees, the minimum not above the maximum"},
		"telescope_latitude_deg_check":                        {Kind: problem.Invalid, Field: "body.latitude_deg", Message: "-90 to 90 degrees"},
		"telescope_longitude_deg_check":                       {Kind: problem.Invalid, Field: "body.longitude_deg", Message: "-180 to 180 degrees"},
		"telescope_name_check":                                {Kind: problem.Invalid, Field: "body.name", Message: "1-255 characters"},
		"telescope_short_name_check":                          {Kind: problem.Invalid, Field: "body.short_name", Message: "1-63 characters"},
		"telescope_observatory_id_fkey":                       {Kind: problem.Invalid, Field: "body.observatory_id", Message: "there is no such observatory"},
		"telescope_pkey":                                      {Kind: problem.Conflict, Message: "the telescope exists already"},
		"telescope_observatory_id_name_key":                   {Kind: problem.Conflict, Field: "body.name", Message: "the name is taken"},
		"telescope_short_name_key":                            {Kind: problem.Conflict, Field: "body.short_name", Message: "the short name is taken"},

		"instrument_name_check":            {Kind: problem.Invalid, Field: "body.name", Message: "1-255 characters"},
		"instrument_telescope_id_fkey":     {Kind: problem.Invalid, Field: "body.telescope_id", Message: "there is no such telescope"},
		"instrument_pkey":                  {Kind: problem.Conflict, Message: "the instrument exists already"},
		"instrument_telescope_id_name_key": {Kind: problem.Conflict, Field: "body.name", Message: "the name is taken"},

		"instrument_module_beam_fwhm_arcsec_check":                    {Kind: problem.Invalid, Field: "body.beam_fwhm_arcsec", Message: "above 0"},
		"instrument_module_frequency_min_ghz_frequency_max_ghz_check": {Kind: problem.Invalid, Field: "body.frequency_min_ghz", Message: "the lower edge of the band is above the upper one"},
		"instrument_module_name_check":                                {Kind: problem.Invalid, Field: "body.name", Message: "1-255 characters"},
		"instrument_module_pixel_count_check":                         {Kind: problem.Invalid, Field: "body.pixel_count", Message: "at least 1"},
		"instrument_module_instrument_id_fkey":                        {Kind: problem.Invalid, Field: "body.instrument_id", Message: "there is no such instrument"},
		"instrument_module_pkey":                                      {Kind: problem.Conflict, Message: "the instrument module exists already"},
		"instrument_module_instrument_id_name_key":                    {Kind: problem.Conflict, Field: "body.name", Message: "the name is taken"},

		"spectral_line_name_check":               {Kind: problem.Invalid, Field: "body.name", Message: "1-255 characters"},
		"spectral_line_rest_frequency_ghz_check": {Kind: problem.Invalid, Field: "body.rest_frequency_ghz", Message: "above 0"},
		"spectral_line_pkey":                     {Kind: problem.Conflict, Message: "the spectral line exists already"},
		"spectral_line_name_key":                 {Kind: problem.Conflict, Field: "body.name", Message: "the name is taken"},

		"instrument_module_configuration_center_frequency_ghz_check":    {Kind: problem.Invalid, Field: "body.center_frequency_ghz", Message: "above 0"},
		"instrument_module_configuration_name_check":                    {Kind: problem.Invalid, Field: "body.name", Message: "1-255 characters"},
		"instrument_module_configuration_sideband_check":                {Kind: problem.Invalid, Field: "body.sideband", Message: "usb or lsb"},
		"instrument_module_configuration_instrument_module_id_fkey":     {Kind: problem.Invalid, Field: "body.instrument_module_id", Message: "there is no such instrument module"},
		"instrument_module_configuration_line_id_fkey":                  {Kind: problem.Invalid, Field: "body.line_id", Message: "there is no such spectral line"},
		"instrument_module_configuration_pkey":                          {Kind: problem.Conflict, Message: "the module configuration exists already"},
		"instrument_module_configuration_instrument_module_id_name_key": {Kind: problem.Conflict, Field: "body.name", Message: "the name is taken"},
	},
}
