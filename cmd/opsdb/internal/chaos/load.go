package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

// epoch is when the first execution of every client starts; each goes on by
// minutes, clients lie ten years apart, so that a range of times is a range of one
// client's executions.
var epoch = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

// most is how many executions a client works on at once, and how many files one
// may have: its record shows no more than 100.
const (
	mostRunning = 4
	mostFiles   = 60
	windowRows  = 12
)

// world is what all clients share.
type world struct {
	*run
	unit, module, location int64

	clients  []*client
	saboteur *saboteur

	mu   sync.Mutex
	rows []*execution // the ones with an id, of all clients
}

func (r *run) newWorld(ctx context.Context) (*world, error) {
	w := &world{run: r}
	conn, err := pgx.Connect(ctx, r.Stack.Primary.URL(r.Database))
	if err != nil {
		return nil, err
	}
	err = conn.QueryRow(ctx, `
		SELECT u.id, m.id, l.id FROM obs_unit u, instrument_module m, data_location l
		WHERE u.name = 'OrionA-280' AND m.name = 'Mod280' AND l.name = 'primecam_raw_data'`).Scan(&w.unit, &w.module, &w.location)
	if err != nil {
		return nil, fmt.Errorf("looking up an obs unit and a module: %w", err)
	}
	if err := conn.Close(ctx); err != nil {
		return nil, err
	}
	for n := range r.options.Clients {
		w.clients = append(w.clients, newClient(w, fmt.Sprintf("o%d", n+1), SiteObservatory, r.Observatory, r.options.Seed))
	}
	for n := range max(1, r.options.Clients/3) {
		w.clients = append(w.clients, newClient(w, fmt.Sprintf("m%d", n+1), SiteMain, []API{r.Main}, r.options.Seed))
	}
	w.saboteur = &saboteur{client: *newClient(w, "s1", SiteObservatory, r.Observatory, r.options.Seed)}
	w.saboteur.sabotaged = true
	return w, nil
}

// work lets every client work until end, and returns what waits for them.
func (w *world) work(ctx context.Context, end *atomic.Bool) *sync.WaitGroup {
	var all sync.WaitGroup
	for _, c := range w.clients {
		all.Go(func() {
			if c.asking != nil {
				c.do(ctx, c.asking)
			}
			for !end.Load() && ctx.Err() == nil {
				c.step(ctx)
				// A script has other things to do, and two cores are not many.
				select {
				case <-time.After(time.Duration(c.rng.IntN(40)) * time.Millisecond):
				case <-ctx.Done():
				}
			}
		})
	}
	all.Go(func() { w.saboteur.work(ctx, end) })
	return &all
}

// settle asks again for every answer that is missing, and waits until what that
// wrote is through, too.
func (w *world) settle(ctx context.Context, last bool) error {
	limited, cancel := context.WithTimeout(ctx, w.options.Wedged)
	defer cancel()
	var all sync.WaitGroup
	for _, c := range w.clients {
		if c.asking == nil {
			continue
		}
		all.Go(func() { c.do(limited, c.asking) })
	}
	all.Go(func() {
		if w.saboteur.asking != nil {
			w.saboteur.do(limited, w.saboteur.asking)
		}
		w.saboteur.decide(limited)
	})
	all.Wait()
	if last {
		for _, c := range w.clients {
			c.readAll(ctx)
		}
	}
	return w.drained(ctx)
}

// step does the next thing.
func (c *client) step(ctx context.Context) {
	n := c.rng.IntN(100)
	switch {
	case n < 14:
		c.start(ctx)
	case n < 26:
		c.registerFiles(ctx)
	case n < 32:
		c.openPackage(ctx)
	case n < 38:
		c.finalize(ctx)
	case n < 50:
		c.patch(ctx)
	case n < 57:
		c.finish(ctx)
	case n < 61:
		c.again(ctx)
	case n < 65:
		c.tell(ctx)
	case n < 82:
		if x := c.any(); x != nil {
			c.detail(ctx, x)
		}
	case n < 86 && c.site == SiteMain:
		c.elsewhere(ctx)
	default:
		c.list(ctx)
	}
}

func (c *client) start(ctx context.Context) {
	if !c.sabotaged && c.has(mostRunning, func(x *execution) bool { return x.running }) {
		c.finish(ctx)
		return
	}
	c.startUnit(ctx, c.world.unit)
}

// startUnit starts an execution of an obs unit.
func (c *client) startUnit(ctx context.Context, unit int64) {
	x := &execution{client: c.name, n: c.began, name: fmt.Sprintf("%s-%d", c.name, c.began), site: c.site, running: true, contested: c.sabotaged}
	c.began++
	key := c.key()
	body := map[string]any{
		"obs_unit_id": unit, "start_time": startOf(c.name, x.n), "comment": key,
		"conditions": map[string]any{"chaos": x.name},
	}
	if c.rng.IntN(3) == 0 {
		body["id"] = c.uuid()
	}
	c.do(ctx, &write{
		op: OpStart, method: http.MethodPost, path: "/executed_obs_units/start", key: key, body: encode(body), row: x, value: key,
		done: func(a answer) {
			x.id = a.ID
			c.own = append(c.own, x)
			if !x.contested {
				c.world.share(x)
			}
		},
	})
}

// startOf is when the n-th execution of a client starts.
func startOf(client string, n int) time.Time {
	number, err := strconv.Atoi(client[1:])
	if err != nil {
		panic(fmt.Sprintf("chaos: client %q", client))
	}
	switch client[0] {
	case 'm':
		number += 100
	case 's':
		number += 200
	}
	return epoch.AddDate(10*number, 0, 0).Add(time.Duration(n) * time.Minute)
}

func (c *client) finish(ctx context.Context) {
	x := c.choose(func(x *execution) bool { return x.running })
	if x == nil {
		return
	}
	status := []string{"completed", "completed", "aborted", "failed"}[c.rng.IntN(4)]
	c.do(ctx, &write{
		op: OpFinish, method: http.MethodPut, path: "/executed_obs_units/" + x.id + "/finish", key: c.key(), row: x, value: status,
		body: encode(map[string]any{"status": status, "end_time": startOf(x.client, x.n).Add(30 * time.Second), "pwv_mm": 0.5}),
		done: func(answer) { x.running = false },
	})
}

// patch changes the comment of an execution: its own, or one that others of the
// site change, too.
func (c *client) patch(ctx context.Context) {
	x := c.choose(func(*execution) bool { return true })
	if c.site == SiteObservatory && c.rng.IntN(3) == 0 {
		x = c.world.pick(c, func(x *execution) bool { return x.site == c.site && x.n%5 == 0 })
	}
	if x == nil {
		return
	}
	key := c.key()
	c.do(ctx, &write{
		op: OpPatch, method: http.MethodPatch, path: "/executed_obs_units/" + x.id, key: key, row: x, value: key,
		body: encode(map[string]any{"comment": key}), done: func(answer) {},
	})
}

func (c *client) registerFiles(ctx context.Context) {
	x := c.choose(func(x *execution) bool { return x.files < mostFiles })
	if x == nil {
		return
	}
	count := 1
	if c.rng.IntN(2) == 0 {
		count = 1 + c.rng.IntN(18)
	}
	count = min(count, mostFiles-x.files)
	key := c.key()
	files := make([]map[string]any, count)
	for i := range files {
		name := fmt.Sprintf("%s-%d.g3", key, i)
		files[i] = map[string]any{
			"executed_obs_unit_id": x.id, "instrument_module_id": c.world.module, "name": name, "relative_path": x.name + "/" + name,
			"file_type": "g3", "size_bytes": 1000 + i, "checksum_algorithm": "xxh64", "checksum": fmt.Sprintf("%016x", c.rng.Uint64()),
		}
		if i%2 == 0 {
			files[i]["data_location_id"] = c.world.location
		}
	}
	w := &write{op: OpFiles, method: http.MethodPost, path: "/raw_data_files/bulk", key: key, body: encode(files), row: x}
	if count == 1 {
		w.path, w.body = "/raw_data_files", encode(files[0])
	}
	w.done = func(answer) {
		x.files += count
		x.unpackaged += count
	}
	c.do(ctx, w)
}

func (c *client) openPackage(ctx context.Context) {
	x := c.choose(func(x *execution) bool { return x.unpackaged > 0 })
	if x == nil {
		return
	}
	key := c.key()
	c.do(ctx, &write{
		op: OpPackage, method: http.MethodPost, path: "/raw_data_package", key: key, row: x, value: key,
		body: encode(map[string]any{"executed_obs_unit_id": x.id, "instrument_module_id": c.world.module, "name": "chaos-" + key}),
		done: func(a answer) {
			x.unpackaged = 0
			x.open = append(x.open, a.ID)
		},
	})
}

func (c *client) finalize(ctx context.Context) {
	x := c.choose(func(x *execution) bool { return len(x.open) > 0 })
	if x == nil {
		return
	}
	id := x.open[0]
	c.do(ctx, &write{
		op: OpFinalize, method: http.MethodPut, path: "/raw_data_package/" + id + "/finalize", key: c.key(), row: x, value: id,
		body: encode(map[string]any{"size_bytes": 5000, "checksum_algorithm": "xxh64", "checksum": fmt.Sprintf("%016x", c.rng.Uint64())}),
		done: func(answer) { x.open = x.open[1:] },
	})
}

// again repeats a write that was answered long ago: same key, same answer.
func (c *client) again(ctx context.Context) {
	if len(c.acked) == 0 {
		return
	}
	w := c.acked[c.rng.IntN(len(c.acked))].write
	c.try(ctx, &w)
}

// tell asks what became of a write that was answered.
func (c *client) tell(ctx context.Context) {
	if len(c.acked) == 0 {
		return
	}
	a := c.acked[c.rng.IntN(len(c.acked))]
	if a.tx == "" {
		return
	}
	var t struct {
		State string `json:"state"`
	}
	call := c.send(context.WithoutCancel(ctx), Call{Op: OpTell, Key: a.write.key}, c.rng.IntN(len(c.apis)), http.MethodGet,
		"/transactions/"+a.tx, c.world.ServiceToken, nil, &t)
	call.Tx, call.Value = a.tx, t.State
	c.world.recorder.call(call)
}

// detail reads an execution with all its parts.
func (c *client) detail(ctx context.Context, x *execution) {
	var d detail
	c.read(ctx, Call{Row: x.name}, "/executed_obs_units/"+x.id, nil, func() *Seen { return &Seen{Rows: []SeenRow{d.seen()}} }, &d)
}

// elsewhere reads at the observatory what this client has written at main: with
// the LSN of its last commit it must be there.
func (c *client) elsewhere(ctx context.Context) {
	x := c.choose(func(*execution) bool { return true })
	if x == nil || c.lsn == "" {
		return
	}
	there := *c
	there.site, there.apis = SiteObservatory, c.world.Observatory
	var d detail
	there.read(ctx, Call{Row: x.name, MinLSN: c.lsn}, "/executed_obs_units/"+x.id, nil, func() *Seen { return &Seen{Rows: []SeenRow{d.seen()}} }, &d)
}

// list asks for some executions of one client of this site, perhaps of one status.
func (c *client) list(ctx context.Context) {
	x := c.world.pick(c, func(x *execution) bool { return x.site == c.site })
	if x == nil {
		return
	}
	w := Window{Client: x.client, From: max(0, x.n-c.rng.IntN(windowRows)), Until: x.n + 1}
	if n := c.rng.IntN(4); n < 2 {
		w.Status = []string{"running", "completed"}[n]
	}
	c.listWindow(ctx, w)
}

func (c *client) listWindow(ctx context.Context, w Window) {
	query := url.Values{
		"start_time_from": {startOf(w.Client, w.From).Format(time.RFC3339)}, "start_time_to": {startOf(w.Client, w.Until).Format(time.RFC3339)},
		"limit": {"500"}, "count": {"true"},
	}
	if w.Status != "" {
		query.Set("status", w.Status)
	}
	var page struct {
		Items []detail `json:"items"`
		Total int      `json:"total"`
		Next  *string  `json:"next_cursor"`
	}
	c.read(ctx, Call{Op: OpList, Window: &w}, "/executed_obs_units?"+query.Encode(), nil, func() *Seen {
		seen := &Seen{Rows: make([]SeenRow, len(page.Items)), Total: &page.Total, More: page.Next != nil}
		for i := range page.Items {
			seen.Rows[i] = page.Items[i].row()
		}
		return seen
	}, &page)
}

// readAll reads every execution of its own once more, when nothing moves any
// longer.
func (c *client) readAll(ctx context.Context) {
	for from := 0; from < c.began; from += 400 {
		c.listWindow(ctx, Window{Client: c.name, From: from, Until: min(c.began, from+400)})
	}
	for _, x := range c.own {
		c.detail(ctx, x)
	}
}

// detail is an execution as the API shows it.
type detail struct {
	ID         string `json:"id"`
	Status     string `json:"status"`
	Comment    string `json:"comment"`
	Conditions struct {
		Chaos string `json:"chaos"`
	} `json:"conditions"`
	Files []struct {
		ID string `json:"id"`
	} `json:"files"`
	Packages []struct {
		ID     string `json:"id"`
		Status string `json:"status"`
	} `json:"packages"`
}

func (d *detail) row() SeenRow {
	return SeenRow{Name: d.Conditions.Chaos, ID: d.ID, Status: d.Status, Comment: d.Comment}
}

func (d *detail) seen() SeenRow {
	row := d.row()
	row.Whole = true
	row.Packages = map[string]string{}
	for _, f := range d.Files {
		row.Files = append(row.Files, f.ID)
	}
	for _, p := range d.Packages {
		row.Packages[p.ID] = p.Status
	}
	return row
}

// choose picks one of the client's own executions, the newer ones more often.
func (c *client) choose(fits func(*execution) bool) *execution {
	var found []*execution
	for i := len(c.own) - 1; i >= 0 && len(found) < 12; i-- {
		if fits(c.own[i]) {
			found = append(found, c.own[i])
		}
	}
	if len(found) == 0 {
		return nil
	}
	return found[c.rng.IntN(len(found))]
}

// has reports whether at least n of the client's own executions fit.
func (c *client) has(n int, fits func(*execution) bool) bool {
	for _, x := range c.own {
		if fits(x) {
			n--
		}
	}
	return n <= 0
}

// any picks an execution of anybody at any site: the own ones every second time.
func (c *client) any() *execution {
	if c.rng.IntN(2) == 0 {
		return c.choose(func(*execution) bool { return true })
	}
	return c.world.pick(c, func(*execution) bool { return true })
}

func (w *world) share(x *execution) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rows = append(w.rows, &execution{client: x.client, n: x.n, name: x.name, id: x.id, site: x.site, contested: x.contested})
}

// pick takes one of the executions that all know, of the newer ones.
func (w *world) pick(c *client, fits func(*execution) bool) *execution {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := len(w.rows) - 1 - c.rng.IntN(30); i >= 0; i-- {
		if fits(w.rows[i]) {
			return w.rows[i]
		}
	}
	return nil
}

// uuid is a random one, made by the client.
func (c *client) uuid() string {
	a, b := c.rng.Uint64(), c.rng.Uint64()
	return fmt.Sprintf("%08x-%04x-4%03x-%04x-%012x", a>>32, a>>16&0xffff, a&0xfff, b>>48&0x3fff|0x8000, b&0xffff_ffff_ffff)
}

func encode(body any) []byte {
	text, err := json.Marshal(body)
	if err != nil {
		panic(fmt.Sprintf("chaos: %v", err))
	}
	return text
}

// sorted keys of a map.
func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
