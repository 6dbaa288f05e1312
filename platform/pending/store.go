package pending

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/rdb"
)

// Durability says whether a Redis that may lose acknowledged writes is used.
type Durability string

// Strict refuses a server that can lose acknowledged writes; Relaxed uses it,
// and Status says so.
const (
	Strict  Durability = "strict"
	Relaxed Durability = "relaxed"
)

// Options of a Store.
type Options struct {
	// Site is the site's short name, part of every key.
	Site string
	// Tables are the buffered tables, Decoder reads the stored steps.
	Tables  []Table
	Decoder Decoder
	// Capacity bounds the transactions waiting in the buffer, dead letters
	// included (default 1,000,000).
	Capacity int
	// Retention is how long a replicated transaction is kept (default 1 h): a
	// failover at main can take back what this site's replica already showed.
	Retention time.Duration
	// Durability defaults to Strict.
	Durability Durability
	Logger     *slog.Logger
	// Now is the clock, time.Now unless told.
	Now func() time.Time
	// loadCount bounds one page of a load, 500 but in tests.
	loadCount int
}

// Store is the Redis of a secondary site with this process's view of it. It is
// safe for concurrent use.
type Store struct {
	client *rdb.Client
	prefix string
	opts   Options
	log    *slog.Logger
	now    func() time.Time

	// published is nil after a change until someone asks for a view: a burst of
	// changes makes one picture.
	published atomic.Pointer[View]
	mu        sync.Mutex
	state     *state
	last      View
	pictured  time.Time     // when last was taken
	changed   chan struct{} // closed by the next change; nil while nobody waits

	sharing sharing
	follows *follower
	forget  func() error      // ends the remembering of a silent Redis
	names   map[string]string // of the one exchange that runs
	status  atomic.Pointer[Status]
	took    atomic.Pointer[func(time.Duration)] // of each accept script

	unchecked atomic.Int64 // transactions accepted without their checks
}

// Status is what a health check wants to know of the Redis behind a Store.
type Status struct {
	// Reachable is set when the last exchange succeeded; Err says why not.
	Reachable bool
	Err       error
	// Checked is set once the settings could be read; Durability then holds
	// what was found, also in relaxed mode.
	Checked    bool
	Durability rdb.Durability
	Mode       Durability
	// RefusedFull is when Redis last refused a transaction for lack of room; zero when it
	// has taken one since.
	RefusedFull time.Time
}

// ErrNotDurable is returned by Open for a Redis that can lose acknowledged
// writes, unless Options.Durability is Relaxed.
var ErrNotDurable = errors.New("the buffer's Redis is not durable")

// Open prepares a Store and starts following. A Redis that cannot be reached is
// no error: everything answers pending-unavailable until it can be, and its
// settings are checked then. The caller closes the Store, and afterwards client.
func Open(ctx context.Context, client *rdb.Client, o Options) (*Store, error) {
	if o.Site == "" || o.Decoder == nil {
		return nil, errors.New("opening the buffer: site and decoder are required")
	}
	if o.Capacity == 0 {
		o.Capacity = 1_000_000
	}
	if o.Retention == 0 {
		o.Retention = time.Hour
	}
	if o.Durability == "" {
		o.Durability = Strict
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.loadCount == 0 {
		o.loadCount = 500
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Store{client: client, prefix: prefixOf(o.Site), opts: o, log: o.Logger, now: o.Now, state: newState(o.Tables, o.Decoder), names: map[string]string{}}
	s.status.Store(&Status{Mode: o.Durability})
	client.OnConnect(s.onConnect)
	if err := s.CheckDurability(ctx); err != nil && !rdb.Unreachable(err) {
		return nil, err
	}
	if _, err := s.CatchUp(ctx); err != nil {
		s.log.WarnContext(ctx, "the buffer cannot be read yet", "site", o.Site, "error", err)
	}
	s.follows = s.follow()
	// A Redis that hangs costs one request its time limit, and the others nothing:
	// reads and writes are refused at once until it answers.
	s.forget = client.FailFast(s.followed)
	return s, nil
}

// Close ends the following. Views taken before stay usable.
func (s *Store) Close() error { return errors.Join(s.forget(), s.follows.stop()) }

// Retention is how long a replicated transaction is kept.
func (s *Store) Retention() time.Duration { return s.opts.Retention }

// Site is the short name of the site.
func (s *Store) Site() string { return s.opts.Site }

// Status tells how Redis was when it was last spoken to.
func (s *Store) Status() Status { return *s.status.Load() }

// ObserveAccepts lets f know how long Redis took to store each accepted
// transaction, fsync included.
func (s *Store) ObserveAccepts(f func(took time.Duration)) { s.took.Store(&f) }

// Unchecked counts the transactions that this process has accepted without their checks.
func (s *Store) Unchecked() int64 { return s.unchecked.Load() }

// Server asks Redis how it is. fsync is the longest one that it remembers, 0 when
// its latency monitor is off, has seen none, or may not be asked.
func (s *Store) Server(ctx context.Context) (server rdb.Server, fsync time.Duration, err error) {
	if server, err = s.client.Server(ctx); err != nil {
		return server, 0, s.unavailable("asking Redis how it is", err)
	}
	if fsync, err = s.client.SlowestFsync(ctx); err != nil && rdb.Unreachable(err) {
		return server, 0, s.unavailable("asking Redis for its slowest fsync", err)
	}
	return server, fsync, nil
}

func (s *Store) setStatus(f func(*Status)) {
	for {
		old := s.status.Load()
		n := *old
		f(&n)
		if s.status.CompareAndSwap(old, &n) {
			return
		}
	}
}

// CheckDurability reads the settings of the server that answers now, by which writes are
// accepted or refused from then on, and logs what has changed. ErrNotDurable: it can lose
// acknowledged writes, and Options.Durability is Strict.
func (s *Store) CheckDurability(ctx context.Context) error {
	d, err := s.client.Durability(ctx)
	if err != nil {
		return fmt.Errorf("checking the buffer's Redis: %w", err)
	}
	before := s.status.Load()
	s.setStatus(func(st *Status) { st.Checked, st.Durability = true, d })
	if before.Checked && slices.Equal(before.Durability.Findings, d.Findings) && before.Durability.Unknown == d.Unknown {
		return s.refusal(d)
	}
	if d.Unknown != "" {
		s.log.WarnContext(ctx, "some settings of the buffer's Redis are not known", "unknown", d.Unknown)
	}
	switch refusal := s.refusal(d); {
	case refusal != nil:
		s.log.ErrorContext(ctx, "the buffer's Redis is not as it must be", "error", refusal)
	case !d.Safe():
		s.log.WarnContext(ctx, "the buffer's Redis can lose acknowledged writes", "findings", d.Findings)
	case before.Checked && !before.Durability.Safe():
		s.log.InfoContext(ctx, "the buffer's Redis keeps again what it acknowledges")
	}
	return s.refusal(d)
}

// refusal is ErrNotDurable with the reasons, nil when the site may accept writes.
func (s *Store) refusal(d rdb.Durability) error {
	if d.Safe() || s.opts.Durability == Relaxed {
		return nil
	}
	return fmt.Errorf("%w: %s (BUFFER_DURABILITY=relaxed overrides)", ErrNotDurable, d.Error())
}

// durable refuses to accept into a server that was found not to be durable.
func (s *Store) durable() error {
	st := s.status.Load()
	if st.Mode == Strict && st.Checked && !st.Durability.Safe() {
		return problem.PendingUnavailable.New("the site's buffer refuses writes: its Redis can lose them")
	}
	return nil
}

// onConnect runs first on every new connection: a Redis that was restarted,
// emptied or restored is put back before anyone relies on it.
func (s *Store) onConnect(ctx context.Context, conn *redis.Conn) error {
	var info *redis.StringCmd
	var load *redis.StringCmd
	if _, err := conn.Pipelined(ctx, func(p redis.Pipeliner) error {
		info, load = p.Info(ctx, "server"), p.Get(ctx, s.prefix+"load")
		return nil
	}); err != nil && !errors.Is(err, redis.Nil) {
		return fmt.Errorf("asking a new connection which Redis it is: %w", err)
	}
	_, id, _ := strings.Cut(info.Val(), "run_id:")
	id, _, _ = strings.Cut(id, "\r\n")
	if id != "" && strings.HasPrefix(load.Val(), id+":") {
		return nil
	}
	_, err := s.putBack(ctx, conn)
	return err
}

// putBack runs the put-back script, which does nothing when another process was
// first, and returns the load that holds now.
func (s *Store) putBack(ctx context.Context, c redis.Scripter) (load string, err error) {
	load, err = scripts.putBack.Run(ctx, c, []string{s.prefix}, token()).Text()
	if err != nil {
		return "", fmt.Errorf("putting pending transactions back after a restart of Redis: %w", err)
	}
	return load, nil
}

// unavailable turns an error of Redis into the problem a client gets.
func (s *Store) unavailable(doing string, err error) error {
	var p *problem.Problem
	switch {
	case err == nil:
		return nil
	case errors.As(err, &p) || errors.Is(err, ErrStale):
		return err
	case rdb.Full(err):
		return &refusal{problem.BufferFull.New("the site's Redis has no room"), fmt.Errorf("%s: %w", doing, err)}
	}
	return &refusal{problem.PendingUnavailable.New("the site's buffer cannot be reached"), fmt.Errorf("%s: %w", doing, err)}
}

// refusal is a problem for the client that keeps its cause for the log.
type refusal struct {
	problem *problem.Problem
	cause   error
}

func (r *refusal) Error() string   { return r.cause.Error() }
func (r *refusal) Unwrap() []error { return []error{r.problem, r.cause} }

// Current is this process's view without asking Redis. It holds everything this
// process accepted or saw, but perhaps not what another one did just now: good
// where a script's guards notice that, and nowhere else.
func (s *Store) Current() View {
	if v := s.published.Load(); v != nil {
		return *v
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current()
}

// pictureAge is how long Recent makes do with a picture.
const pictureAge = 20 * time.Millisecond

// Recent is Current as it was some milliseconds ago: what this process accepted
// since may be missing. Under a burst of writes it spares copying the trees for each
// of them.
func (s *Store) Recent() View {
	if v := s.published.Load(); v != nil {
		return *v
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last.sets != nil && time.Since(s.pictured) < pictureAge {
		return s.last
	}
	return s.current()
}

// current publishes the state; the caller holds mu.
func (s *Store) current() View {
	if v := s.published.Load(); v != nil {
		return *v
	}
	v := s.state.publish(s.last)
	s.last, s.pictured = v, time.Now()
	s.published.Store(&v)
	return v
}

// touched makes the next reader take a new picture, and wakes who waits for one;
// the caller holds mu.
func (s *Store) touched() {
	s.published.Store(nil)
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

// Watch returns a channel that is closed at the next change of the view,
// whichever process made it. Take it before looking at Current, or a change
// between the two is missed:
//
//	for {
//		changed := store.Watch()
//		if done(store.Current()) { return }
//		select { case <-changed: case <-ctx.Done(): return }
//	}
func (s *Store) Watch() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	return s.changed
}
