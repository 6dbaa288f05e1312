package buffer

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/opsdb/opsdb/modules/buffer/internal/db"
	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/lsn"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/problem"
)

// Health is how a site is.
type Health struct {
	Status              string             `json:"status" enum:"healthy,degraded,unhealthy" doc:"healthy; degraded: something is wrong and writes are accepted; unhealthy: the site cannot accept its writes (503)."`
	Site                string             `json:"site" doc:"The site."`
	SiteType            string             `json:"site_type" enum:"main,secondary" doc:"What the site is."`
	Version             string             `json:"version" doc:"The program's version."`
	Time                time.Time          `json:"time" doc:"When this was found."`
	Database            string             `json:"database" enum:"connected,unreachable" doc:"The primary."`
	Replica             *string            `json:"replica" enum:"connected,unreachable" doc:"The site's replica; null at main."`
	Redis               *string            `json:"redis" enum:"connected,unreachable" doc:"The Redis of the site's buffer; null at main."`
	TransactionBuffer   *BufferHealth      `json:"transaction_buffer" doc:"The site's buffer; null at main."`
	BackgroundProcessor *ProcessorHealth   `json:"background_processor" doc:"What drains the buffer; null at main."`
	Replication         *ReplicationHealth `json:"replication" doc:"How far the replica is behind; null at main."`
	Reasons             []string           `json:"reasons" doc:"Why the site is not healthy; empty without a credential."`
	LastError           *string            `json:"last_error" doc:"The newest error; null without a credential."`
}

// BufferHealth is how full a site's buffer is.
type BufferHealth struct {
	Size       int64   `json:"size" doc:"Transactions that wait for the primary; dead letters are not among them."`
	Failed     int64   `json:"failed" doc:"Dead letters that failed themselves."`
	Blocked    int64   `json:"blocked" doc:"Dead letters that wait for another one."`
	OldestAgeS float64 `json:"oldest_age_s" doc:"How long the oldest one has waited, seconds; 0 for none."`
	Durability string  `json:"durability" enum:"strict,relaxed" doc:"strict: nothing acknowledged can be lost; relaxed: the site's Redis may be one that can lose writes."`
}

// ProcessorHealth is what drains a site's buffer.
type ProcessorHealth struct {
	Status                string     `json:"status" enum:"starting,running,idle,paused,standby,reconnecting,fault,stopped" doc:"standby: another process of the site drains; fault: the primary cannot apply; stopped: it must not go on."`
	LastRun               *time.Time `json:"last_run" doc:"When it last applied something; null for never."`
	TransactionsProcessed int64      `json:"transactions_processed" doc:"How many this process has applied."`
}

// ReplicationHealth is how far a replica is behind.
type ReplicationHealth struct {
	LagBytes int64   `json:"lag_bytes" doc:"How much of the primary's log is known and not replayed, bytes."`
	LagS     float64 `json:"lag_s" doc:"How old the newest replayed transaction is, seconds; 0 when nothing is missing."`
}

// Liveness is that a process runs.
type Liveness struct {
	Status string `json:"status" enum:"alive,ready" doc:"alive, or ready to accept writes."`
}

// BufferStats are the figures of a buffer.
type BufferStats struct {
	Size       *int64         `json:"size" doc:"Transactions that wait for the primary; null at main."`
	Failed     *int64         `json:"failed" doc:"Dead letters that failed themselves; null at main."`
	Blocked    *int64         `json:"blocked" doc:"Dead letters that wait for another one; null at main."`
	OldestAgeS *float64       `json:"oldest_age_s" doc:"How long the oldest one has waited, seconds; null at main."`
	Details    *BufferDetails `json:"details" doc:"The rest; null without the permission read:buffer."`
}

// BufferDetails are the figures that need a permission.
type BufferDetails struct {
	Applied       int64            `json:"applied" doc:"Transactions that the primary has and the replica does not show yet."`
	RateIn        float64          `json:"rate_in" doc:"Accepted a second, over about the last minute."`
	RateOut       float64          `json:"rate_out" doc:"Applied a second by this process, over about the last minute."`
	EmptyInS      *float64         `json:"empty_in_s" doc:"When the buffer will be empty at these rates, seconds; null when it does not shrink."`
	Attempts      int64            `json:"attempts" doc:"Failed tries of the present dead letters."`
	LastError     *string          `json:"last_error" doc:"The newest error of the processor."`
	PendingRows   map[string]int64 `json:"pending_rows" doc:"Rows with pending changes, by table."`
	Batch         int64            `json:"batch" doc:"The number of the site's newest commit that the replica shows."`
	ReplayLSN     *string          `json:"replay_lsn" doc:"How far the replica has replayed the primary's log."`
	ReceiveLSN    *string          `json:"receive_lsn" doc:"How far the log has arrived at the replica."`
	PrimaryLSN    *string          `json:"primary_lsn" doc:"Where the primary's log stood when it last said so; null while that is not known."`
	RedisBytes    *int64           `json:"redis_bytes" doc:"Memory that the site's Redis uses, bytes."`
	RedisMaxBytes *int64           `json:"redis_max_bytes" doc:"Memory that it may use, bytes; null without a limit."`
	Sites         []SiteStatus     `json:"sites" doc:"At main: every site as it was last seen; else empty."`
}

// SiteStatus is a site as main has last seen it.
type SiteStatus struct {
	Site          string     `json:"site" doc:"The site's short name."`
	Version       string     `json:"version" doc:"The program's version there."`
	LastSeenAt    *time.Time `json:"last_seen_at" doc:"When it last said something."`
	LastAppliedAt *time.Time `json:"last_applied_at" doc:"When a transaction of it was last applied."`
	Buffered      int64      `json:"buffered" doc:"Transactions in its buffer at that time."`
	Failed        int64      `json:"failed" doc:"Its failed dead letters."`
	Blocked       int64      `json:"blocked" doc:"Its blocked dead letters."`
	OldestAgeS    *float64   `json:"oldest_age_s" doc:"How long the oldest one had waited, seconds."`
	Batch         int64      `json:"batch" doc:"The number of its newest commit."`
	LastSeq       int64      `json:"last_seq" doc:"The highest number in its buffer that was applied."`
}

// SiteInfo is what a site is.
type SiteInfo struct {
	Name    string       `json:"name" doc:"The site's short name."`
	Type    string       `json:"type" enum:"main,secondary" doc:"What the site is."`
	Version string       `json:"version" doc:"The program's version."`
	Details *SiteDetails `json:"details" doc:"The rest; null without the permission read:buffer."`
}

// SiteDetails are what needs a permission.
type SiteDetails struct {
	FullName           *string     `json:"full_name" doc:"The site's name; null while its row cannot be read."`
	Location           *string     `json:"location" doc:"Where it is."`
	URL                *string     `json:"url" doc:"Where the site answers from outside, BACKEND_URL; null while that is not set."`
	BufferedOperations []string    `json:"buffered_operations" doc:"The operations that this site buffers; empty at main."`
	Sites              []OtherSite `json:"sites" doc:"The other sites; empty while they cannot be read. Where they answer is not recorded anywhere: clients are configured with it."`
	Replica            *string     `json:"replica" enum:"connected,unreachable" doc:"The site's replica; null at main."`
	ReplayLSN          *string     `json:"replay_lsn" doc:"How far it has replayed the primary's log."`
	LagBytes           *int64      `json:"lag_bytes" doc:"How far it is behind, bytes."`
}

// OtherSite is another site of the installation.
type OtherSite struct {
	ShortName string `json:"short_name" doc:"SITE_NAME of its servers."`
	Name      string `json:"name" doc:"Its name."`
	Location  string `json:"location" doc:"Where it is."`
	IsMain    bool   `json:"is_main" doc:"Whether it is the main site."`
}

type empty struct{}

type healthOutput struct {
	Status     int
	RetryAfter string `header:"Retry-After" doc:"With 503 only: seconds after which another try makes sense."`
	Body       Health
}

type livenessOutput struct{ Body Liveness }

type statsOutput struct{ Body BufferStats }

type infoOutput struct{ Body SiteInfo }

// Register adds the module's operations.
func (m *Module) Register(r *api.Router) {
	tags := []string{"shared", "health"}
	api.Register(r, api.Op{
		ID: "get-health", Method: http.MethodGet, Path: "/health", Permission: api.Open, Tags: tags, SameBody: []int{http.StatusServiceUnavailable},
		Summary:     "How the site is",
		Description: "200 while the site accepts its writes, healthy or degraded; 503 with the same document, `unhealthy`, when it cannot. It takes a second at most, whatever hangs. Reasons and errors need a credential.",
	}, m.getHealth)
	api.Register(r, api.Op{
		ID: "get-health-live", Method: http.MethodGet, Path: "/health/live", Permission: api.Open, Tags: tags,
		Summary: "Whether the process runs",
	}, func(context.Context, *empty) (*livenessOutput, error) {
		return &livenessOutput{Body: Liveness{Status: "alive"}}, nil
	})
	api.Register(r, api.Op{
		ID: "get-health-ready", Method: http.MethodGet, Path: "/health/ready", Permission: api.Open, Tags: tags, Errors: []int{http.StatusServiceUnavailable},
		Summary: "Whether the site can accept writes: at a secondary site, whether it can buffer",
	}, m.getReady)
	api.Register(r, api.Op{
		ID: "get-buffer-stats", Method: http.MethodGet, Path: "/buffer-stats", Permission: api.Open, Tags: []string{"shared", "buffer"},
		Summary: "Figures of the buffer", Description: "The summary is open, `details` needs `read:buffer`. At main the summary is null and `details.sites` has every site as last seen.",
	}, m.getStats)
	api.Register(r, api.Op{
		ID: "get-site-info", Method: http.MethodGet, Path: "/api/site/info", Permission: api.Open, Tags: []string{"shared", "buffer"},
		Summary: "What the site is", Description: "The summary is open, `details` needs `read:buffer`.",
	}, func(ctx context.Context, in *empty) (*infoOutput, error) { return m.getInfo(ctx, r) })
	m.registerTransactions(r)
}

func (m *Module) getHealth(ctx context.Context, _ *empty) (*healthOutput, error) {
	out := &healthOutput{Status: http.StatusOK, Body: m.examine(ctx)}
	if out.Body.Status == unhealthy {
		out.Status, out.RetryAfter = http.StatusServiceUnavailable, "2"
	}
	if _, known := api.PrincipalFrom(ctx); !known {
		out.Body.Reasons, out.Body.LastError = []string{}, nil
	}
	return out, nil
}

func (m *Module) getReady(ctx context.Context, _ *empty) (*livenessOutput, error) {
	if m.examine(ctx).Status != unhealthy {
		return &livenessOutput{Body: Liveness{Status: "ready"}}, nil
	}
	if m.main() {
		return nil, problem.MainUnreachable.New("the primary cannot be reached")
	}
	return nil, problem.PendingUnavailable.New("the site cannot accept writes now")
}

// mayLook says whether the caller may see more than the open summary.
func mayLook(ctx context.Context) bool {
	p, known := api.PrincipalFrom(ctx)
	return known && p.Can("read:buffer")
}

func (m *Module) getStats(ctx context.Context, _ *empty) (*statsOutput, error) {
	out := &statsOutput{}
	var view pending.View
	if !m.main() {
		var err error
		if view, err = m.config.Store.CatchUp(ctx); err != nil {
			return nil, err
		}
		c := view.Counts()
		size, failed, blocked, age := int64(c.Buffered), int64(c.Failed), int64(c.Blocked), m.age(c.OldestAccepted)
		out.Body = BufferStats{Size: &size, Failed: &failed, Blocked: &blocked, OldestAgeS: &age}
	}
	if !mayLook(ctx) {
		return out, nil
	}
	details, err := m.details(ctx, view)
	out.Body.Details = details
	return out, err
}

func (m *Module) details(ctx context.Context, view pending.View) (*BufferDetails, error) {
	d := &BufferDetails{PendingRows: map[string]int64{}, Sites: []SiteStatus{}}
	if m.main() {
		rows, err := db.New(m.config.Primary).ListSiteStatus(ctx)
		if err != nil {
			return nil, err
		}
		for _, r := range rows {
			d.Sites = append(d.Sites, SiteStatus{
				Site: r.Site, Version: r.Version, LastSeenAt: r.LastSeenAt, LastAppliedAt: r.LastAppliedAt, Buffered: r.Buffered,
				Failed: r.Failed, Blocked: r.Blocked, OldestAgeS: r.OldestAgeS, Batch: r.Batch, LastSeq: r.LastSeq,
			})
		}
		return d, nil
	}
	c := view.Counts()
	d.Applied = int64(c.Applied)
	for table, n := range c.RowsByTable {
		d.PendingRows[table] = int64(n)
	}
	for _, tx := range view.Dead() {
		d.Attempts += int64(tx.Attempts)
	}
	d.RateIn, d.RateOut = m.rates.read()
	if shrinking := d.RateOut - d.RateIn; shrinking > 0.01 || c.Buffered == 0 {
		seconds := 0.0
		if c.Buffered > 0 {
			seconds = float64(c.Buffered) / shrinking
		}
		d.EmptyInS = &seconds
	}
	if err := m.state.report().LastError; err != nil {
		text := errorShown(err)
		d.LastError = &text
	}
	if r, _ := m.tracker.Last(); !r.At.IsZero() {
		d.Batch = r.Batch
		if !m.config.NoLSN {
			d.ReplayLSN, d.ReceiveLSN, d.PrimaryLSN = known(r.Replayed), known(r.Received), known(r.Sent)
		}
	}
	stats, err := m.config.Store.Stats(ctx)
	if err != nil {
		return nil, err
	}
	d.RedisBytes = &stats.UsedMemory
	if stats.MaxMemory > 0 {
		d.RedisMaxBytes = &stats.MaxMemory
	}
	return d, nil
}

func (m *Module) getInfo(ctx context.Context, r *api.Router) (*infoOutput, error) {
	out := &infoOutput{Body: SiteInfo{Name: m.config.Site, Type: m.siteType(), Version: m.config.Version}}
	if !mayLook(ctx) {
		return out, nil
	}
	d := &SiteDetails{BufferedOperations: []string{}, Sites: []OtherSite{}}
	if m.config.URL != "" {
		d.URL = &m.config.URL
	}
	out.Body.Details = d
	pool := m.config.Primary
	if !m.main() {
		d.BufferedOperations = critical(r.OpenAPI())
		pool = m.config.Replica
		state := connected
		last, err := m.tracker.Last()
		if err != nil || last.At.IsZero() {
			state = unreachable
		} else {
			d.ReplayLSN, d.LagBytes = known(last.Replayed), &last.LagBytes
		}
		d.Replica = &state
		if state == unreachable {
			return out, nil
		}
	}
	q := db.New(pool)
	site, err := q.GetSite(ctx, m.config.Site)
	if err != nil {
		return nil, err
	}
	d.FullName, d.Location = &site.Name, &site.Location
	others, err := q.ListOtherSites(ctx, m.config.Site)
	if err != nil {
		return nil, err
	}
	for _, o := range others {
		d.Sites = append(d.Sites, OtherSite(o))
	}
	return out, nil
}

// known is a position as it is shown, nil for one that is not known.
func known(at lsn.LSN) *string {
	if at == 0 {
		return nil
	}
	text := at.String()
	return &text
}

// critical lists the operations that a secondary site buffers.
func critical(document *huma.OpenAPI) []string {
	ids := []string{}
	for _, item := range document.Paths {
		for _, op := range []*huma.Operation{item.Post, item.Put, item.Patch, item.Delete} {
			if op != nil && op.Extensions["x-critical"] == true {
				ids = append(ids, op.OperationID)
			}
		}
	}
	slices.SortFunc(ids, strings.Compare)
	return ids
}
