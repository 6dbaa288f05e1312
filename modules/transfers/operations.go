package transfers

import (
	"context"
	"net/http"
	"time"

	"github.com/opsdb/opsdb/modules/transfers/internal/db"
	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/record"
)

// Site is a place that runs opsdb or holds data.
type Site struct {
	ID           int64     `json:"id" doc:"The record's id."`
	Name         string    `json:"name" doc:"Its name, by which lists are ordered."`
	ShortName    string    `json:"short_name" doc:"SITE_NAME of its servers; it never changes."`
	Location     string    `json:"location" doc:"Where it is."`
	IsMain       bool      `json:"is_main" doc:"Whether this is the main site; exactly one is."`
	LatitudeDeg  *float64  `json:"latitude_deg" doc:"Latitude, degrees, north is positive."`
	LongitudeDeg *float64  `json:"longitude_deg" doc:"Longitude, degrees, east is positive."`
	Version      int32     `json:"version" doc:"Counts the changes of the record."`
	CreatedAt    time.Time `json:"created_at" doc:"When the record was made."`
	UpdatedAt    time.Time `json:"updated_at" doc:"When the record was changed last."`
}

// DataLocation is a place where copies of data lie: a disk, a bucket or a tape library of a site.
type DataLocation struct {
	ID             int64           `json:"id" doc:"The record's id."`
	SiteID         int64           `json:"site_id" doc:"The site."`
	InstrumentID   *int64          `json:"instrument_id" doc:"The instrument that writes there; sources only."`
	Name           string          `json:"name" doc:"Its name, by which lists are ordered."`
	LocationType   db.LocationType `json:"location_type" enum:"source,buffer,long_term_archive,processing" doc:"What data is there for."`
	StorageType    db.StorageType  `json:"storage_type" enum:"disk,s3,tape" doc:"How it is stored."`
	Priority       int32           `json:"priority" doc:"Lower comes first."`
	Active         bool            `json:"active" doc:"Whether it is in use."`
	Host           *string         `json:"host" doc:"Host of a disk."`
	Login          *string         `json:"login" doc:"Login at the host."`
	Path           *string         `json:"path" doc:"Path on the disk."`
	Bucket         *string         `json:"bucket" doc:"Bucket of an object store."`
	Endpoint       *string         `json:"endpoint" doc:"Endpoint of an object store."`
	Region         *string         `json:"region" doc:"Region of an object store."`
	Prefix         *string         `json:"prefix" doc:"Prefix in the bucket."`
	CredentialRef  *string         `json:"credential_ref" doc:"Name of a secret, never the secret."`
	TapeLibrary    *string         `json:"tape_library" doc:"The tape library."`
	TapePool       *string         `json:"tape_pool" doc:"The pool of tapes."`
	CapacityBytes  *int64          `json:"capacity_bytes" doc:"What fits, bytes."`
	UsedBytes      *int64          `json:"used_bytes" doc:"What is used, bytes."`
	UsageCheckedAt *time.Time      `json:"usage_checked_at" doc:"When the use was looked at."`
	RetentionDays  *int32          `json:"retention_days" doc:"How long data stays, days."`
	Version        int32           `json:"version" doc:"Counts the changes of the record."`
	CreatedAt      time.Time       `json:"created_at" doc:"When the record was made."`
	UpdatedAt      time.Time       `json:"updated_at" doc:"When the record was changed last."`
}

// DataTransferRoute is how data goes from one site to another.
type DataTransferRoute struct {
	ID                    int64        `json:"id" doc:"The record's id."`
	Name                  string       `json:"name" doc:"Its name, by which lists are ordered."`
	RouteType             db.RouteType `json:"route_type" enum:"direct,relay,custom" doc:"direct, relay (over a third site) or custom (between two locations)."`
	Method                string       `json:"method" enum:"bbcp,s3,rsync,local" doc:"How it is copied."`
	OriginSiteID          int64        `json:"origin_site_id" doc:"From where."`
	DestinationSiteID     int64        `json:"destination_site_id" doc:"To where."`
	RelaySiteID           *int64       `json:"relay_site_id" doc:"Over which site; relay routes only."`
	OriginLocationID      *int64       `json:"origin_location_id" doc:"From which location; custom routes only."`
	DestinationLocationID *int64       `json:"destination_location_id" doc:"To which location; custom routes only."`
	Priority              int32        `json:"priority" doc:"Lower comes first."`
	Active                bool         `json:"active" doc:"Whether it is in use."`
	Version               int32        `json:"version" doc:"Counts the changes of the record."`
	CreatedAt             time.Time    `json:"created_at" doc:"When the record was made."`
	UpdatedAt             time.Time    `json:"updated_at" doc:"When the record was changed last."`
}

var (
	siteFilters = api.NewFilters(
		api.String("name"), api.Text("name"), api.String("short_name"), api.Text("short_name"), api.Flag("is_main"),
	)
	locationFilters = api.NewFilters(
		api.String("name"), api.Text("name"), api.Int("site_id"), api.Nullable(api.Int("instrument_id")),
		api.Enum("location_type", "source", "buffer", "long_term_archive", "processing"), api.Enum("storage_type", "disk", "s3", "tape"),
		api.Range("priority"), api.Flag("active"),
	)
	routeFilters = api.NewFilters(
		api.String("name"), api.Text("name"), api.Enum("route_type", "direct", "relay", "custom"), api.Enum("method", "bbcp", "s3", "rsync", "local"),
		api.Int("origin_site_id"), api.Int("destination_site_id"), api.Int("relay_site_id"), api.Range("priority"), api.Flag("active"),
	)
)

type listInput struct{ api.List }

func registerPlaces(r *api.Router, m *Module) {
	api.Register(r, api.Op{
		ID: "list-sites", Method: http.MethodGet, Path: "/sites", Permission: "read:transfers",
		Tags: []string{"shared", "transfers"}, Summary: "Sites, by name", Filters: siteFilters, Order: api.ByName,
	}, m.listSites)
	api.Register(r, api.Op{
		ID: "list-data-locations", Method: http.MethodGet, Path: "/data_locations", Permission: "read:transfers",
		Tags: []string{"shared", "transfers"}, Summary: "Data locations, by name", Filters: locationFilters, Order: api.ByName,
	}, m.listDataLocations)
	api.Register(r, api.Op{
		ID: "list-data-transfer-routes", Method: http.MethodGet, Path: "/data_transfer_routes", Permission: "read:transfers",
		Tags: []string{"shared", "transfers"}, Summary: "Routes between sites, by name", Filters: routeFilters, Order: api.ByName,
	}, m.listDataTransferRoutes)
}

func (m *Module) listSites(ctx context.Context, in *listInput) (*api.PageOutput[Site], error) {
	var page db.ListSitesParams
	var count db.CountSitesParams
	if err := record.Fill(in.List, &page, &count); err != nil {
		return nil, err
	}
	return record.List[db.Site, Site]{
		Page: func(ctx context.Context, tx pending.DBTX, from record.From) ([]db.Site, error) {
			page.AfterName, page.AfterID, page.PageSize = from.Name, from.ID, from.Size
			return db.New(tx).ListSites(ctx, page)
		},
		Count: func(ctx context.Context, tx pending.DBTX) (int64, error) { return db.New(tx).CountSites(ctx, count) },
		Items: record.Each(func(row db.Site) Site { return Site(row) }),
		Key:   func(row db.Site) (string, int64) { return row.Name, row.ID },
	}.Answer(ctx, m.reader, in.List)
}

func (m *Module) listDataLocations(ctx context.Context, in *listInput) (*api.PageOutput[DataLocation], error) {
	var page db.ListDataLocationsParams
	var count db.CountDataLocationsParams
	if err := record.Fill(in.List, &page, &count); err != nil {
		return nil, err
	}
	return record.List[db.DataLocation, DataLocation]{
		Page: func(ctx context.Context, tx pending.DBTX, from record.From) ([]db.DataLocation, error) {
			page.AfterName, page.AfterID, page.PageSize = from.Name, from.ID, from.Size
			return db.New(tx).ListDataLocations(ctx, page)
		},
		Count: func(ctx context.Context, tx pending.DBTX) (int64, error) {
			return db.New(tx).CountDataLocations(ctx, count)
		},
		Items: record.Each(func(row db.DataLocation) DataLocation { return DataLocation(row) }),
		Key:   func(row db.DataLocation) (string, int64) { return row.Name, row.ID },
	}.Answer(ctx, m.reader, in.List)
}

func (m *Module) listDataTransferRoutes(ctx context.Context, in *listInput) (*api.PageOutput[DataTransferRoute], error) {
	var page db.ListDataTransferRoutesParams
	var count db.CountDataTransferRoutesParams
	if err := record.Fill(in.List, &page, &count); err != nil {
		return nil, err
	}
	return record.List[db.DataTransferRoute, DataTransferRoute]{
		Page: func(ctx context.Context, tx pending.DBTX, from record.From) ([]db.DataTransferRoute, error) {
			page.AfterName, page.AfterID, page.PageSize = from.Name, from.ID, from.Size
			return db.New(tx).ListDataTransferRoutes(ctx, page)
		},
		Count: func(ctx context.Context, tx pending.DBTX) (int64, error) {
			return db.New(tx).CountDataTransferRoutes(ctx, count)
		},
		Items: record.Each(func(row db.DataTransferRoute) DataTransferRoute { return DataTransferRoute(row) }),
		Key:   func(row db.DataTransferRoute) (string, int64) { return row.Name, row.ID },
	}.Answer(ctx, m.reader, in.List)
}
