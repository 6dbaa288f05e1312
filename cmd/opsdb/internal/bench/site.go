package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/opsdb/opsdb/modules/auth"
	"github.com/opsdb/opsdb/modules/transfers"
	"github.com/opsdb/opsdb/platform/sandbox"
)

// site is a secondary site of its own on the stack: a name, a database of the
// stack's Redis and an API server. With one for each amount of pending rows these
// can be measured in turns, and what one part leaves behind disturbs no other.
type site struct {
	*bench
	name     string
	url      string
	id       int64 // of the site's row
	redis    *redis.Client
	database int
	env      []string
	servers  []*sandbox.Process
}

// newSite adds a site to the primary and starts its API server.
func (b *bench) newSite(ctx context.Context, env ...string) (*site, error) {
	b.sites++
	// Database 0 is the demo's, 1 the floors'.
	s := &site{bench: b, name: fmt.Sprintf("bench%d", b.sites), database: 1 + b.sites, env: env}
	if _, err := transfers.AddSite(ctx, b.primary, transfers.NewSite{ShortName: s.name, Name: s.name}); err != nil {
		return nil, err
	}
	if err := b.primary.QueryRow(ctx, `SELECT id FROM site WHERE short_name = $1`, s.name).Scan(&s.id); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(s.keysDir(), 0o700); err != nil {
		return nil, err
	}
	key, err := auth.InitSigningKey(s.keysDir(), s.name, time.Now())
	if err != nil {
		return nil, err
	}
	if err := auth.NewAdmin(b.primary).AddSigningKey(ctx, s.name, key.ID, key.PublicText()); err != nil {
		return nil, err
	}
	if err := b.Stack.WaitForReplay(ctx); err != nil {
		return nil, err
	}
	options, err := redis.ParseURL(b.Stack.Redis.DatabaseURL(s.database))
	if err != nil {
		return nil, err
	}
	options.ReadTimeout = time.Minute
	s.redis = redis.NewClient(options)
	s.url, err = s.serve(ctx, s.lists)
	if err != nil {
		return nil, errors.Join(err, s.close(ctx))
	}
	return s, nil
}

func (s *site) keysDir() string { return filepath.Join(s.Stack.Dir, "keys", s.name) }

// key is the name of one of the site's keys in Redis.
func (s *site) key(name string) string { return "site:" + s.name + ":" + name }

// serve starts a further API server of the site and waits until it is ready.
func (s *site) serve(ctx context.Context, ready func(ctx context.Context, url string) error) (url string, err error) {
	env := append([]string{
		"SITE_NAME=" + s.name, "SITE_TYPE=secondary",
		"MAIN_DB_URL=" + s.Stack.ProcessorURL(s.Database),
		"LOCAL_DB_URL=" + s.Stack.ReaderURL(s.Database),
		"REDIS_URL=" + s.Stack.Redis.DatabaseURL(s.database),
		"SITE_KEYS_DIR=" + s.keysDir(),
		"RATE_LIMIT=1000000", "LOG_LEVEL=warn",
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "TZ=UTC", "SHUTDOWN_TIMEOUT=5s",
	}, s.env...)
	name := fmt.Sprintf("%s_%d", s.name, len(s.servers)+1)
	url, process, err := s.run(ctx, name, s.serveArgs(), append(env, s.Sockets()...), ready)
	if err == nil {
		s.servers = append(s.servers, process)
	}
	return url, err
}

// run starts this program as a server at a free address.
func (b *bench) run(ctx context.Context, name string, args, env []string, ready func(ctx context.Context, url string) error) (string, *sandbox.Process, error) {
	self, err := os.Executable()
	if err != nil {
		return "", nil, err
	}
	port, err := sandbox.FreePort()
	if err != nil {
		return "", nil, err
	}
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	url := "http://" + addr
	limited, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	process, err := b.Stack.Run(limited, name, sandbox.Command{Path: self, Args: args, Env: append(env, "HTTP_ADDR="+addr)},
		func(ctx context.Context) error { return ready(ctx, url) })
	return url, process, err
}

// lists asks a server for a page, which needs a folded view and the replica.
func (s *site) lists(ctx context.Context, url string) error {
	return call(ctx, http.MethodGet, url+"/executed_obs_units?limit=1", s.Service, nil, nil)
}

// stop ends a server that run has started.
func (b *bench) stop(ctx context.Context, process *sandbox.Process) error {
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), 8*time.Second)
	defer cancel()
	return process.Stop(ending)
}

// close ends the site's servers and forgets its buffer.
func (s *site) close(ctx context.Context) error {
	var err error
	for _, process := range s.servers {
		err = errors.Join(err, s.stop(ctx, process))
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	return errors.Join(err, s.redis.FlushDB(ending).Err(), s.redis.Close())
}

func (s *site) pause(ctx context.Context) error { return s.operate(ctx, "/buffer/pause") }

func (s *site) resume(ctx context.Context) error { return s.operate(ctx, "/buffer/resume") }

// operate makes an operator's request, again while the site says that it cannot now:
// right after a large load the replica may be too busy to look a credential up.
func (s *site) operate(ctx context.Context, path string) error {
	limited, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		err := call(limited, http.MethodPost, s.url+path, s.Admin, nil, nil)
		var refused *refusal
		if !errors.As(err, &refused) || refused.status != http.StatusServiceUnavailable {
			return err
		}
		select {
		case <-limited.Done():
			return err
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// buffered is the length of the buffer, as an operator sees it.
func (s *site) buffered(ctx context.Context) (int, error) {
	n, err := s.redis.LLen(ctx, s.key("transaction_buffer")).Result()
	return int(n), err
}

// drainedTo waits until the buffer holds no more than n.
func (s *site) drainedTo(ctx context.Context, n int, limit time.Duration) error {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		size, err := s.buffered(limited)
		if err == nil && size <= n {
			return nil
		}
		select {
		case <-limited.Done():
			return errors.Join(fmt.Errorf("the buffer of %s still holds %d transactions after %v", s.name, size, limit), err)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// metrics reads the figures of a server that have one of the names, without their
// labels; those of several label sets are added up.
func metrics(ctx context.Context, url, token string, names ...string) (map[string]float64, error) {
	var text []byte
	if err := call(ctx, http.MethodGet, url+"/metrics", token, nil, &text); err != nil {
		return nil, err
	}
	out := map[string]float64{}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		series, value, _ := strings.Cut(lines.Text(), " ")
		if at := strings.LastIndex(lines.Text(), "} "); at >= 0 {
			value = lines.Text()[at+2:]
		}
		name, _, _ := strings.Cut(series, "{")
		for _, wanted := range names {
			if name == wanted {
				v, err := strconv.ParseFloat(value, 64)
				if err != nil {
					return nil, fmt.Errorf("reading metric %s: %w", name, err)
				}
				out[name] += v
			}
		}
	}
	return out, lines.Err()
}

// shows waits until a server's own view of a paused buffer holds n pending transactions, beside the audit log's event of
// the pause.
func (s *site) shows(ctx context.Context, url string, n int) error {
	n++
	limited, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	for {
		// A page makes the server catch up; while that takes long it is refused.
		asked := s.lists(limited, url)
		m, err := metrics(limited, url, s.Admin, "opsdb_buffer_transactions")
		if asked == nil && err == nil && int(m["opsdb_buffer_transactions"]) == n {
			return nil
		}
		select {
		case <-limited.Done():
			return errors.Join(fmt.Errorf("%s shows %.0f pending transactions, not %d", s.name, m["opsdb_buffer_transactions"], n), asked, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// refusal is an answer that is no success.
type refusal struct {
	status int
	header http.Header
	detail string
}

// Error implements error.
func (r *refusal) Error() string { return fmt.Sprintf("%d %s", r.status, r.detail) }

// call makes one request that is not measured. in is sent as JSON, or as it is when
// it is bytes; out gets the answer's JSON, or the answer itself when it is bytes.
func call(ctx context.Context, method, url, token string, in, out any) error {
	var body io.Reader
	if in != nil {
		text, raw := in.([]byte)
		if !raw {
			var err error
			if text, err = json.Marshal(in); err != nil {
				return err
			}
		}
		body = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	if in != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	text, readErr := io.ReadAll(response.Body)
	if err := errors.Join(readErr, response.Body.Close()); err != nil {
		return err
	}
	if response.StatusCode > 299 {
		return fmt.Errorf("%s %s: %w", method, url, &refusal{response.StatusCode, response.Header, strings.TrimSpace(string(text))})
	}
	switch out := out.(type) {
	case nil:
		return nil
	case *[]byte:
		*out = text
		return nil
	default:
		if err := json.Unmarshal(text, out); err != nil {
			return fmt.Errorf("%s %s: reading the answer: %w", method, url, err)
		}
		return nil
	}
}
