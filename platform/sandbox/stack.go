package sandbox

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// Options say how a stack is to be. The zero value is a stack in a temporary
// folder on free ports, with a link without delay.
type Options struct {
	// Dir holds everything the stack keeps; it need not exist. Empty is a new
	// temporary folder. A folder that an earlier stack kept is used again.
	Dir string
	// TempDir is where to make temporary folders; empty is the system's.
	TempDir string
	// Keep leaves the data when the stack is closed.
	Keep bool
	// PortBase makes the ports of the stack PortBase, PortBase+1, …; 0 picks free ones.
	PortBase int
	// ExtraPorts is how many further ports to set aside for programs run with Run.
	ExtraPorts int
	// RTT is the link's round trip time.
	RTT time.Duration
	// Standby gives the main site a second server, an asynchronous standby of the
	// first, for FailOver. Not with Keep.
	Standby bool
	// Durable lets PostgreSQL write through to the disk, as a real server does.
	Durable bool
	// Logger receives restarts and other events; nil discards them.
	Logger *slog.Logger
	// Changed is called, from any goroutine and never twice at once, whenever
	// a process has another pid.
	Changed func()
}

// Stack is a primary, a streaming replica, a Redis and the link between the
// two sites: real processes, each supervised.
type Stack struct {
	// Primary is the main site's server that takes writes. FailOver exchanges it
	// with Standby: nobody else may look at the two meanwhile.
	Primary *Postgres
	// Standby is the main site's other server; nil without Options.Standby.
	Standby *Postgres
	// Replica is the observatory's.
	Replica *Postgres
	Redis   *Redis
	Link    *Link
	// Dir is where the stack keeps everything.
	Dir string
	// Ports are the ones set aside by Options.ExtraPorts.
	Ports []int
	// Fresh tells that the data was made by this start.
	Fresh bool

	options  Options
	binaries Binaries
	owner    owner
	log      *slog.Logger
	secrets  secrets
	pair     *mainPair // nil without Options.Standby
	servers  string    // the servers' data; Dir/servers, or where that link leads
	lock     *os.File
	made     []string // what to remove at the end

	changeMu sync.Mutex
	mu       sync.Mutex
	programs []*Process
	closed   bool
}

// secrets are generated once for a folder and kept beside its data.
type secrets struct {
	Postgres    string      `json:"postgres"`
	Replication string      `json:"replication"`
	Redis       string      `json:"redis"`
	Roles       roleSecrets `json:"roles"`
}

// Files beside the data: the first marks a folder that can be started again,
// the second is locked while a stack runs there.
const (
	stateFile = "sandbox.json"
	lockFile  = "lock"
)

// Start makes a stack, or starts one that was kept, and returns when
// everything answers. Missing programs are a *MissingError.
func Start(ctx context.Context, options Options) (*Stack, error) {
	binaries, err := Find()
	if err != nil {
		return nil, err
	}
	serverOwner, err := serverOwner()
	if err != nil {
		return nil, err
	}
	if options.Standby && options.Keep {
		return nil, errors.New("a stack with a standby cannot be kept: after a failover nobody would know which of the two is the primary")
	}
	s := &Stack{options: options, binaries: binaries, owner: serverOwner, log: options.Logger}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if err := s.start(ctx); err != nil {
		// Whoever reads the error may want the logs, but a half-made stack is
		// of no use to anybody.
		return nil, errors.Join(fmt.Errorf("starting the stack: %w", err), s.Close())
	}
	return s, nil
}

func (s *Stack) start(ctx context.Context) error {
	if err := s.prepareDir(); err != nil {
		return err
	}
	if err := s.loadState(); err != nil {
		return err
	}
	own := 6
	if s.options.Standby {
		own += pairPorts
	}
	ports, err := freePorts(s.options.PortBase, own+s.options.ExtraPorts)
	if err != nil {
		return err
	}
	// The programs' ports come first: they are what people type.
	s.Ports = ports[:s.options.ExtraPorts]
	ports = ports[s.options.ExtraPorts:]
	primary := "primary"
	if s.options.Standby {
		primary = "cologne-a"
	}
	s.Primary = s.newPostgres(primary, "cologne", ports[0])
	s.Replica = s.newPostgres("replica", "observatory", ports[1])
	s.Redis = s.newRedis(ports[2])
	s.Link, err = NewLink(fmt.Sprintf("127.0.0.1:%d", ports[0]), s.options.RTT, ports[3], ports[4])
	if err != nil {
		return err
	}
	if err := s.Link.Serve(ports[5]); err != nil {
		return err
	}
	if s.options.Standby {
		if err := s.preparePair(ports[6:]); err != nil {
			return err
		}
	}
	redis := make(chan error, 1)
	go func() { redis <- s.startRedis(ctx) }()
	if err := errors.Join(s.startPair(ctx), <-redis); err != nil {
		return err
	}
	return s.saveState()
}

func (s *Stack) startPair(ctx context.Context) error {
	if s.Fresh {
		if err := s.createPrimary(ctx); err != nil {
			return err
		}
		if s.pair != nil {
			if err := s.createStandby(ctx); err != nil {
				return err
			}
		}
		return s.createReplica(ctx)
	}
	for _, p := range []*Postgres{s.Primary, s.Replica} {
		if err := s.configure(p); err != nil {
			return err
		}
		if err := p.Start(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *Stack) startRedis(ctx context.Context) error {
	if s.Fresh {
		if err := s.owner.mkdir(s.Redis.Dir); err != nil {
			return err
		}
	}
	if err := s.configureRedis(); err != nil {
		return err
	}
	return s.Redis.Start(ctx)
}

// prepareDir makes the stack's folder, or enters one that was kept.
func (s *Stack) prepareDir() error {
	dir := s.options.Dir
	if dir == "" {
		made, err := s.owner.tempDir(s.options)
		if err != nil {
			return err
		}
		dir = made
		s.made = append(s.made, dir)
	} else {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return err
		}
		dir = abs
		if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
			s.made = append(s.made, dir)
		}
	}
	s.Dir = dir
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	_, err = os.Stat(filepath.Join(dir, stateFile))
	s.Fresh = errors.Is(err, os.ErrNotExist)
	if s.Fresh && len(entries) > 0 {
		return fmt.Errorf("%s is not empty, and no stack was kept there", dir)
	}
	lock, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	s.lock = lock
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		s.made = nil
		return fmt.Errorf("%s is in use by another stack", dir)
	}
	return s.prepareServers()
}

// prepareServers makes the folder of the servers' data: below Dir, or, when
// their user cannot get there (a 0700 home, run as root), in a temporary folder
// that a symbolic link below Dir leads to.
func (s *Stack) prepareServers() error {
	path := filepath.Join(s.Dir, "servers")
	s.servers = path
	if !s.Fresh {
		real, err := filepath.EvalSymlinks(path)
		if err != nil {
			return err
		}
		s.servers = real
		s.made = append(s.made, real, path)
		return nil
	}
	if !s.owner.reaches(s.Dir) {
		// Without a lock of its own it must not look abandoned.
		elsewhere, err := s.owner.tempDir(Options{Keep: true})
		if err != nil {
			return err
		}
		s.made = append(s.made, elsewhere)
		if err := os.Symlink(elsewhere, path); err != nil {
			return err
		}
		s.servers = elsewhere
		s.made = append(s.made, path)
		return s.owner.take(elsewhere)
	}
	s.made = append(s.made, path)
	return s.owner.mkdir(path)
}

func (s *Stack) loadState() error {
	path := filepath.Join(s.Dir, stateFile)
	logs := filepath.Join(s.Dir, "log")
	s.made = append(s.made, path, logs)
	if err := os.MkdirAll(logs, 0o755); err != nil {
		return err
	}
	if s.Fresh {
		s.secrets = secrets{Postgres: rand.Text(), Replication: rand.Text(), Redis: rand.Text(), Roles: newRoleSecrets()}
		return nil
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(content, &s.secrets); err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	return nil
}

// saveState marks the folder as one that can be started again.
func (s *Stack) saveState() error {
	content, err := json.Marshal(s.secrets)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(s.Dir, stateFile), content, 0o600)
}

func (s *Stack) logFile(process string) string {
	return filepath.Join(s.Dir, "log", process+".log")
}

// LinkURL is a libpq URI of the primary's superuser through the link's database
// line, the way the observatory goes.
func (s *Stack) LinkURL(database string) string {
	return s.mainURL(database, superuser, s.secrets.Postgres, s.Link.lines(DatabaseLine))
}

// PrimaryURL is a libpq URI of the superuser for the main site's server that
// takes writes, whichever it is, past the link.
func (s *Stack) PrimaryURL(database string) string {
	return s.mainURL(database, superuser, s.secrets.Postgres, nil)
}

// Remember lets Close remove a path that the caller made in Dir.
func (s *Stack) Remember(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.made = append(s.made, path)
}

// Run starts a program of the caller's under supervision and waits until it
// answers: ready is asked until it returns nil. It runs as this process's user
// and is ended with SIGTERM.
func (s *Stack) Run(ctx context.Context, name string, command Command, ready func(context.Context) error) (*Process, error) {
	if command.Log == "" {
		command.Log = s.logFile(name)
	}
	if command.Dir == "" {
		command.Dir = s.Dir
	}
	command.deathSignal = syscall.SIGKILL
	p := newProcess(name, processSpec{
		// A caller's question is more than a ping, and may be logged where it fails.
		command: func() Command { return command }, ready: ready, pause: 100 * time.Millisecond, stop: syscall.SIGTERM,
	}, s.log, s.changed)
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, errors.New("the stack is closed")
	}
	s.programs = append(s.programs, p)
	s.mu.Unlock()
	return p, p.Start(ctx)
}

// changed tells the caller about another pid, one call at a time.
func (s *Stack) changed() {
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	if s.options.Changed == nil || closed {
		return
	}
	s.changeMu.Lock()
	defer s.changeMu.Unlock()
	s.options.Changed()
}

// Close ends every process within 20 seconds, in order (programs, link, servers), and
// removes everything the stack has made unless it is to be kept.
func (s *Stack) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	programs := s.programs
	s.mu.Unlock()
	var failed []error
	failed = append(failed, stopAll(10*time.Second, programs))
	// Before the servers: a primary would wait for a replica behind a black hole.
	if s.Link != nil {
		s.Link.Close()
	}
	if s.pair != nil {
		s.pair.close()
	}
	var servers []*Process
	if s.Redis != nil {
		servers = append(servers, s.Redis.Process)
	}
	if s.Replica != nil {
		servers = append(servers, s.Replica.Process, s.Primary.Process)
	}
	if s.Standby != nil {
		servers = append(servers, s.Standby.Process)
	}
	failed = append(failed, stopAll(7*time.Second, servers))
	failed = append(failed, s.remove())
	return errors.Join(failed...)
}

func stopAll(limit time.Duration, processes []*Process) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	results := make(chan error)
	for _, p := range processes {
		go func() { results <- p.Stop(ctx) }()
	}
	var failed []error
	for range processes {
		failed = append(failed, <-results)
	}
	return errors.Join(failed...)
}

// remove takes away what the stack has made, newest first.
func (s *Stack) remove() error {
	if s.lock == nil {
		return nil
	}
	var failed []error
	if !s.options.Keep {
		for i := len(s.made) - 1; i >= 0; i-- {
			failed = append(failed, os.RemoveAll(s.made[i]))
		}
		if len(s.made) > 0 {
			failed = append(failed, os.RemoveAll(s.lock.Name()))
		}
	}
	failed = append(failed, s.lock.Close())
	return errors.Join(failed...)
}
