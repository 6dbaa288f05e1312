package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// The night of 2026-07-15: Prime-Cam's Mod280 scans Orion A. The seeded schedule
// ends at 11:56 UTC; the demo goes on from there.
const (
	nightUnit   = "OrionA-280"
	nightModule = "Mod280"
	nightConfig = "Mod280-default"
	scanLength  = 9 * time.Minute
	fileBytes   = 1_214_300_160 // 576 tones, I and Q, 4 bytes, 488 Hz, 540 s
)

var (
	nightBegins = time.Date(2026, 7, 15, 0, 0, 0, 0, time.UTC)
	firstScan   = time.Date(2026, 7, 15, 11, 56, 0, 0, time.UTC)
)

// night is an observing night as the telescope's scripts see it.
type night struct {
	demo *demo
	// Both sites, with the credential of the data acquisition.
	observatory, main apiClient

	unitID, moduleID, configID, locationID int64

	next         time.Time
	executions   []string // ids, in order
	transactions []string // ids of everything acknowledged
}

// night plays the night: with the link up, through a cut, and over its healing.
// Whatever is not as promised is an error.
func (d *demo) night(ctx context.Context) error {
	n := &night{
		demo:        d,
		observatory: apiClient{base: d.url(1), token: d.tokens.Service},
		main:        apiClient{base: d.url(0), token: d.tokens.Service},
	}
	if err := n.lookUp(ctx); err != nil {
		return err
	}
	d.say("\nThe night of 2026-07-15: Prime-Cam scans Orion A at 280 GHz, 18 files of 1.2 GB a scan.")
	d.say("\nThe link is up.")
	if err := n.observe(ctx); err != nil {
		return err
	}
	if err := n.waitReplicated(ctx); err != nil {
		return err
	}
	before, err := n.count(ctx, n.main)
	if err != nil {
		return err
	}

	d.say("\nThe link is cut. Observing goes on.")
	d.stack.Link.Down()
	for range 4 {
		if err := n.observe(ctx); err != nil {
			return err
		}
	}
	running, err := n.start(ctx)
	if err != nil {
		return err
	}
	d.say("  %s UTC  scan started and still running                  waiting in the buffer: %d", n.next.Format("15:04"), running.buffered)
	if err := n.showBothSites(ctx, before); err != nil {
		return err
	}

	d.say("\nThe link is up again.")
	healed := time.Now()
	if err := d.stack.Link.Up(); err != nil {
		return err
	}
	if err := n.finish(ctx, running.id); err != nil {
		return err
	}
	if err := n.drain(ctx, healed); err != nil {
		return err
	}
	if err := n.waitReplicated(ctx); err != nil {
		return err
	}
	d.say("  ✓ the replica has confirmed all of it %.1f s after the link came back", time.Since(healed).Seconds())
	return n.compare(ctx)
}

// lookUp finds the ids that a script has in its configuration, and where the
// night is to go on.
func (n *night) lookUp(ctx context.Context) error {
	return withPrimary(ctx, n.demo.stack.Primary.URL(demoDatabase), func(conn *pgx.Conn) error {
		var last *time.Time
		err := conn.QueryRow(ctx, `
			SELECT u.id, m.id, c.id, l.id, (SELECT max(x.end_time) FROM executed_obs_unit x WHERE x.obs_unit_id = u.id)
			FROM obs_unit u, instrument_module m
			JOIN instrument_module_configuration c ON c.instrument_module_id = m.id
			JOIN data_location l ON l.name = 'primecam_raw_data'
			JOIN site s ON s.id = l.site_id AND s.short_name = $4
			WHERE u.name = $1 AND m.name = $2 AND c.name = $3`,
			nightUnit, nightModule, nightConfig, observatorySite).Scan(&n.unitID, &n.moduleID, &n.configID, &n.locationID, &last)
		if err != nil {
			return fmt.Errorf("looking up the obs unit %s and its module: %w", nightUnit, err)
		}
		n.next = firstScan
		// A demo that was kept has had a night already.
		if last != nil && last.After(n.next) {
			n.next = last.UTC()
		}
		return nil
	})
}

// started is a scan that has begun.
type started struct {
	id       string
	took     time.Duration
	buffered int
}

// write sends one write as a script does, with an idempotency key, and notes
// its transaction. A 503 is asked again with the same key: a replica that a busy
// machine keeps waiting is back within a moment. The time is that of the attempt
// that was answered.
func (n *night) write(ctx context.Context, method, path, key string, in, out any) (time.Duration, error) {
	key = fmt.Sprintf("%s-%d-%s", nightUnit, n.next.Unix(), key)
	patience, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		began := time.Now()
		headers, err := n.observatory.send(ctx, method, path, in, out, "Idempotency-Key", key)
		took := time.Since(began)
		var refused *refusal
		if errors.As(err, &refused) && refused.status == http.StatusServiceUnavailable {
			select {
			case <-time.After(time.Second):
				continue
			case <-patience.Done():
			}
		}
		if err != nil {
			return took, err
		}
		id := headers.Get("X-Transaction-Id")
		if id == "" {
			return took, fmt.Errorf("%s %s: the answer names no transaction", method, path)
		}
		n.transactions = append(n.transactions, id)
		return took, nil
	}
}

func (n *night) start(ctx context.Context) (started, error) {
	var unit struct {
		ID     string `json:"id"`
		Status string `json:"status"`
	}
	took, err := n.write(ctx, http.MethodPost, "/executed_obs_units/start", "start", map[string]any{
		"obs_unit_id": n.unitID, "start_time": n.next, "module_configuration_ids": []int64{n.configID},
	}, &unit)
	if err != nil {
		return started{}, err
	}
	if unit.Status != "running" {
		return started{}, fmt.Errorf("the scan just started has the status %q", unit.Status)
	}
	n.executions = append(n.executions, unit.ID)
	buffered, err := n.demo.bufferSize(ctx)
	return started{unit.ID, took, buffered}, err
}

func (n *night) finish(ctx context.Context, id string) error {
	_, err := n.write(ctx, http.MethodPut, "/executed_obs_units/"+id+"/finish", "finish", map[string]any{
		"status": "completed", "end_time": n.next.Add(scanLength), "pwv_mm": 0.71,
		"mean_azimuth_deg": n.azimuth(), "mean_elevation_deg": n.elevation(),
	}, nil)
	n.next = n.next.Add(scanLength)
	return err
}

// elevation and azimuth go on as the schedule's four rows do: 2.02° up and about
// 1.4° back per scan.
func (n *night) elevation() float64 { return 47.14 + 2.02*n.scansSince() }
func (n *night) azimuth() float64   { return 73.1 - 1.4*n.scansSince() }

func (n *night) scansSince() float64 { return float64(n.next.Sub(firstScan)/scanLength) + 1 }

// files are the 18 of a scan, one a feedline: four full boards and two drones of
// a fifth, named as the streamer names them.
func (n *night) files(execution string) []map[string]any {
	ctime := n.next.Unix()
	var files []map[string]any
	for feedline := range 18 {
		board, drone := 1+feedline/4, 1+feedline%4
		name := fmt.Sprintf("r%02dd%d_%d_000.g3", board, drone, ctime)
		files = append(files, map[string]any{
			"executed_obs_unit_id": execution, "instrument_module_id": n.moduleID, "data_location_id": n.locationID,
			"name":          name,
			"relative_path": fmt.Sprintf("%d/rfsoc%02d_drone%d/%s", ctime/100_000, board, drone, name),
			"file_type":     "g3", "size_bytes": fileBytes,
			"checksum_algorithm": "xxh64", "checksum": fmt.Sprintf("%08x%08x", ctime, feedline),
			"start_time": n.next, "end_time": n.next.Add(scanLength),
		})
	}
	return files
}

// observe does everything a script does for one scan, and reads it back.
func (n *night) observe(ctx context.Context) error {
	at := n.next
	begun, err := n.start(ctx)
	if err != nil {
		return err
	}
	var bulk struct {
		Count int `json:"count"`
	}
	registered, err := n.write(ctx, http.MethodPost, "/raw_data_files/bulk", "files", n.files(begun.id), &bulk)
	if err != nil {
		return err
	}
	if bulk.Count != 18 {
		return fmt.Errorf("18 files were sent and %d registered", bulk.Count)
	}
	var pack struct {
		ID string `json:"id"`
	}
	packed, err := n.write(ctx, http.MethodPost, "/raw_data_package", "package", map[string]any{
		"executed_obs_unit_id": begun.id, "instrument_module_id": n.moduleID,
	}, &pack)
	if err != nil {
		return err
	}
	finalized, err := n.write(ctx, http.MethodPut, "/raw_data_package/"+pack.ID+"/finalize", "finalize", map[string]any{
		"size_bytes": 18 * fileBytes, "checksum_algorithm": "xxh64", "checksum": fmt.Sprintf("%016x", n.next.Unix()),
	}, nil)
	if err != nil {
		return err
	}
	sent := time.Now()
	if err := n.finish(ctx, begun.id); err != nil {
		return err
	}
	finished := time.Since(sent)
	buffered, err := n.demo.bufferSize(ctx)
	if err != nil {
		return err
	}
	n.demo.say("  %s UTC  start %s, 18 files %s, package %s, finalize %s, finish %s; waiting in the buffer: %d",
		at.Format("15:04"), millis(begun.took), millis(registered), millis(packed), millis(finalized), millis(finished), buffered)
	return n.readBack(ctx, begun.id, pack.ID)
}

// readBack holds the site to its promise: the next read shows every write.
func (n *night) readBack(ctx context.Context, execution, pack string) error {
	var unit struct {
		Status    string `json:"status"`
		FileCount int    `json:"file_count"`
		Packages  []struct {
			ID     string `json:"id"`
			Status string `json:"status"`
		} `json:"packages"`
	}
	if err := n.observatory.get(ctx, "/executed_obs_units/"+execution, &unit); err != nil {
		return err
	}
	if unit.Status != "completed" || unit.FileCount != 18 || len(unit.Packages) != 1 || unit.Packages[0].ID != pack || unit.Packages[0].Status != "completed" {
		return fmt.Errorf("the scan just finished reads as %+v", unit)
	}
	return nil
}

// count is how many scans of the night a site shows.
func (n *night) count(ctx context.Context, site apiClient) (int, error) {
	var page struct {
		Total int `json:"total"`
	}
	// The whole night, however often a kept demo has gone on with it.
	path := fmt.Sprintf("/executed_obs_units?obs_unit_id=%d&start_time_from=%s&count=true&limit=1", n.unitID, nightBegins.Format(time.RFC3339))
	err := site.get(ctx, path, &page)
	return page.Total, err
}

// showBothSites shows that the observatory sees everything and the main site
// what it had before the cut.
func (n *night) showBothSites(ctx context.Context, before int) error {
	here, err := n.count(ctx, n.observatory)
	if err != nil {
		return err
	}
	there, err := n.count(ctx, n.main)
	if err != nil {
		return err
	}
	n.demo.say("  scans of the night: %s shows %d, %s still %d", observatorySite, here, mainSite, there)
	if there != before || here != before+5 {
		return fmt.Errorf("%s should show %d scans and %s %d", observatorySite, before+5, mainSite, before)
	}
	return nil
}

// drain watches the buffer until it is empty.
func (n *night) drain(ctx context.Context, healed time.Time) error {
	last := -1
	for {
		size, err := n.demo.bufferSize(ctx)
		if err != nil {
			return err
		}
		if size != last {
			n.demo.say("  %5.2f s   waiting in the buffer: %d", time.Since(healed).Seconds(), size)
			last = size
		}
		if size == 0 {
			return nil
		}
		if time.Since(healed) > time.Minute {
			return fmt.Errorf("a minute after the link came back %d transactions still wait in the buffer", size)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// waitReplicated waits until the replica has confirmed every transaction.
func (n *night) waitReplicated(ctx context.Context) error {
	for _, id := range n.transactions {
		var transaction struct {
			State string `json:"state"`
		}
		if err := n.observatory.get(ctx, "/transactions/"+id+"?wait=replicated&timeout=30", &transaction); err != nil {
			return err
		}
		if transaction.State != "replicated" {
			return fmt.Errorf("transaction %s is %s after 30 s", id, strings.ToLower(transaction.State))
		}
	}
	return nil
}
