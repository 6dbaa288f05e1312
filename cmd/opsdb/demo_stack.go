package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/opsdb/opsdb/modules/auth"
	"github.com/opsdb/opsdb/platform/sandbox"
)

const (
	demoDatabase    = "opsdb"
	mainSite        = "cologne"
	observatorySite = "observatory"
)

// demo is a running demo: the sandbox's servers and the API servers of both sites.
type demo struct {
	options demoOptions
	out     io.Writer
	outMu   sync.Mutex
	log     *slog.Logger

	stack   *sandbox.Stack
	standIn *standIn
	tokens  demoCredentials

	mu    sync.Mutex
	apis  []*sandbox.Process // the main site's first
	pids  map[string]int     // the last known of each process
	ready bool
	wrote []byte // the ready file as this demo wrote it last
}

// demoCredentials are the credentials the demo hands out.
type demoCredentials struct {
	Admin    string `json:"admin_token"`
	Observer string `json:"observer_token"`
	Service  string `json:"service_token"`
	Viewer   string `json:"viewer_token"`
}

// readyFile is what programs read: where everything is, and who it is.
type readyFile struct {
	MainURL         string   `json:"main_url"`
	ObservatoryURL  string   `json:"observatory_url"`
	ObservatoryURLs []string `json:"observatory_urls"`
	demoCredentials
	MainDBURL    string    `json:"main_db_url"`
	ReplicaDBURL string    `json:"replica_db_url"`
	RedisURL     string    `json:"redis_url"`
	DataDir      string    `json:"data_dir"`
	LinkURL      string    `json:"link_url"`
	GitHubURL    string    `json:"github_url"` // of the stand-in
	Pids         readyPids `json:"pids"`
}

type readyPids struct {
	Primary        int   `json:"primary"`
	Replica        int   `json:"replica"`
	Redis          int   `json:"redis"`
	APIMain        int   `json:"api_main"`
	APIObservatory []int `json:"api_observatory"`
}

func (d *demo) dir() string {
	if d.stack == nil {
		return d.options.dir
	}
	return d.stack.Dir
}

// url is the address of an API server: 0 is the main site's, the others are the
// observatory's.
func (d *demo) url(server int) string {
	return fmt.Sprintf("http://127.0.0.1:%d", d.stack.Ports[server])
}

// start brings everything up, until both sites answer with an empty buffer.
func (d *demo) start(ctx context.Context) error {
	d.say("Two sites on one machine: %s (main) and %s, %s apart.\n", mainSite, observatorySite, d.options.rtt.String())
	if err := d.step("PostgreSQL primary and replica, Redis, the link", func() error { return d.startServers(ctx) }); err != nil {
		return err
	}
	if err := d.step("schema, roles, demo data, keys and tokens", func() error { return d.fill(ctx) }); err != nil {
		return err
	}
	if err := d.step("API servers of both sites", func() error { return d.startAPIs(ctx) }); err != nil {
		return err
	}
	d.mu.Lock()
	d.ready = true
	d.mu.Unlock()
	return d.writeReadyFile()
}

// step does one thing and says how long it took.
func (d *demo) step(what string, do func() error) error {
	began := time.Now()
	if err := do(); err != nil {
		return err
	}
	d.say("  ✓ %-50s %6.1f s", what, time.Since(began).Seconds())
	return nil
}

func (d *demo) startServers(ctx context.Context) error {
	stack, err := sandbox.Start(ctx, sandbox.Options{
		Dir: d.options.dir, Keep: d.options.keep, PortBase: d.options.portBase, ExtraPorts: 1 + d.options.observatoryAPIs,
		RTT: time.Duration(d.options.rtt), Standby: d.options.standby, Durable: true, Logger: d.log, Changed: d.pidsChanged,
	})
	if err != nil {
		return err
	}
	d.mu.Lock()
	d.stack = stack
	d.mu.Unlock()
	return nil
}

// fill makes a fresh database what the servers need; in one that was kept it
// adds what is missing.
func (d *demo) fill(ctx context.Context) error {
	if d.stack.Fresh {
		if err := d.stack.Primary.Exec(ctx, "postgres", "CREATE DATABASE "+demoDatabase); err != nil {
			return err
		}
	}
	if err := d.stack.Migrate(ctx, demoDatabase); err != nil {
		return err
	}
	if err := d.stack.Grant(ctx, demoDatabase); err != nil {
		return err
	}
	err := withPrimary(ctx, d.stack.Primary.URL(demoDatabase), func(conn *pgx.Conn) error {
		if _, err := seed(ctx, conn); err != nil {
			return err
		}
		admin := auth.NewAdmin(conn)
		if err := d.makeTokens(ctx, admin); err != nil {
			return err
		}
		return d.makeKeys(ctx, admin)
	})
	if err != nil {
		return err
	}
	// A secondary refuses to start before its replica shows its site.
	return d.stack.WaitForReplay(ctx)
}

// makeTokens makes the demo's tokens, or reads those that were kept: only their
// hashes are in the database.
func (d *demo) makeTokens(ctx context.Context, admin *auth.Admin) error {
	file := filepath.Join(d.stack.Dir, "tokens.json")
	d.stack.Remember(file)
	if content, err := os.ReadFile(file); err == nil {
		return json.Unmarshal(content, &d.tokens)
	}
	for username, token := range map[string]*string{
		"admin": &d.tokens.Admin, "observer1": &d.tokens.Observer, "svc-primecam": &d.tokens.Service, "scientist1": &d.tokens.Viewer,
	} {
		const name = "demo"
		had, err := admin.HasToken(ctx, username, name)
		if err != nil {
			return err
		}
		if had {
			id, err := admin.TokenID(ctx, username, name)
			if err != nil {
				return err
			}
			if err := admin.RevokeToken(ctx, id); err != nil {
				return err
			}
		}
		if *token, _, err = admin.CreateToken(ctx, auth.NewToken{Username: username, Name: name}); err != nil {
			return err
		}
	}
	content, err := json.Marshal(d.tokens)
	if err != nil {
		return err
	}
	return os.WriteFile(file, content, 0o600)
}

func (d *demo) keysDir(site string) string { return filepath.Join(d.stack.Dir, "keys", site) }

func (d *demo) makeKeys(ctx context.Context, admin *auth.Admin) error {
	d.stack.Remember(filepath.Join(d.stack.Dir, "keys"))
	for _, site := range []string{mainSite, observatorySite} {
		dir := d.keysDir(site)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		key, err := auth.InitSigningKey(dir, site, time.Now())
		if err != nil {
			return err
		}
		if err := admin.AddSigningKey(ctx, site, key.ID, key.PublicText()); err != nil {
			return err
		}
	}
	return nil
}

// program is the one that the API servers run.
func (d *demo) program() (string, error) {
	if d.options.program != "" {
		return d.options.program, nil
	}
	return os.Executable()
}

// apiEnv is the environment of an API server, and of commands on its machine: 0 is
// main's, the others are the observatory's.
func (d *demo) apiEnv(server int) []string {
	env := []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "TZ=UTC", "SHUTDOWN_TIMEOUT=5s", "DEMO_MODE=true",
		fmt.Sprintf("HTTP_ADDR=127.0.0.1:%d", d.stack.Ports[server]),
	}
	if server == 0 {
		env = append(env, "SITE_NAME="+mainSite, "SITE_TYPE=main",
			"MAIN_DB_URL="+d.stack.MainURL(demoDatabase),
			"SITE_KEYS_DIR="+d.keysDir(mainSite))
	} else {
		env = append(env, "SITE_NAME="+observatorySite, "SITE_TYPE=secondary",
			"MAIN_DB_URL="+d.stack.ProcessorURL(demoDatabase),
			"LOCAL_DB_URL="+d.stack.ReaderURL(demoDatabase),
			"REDIS_URL="+d.stack.Redis.URL(),
			"SITE_KEYS_DIR="+d.keysDir(observatorySite))
	}
	env = append(env, d.standIn.env(d.url(server))...)
	env = append(env, d.options.env...)
	if d.options.relaxed {
		env = append(env, "BUFFER_DURABILITY=relaxed")
	}
	if movableClock != "" {
		env = append(env, "CHAOS_CLOCK="+d.clockFile(server))
	}
	for _, pair := range os.Environ() { // so that the demo can be traced too, and say more
		if strings.HasPrefix(pair, "OTEL_") || strings.HasPrefix(pair, "LOG_LEVEL=") {
			env = append(env, pair)
		}
	}
	return env
}

// startAPIs starts the API servers as processes of their own and waits until
// each serves reads with a token.
func (d *demo) startAPIs(ctx context.Context) error {
	program, err := d.program()
	if err != nil {
		return err
	}
	args := d.options.serve
	if args == nil {
		args = []string{"serve"}
	}
	if d.standIn, err = startStandIn(); err != nil {
		return err
	}
	for server := range d.stack.Ports {
		name := "api_main"
		if server > 0 {
			name = fmt.Sprintf("api_observatory_%d", server)
		}
		command := sandbox.Command{Path: program, Args: args, Env: d.apiEnv(server)}
		limited, cancel := context.WithTimeout(ctx, time.Minute)
		process, err := d.stack.Run(limited, name, command, func(ctx context.Context) error { return d.serves(ctx, server) })
		cancel()
		if err != nil {
			return err
		}
		d.mu.Lock()
		d.apis = append(d.apis, process)
		d.mu.Unlock()
	}
	return d.bufferIsEmpty(ctx)
}

// serves asks once whether a server is ready and answers a read with a token.
func (d *demo) serves(ctx context.Context, server int) error {
	client := apiClient{base: d.url(server), token: d.tokens.Viewer}
	if err := client.get(ctx, "/health/ready", nil); err != nil {
		return err
	}
	return client.get(ctx, "/executed_obs_units?limit=1", nil)
}

// bufferIsEmpty waits until what a kept Redis had buffered is drained.
func (d *demo) bufferIsEmpty(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		size, err := d.bufferSize(limited)
		if err == nil && size == 0 {
			return nil
		}
		select {
		case <-limited.Done():
			return fmt.Errorf("the buffer still holds %d transactions: %w", size, errors.Join(err, limited.Err()))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// pidsChanged is called by the stack whenever a process has another pid.
func (d *demo) pidsChanged() {
	d.mu.Lock()
	ready := d.ready
	d.mu.Unlock()
	if !ready {
		return
	}
	if err := d.writeReadyFile(); err != nil {
		d.log.Error("writing the ready file", "error", err)
	}
}

// pid is a process's id; while it is being started again, the last one.
func (d *demo) pid(p *sandbox.Process) int {
	if pid := p.Pid(); pid != 0 {
		d.pids[p.Name] = pid
	}
	return d.pids[p.Name]
}

// writeReadyFile replaces the ready file in one step: no reader sees half of it.
func (d *demo) writeReadyFile() error {
	path := d.options.readyFile
	if path == "" {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.pids == nil {
		d.pids = map[string]int{}
	}
	content := readyFile{
		MainURL: d.url(0), ObservatoryURL: d.url(1), demoCredentials: d.tokens,
		MainDBURL:    d.stack.Primary.URL(demoDatabase),
		ReplicaDBURL: d.stack.Replica.URL(demoDatabase),
		RedisURL:     d.stack.Redis.URL(),
		DataDir:      d.stack.Dir,
		LinkURL:      d.stack.Link.URL(),
		GitHubURL:    d.standIn.url,
		Pids: readyPids{
			Primary: d.pid(d.stack.Primary.Process), Replica: d.pid(d.stack.Replica.Process),
			Redis: d.pid(d.stack.Redis.Process), APIMain: d.pid(d.apis[0]),
		},
	}
	for i, api := range d.apis[1:] {
		content.ObservatoryURLs = append(content.ObservatoryURLs, d.url(i+1))
		content.Pids.APIObservatory = append(content.Pids.APIObservatory, d.pid(api))
	}
	text, err := json.MarshalIndent(content, "", "  ")
	if err != nil {
		return err
	}
	text = append(text, '\n')
	aside := path + ".new"
	if err := os.WriteFile(aside, text, 0o600); err != nil {
		return fmt.Errorf("writing the ready file: %w", err)
	}
	if err := os.Rename(aside, path); err != nil {
		return fmt.Errorf("writing the ready file: %w", err)
	}
	d.wrote = text
	return nil
}

// removeReadyFile removes the ready file, unless another demo has put its own
// in the place meanwhile. It names pids and ports, so no two are alike.
func (d *demo) removeReadyFile() error {
	content, err := os.ReadFile(d.options.readyFile)
	if errors.Is(err, os.ErrNotExist) || err == nil && !bytes.Equal(content, d.wrote) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking whose the ready file is: %w", err)
	}
	return os.Remove(d.options.readyFile)
}

// close ends everything; the ready file goes first, for it promises that
// everything answers.
func (d *demo) close() error {
	d.mu.Lock()
	wasReady := d.ready
	d.ready = false
	d.mu.Unlock()
	var failed []error
	if wasReady && d.options.readyFile != "" {
		failed = append(failed, d.removeReadyFile())
	}
	if d.stack != nil {
		failed = append(failed, d.stack.Close())
	}
	if d.standIn != nil {
		failed = append(failed, d.standIn.server.Close())
	}
	http.DefaultClient.CloseIdleConnections()
	return errors.Join(failed...)
}
