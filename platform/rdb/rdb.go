// Package rdb opens Redis clients with bounded timeouts and tells whether a
// server is safe to keep acknowledged writes in.
package rdb

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Options describe one Redis server. The zero value of everything but URL or
// Addr is usable.
type Options struct {
	// URL is redis://, rediss:// (TLS) or unix://, with user, password and
	// database. It wins over the single fields below.
	URL string
	// Addr is host:port, with DB and Password, for configurations without a URL.
	Addr     string
	DB       int
	Password string
	// Name is shown by CLIENT LIST.
	Name string
	// PoolSize bounds the connections (default 64). A caller beyond it waits
	// PoolTimeout.
	PoolSize int
	// Timeout bounds dialling, each write and each read (default 2s): a server
	// that does not answer for so long counts as unreachable. A durable write
	// waits for the disk, so it should not be much shorter.
	Timeout time.Duration
}

// Client is a go-redis client that can run something first on every new
// connection. It is safe for concurrent use; Close ends it.
type Client struct {
	*redis.Client
	opts    *redis.Options
	silence *silence
	first   atomic.Pointer[func(context.Context, *redis.Conn) error]
}

func init() {
	// go-redis reports every failed pool connection to stderr by itself; errors
	// reach the callers too and are logged where they are handled.
	redis.SetLogger(quiet{})
}

type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

// Open makes a client. It does not connect: an unreachable server is not a
// mistake of the configuration, a URL that cannot be read is.
func Open(o Options) (*Client, error) {
	r := &redis.Options{Addr: o.Addr, DB: o.DB, Password: o.Password}
	if o.URL != "" {
		var err error
		if r, err = redis.ParseURL(o.URL); err != nil {
			return nil, fmt.Errorf("reading the Redis URL: %w", redact(err))
		}
		if r.TLSConfig != nil {
			r.TLSConfig.MinVersion = tls.VersionTLS12
		}
	}
	if r.Addr == "" {
		return nil, errors.New("reading the Redis settings: neither a URL nor an address")
	}
	timeout := o.Timeout
	if timeout == 0 {
		timeout = 2 * time.Second
	}
	r.DialTimeout, r.ReadTimeout, r.WriteTimeout = timeout, timeout, timeout
	r.PoolTimeout = timeout
	r.PoolSize = o.PoolSize
	if r.PoolSize == 0 {
		r.PoolSize = 64
	}
	r.ClientName = o.Name
	r.ContextTimeoutEnabled = true
	// The library would repeat a command that ran into its limit as well, and the
	// caller would wait twice: repetitions are the hook's (see silence).
	r.MaxRetries = -1
	r.DialerRetries = 1
	r.DisableIdentity = true
	r.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return open(r), nil
}

func open(r *redis.Options) *Client {
	c := &Client{silence: &silence{}}
	r.OnConnect = func(ctx context.Context, conn *redis.Conn) error {
		if f := c.first.Load(); f != nil {
			return (*f)(ctx, conn)
		}
		return nil
	}
	c.opts = r
	c.Client = redis.NewClient(r)
	c.AddHook(c.silence)
	return c
}

// OnConnect sets what runs on every connection made from now on, before any
// other command of it; its error closes the connection. A restarted server is
// met by a new connection, so nothing can speak to it before f has.
func (c *Client) OnConnect(f func(context.Context, *redis.Conn) error) { c.first.Store(&f) }

// Fork makes a second client of the same server with a small pool of its own,
// for a follower whose blocking reads must not take the callers' connections
// and whom closing must interrupt. It shares what OnConnect set so far.
func (c *Client) Fork(name string) *Client {
	o := *c.opts
	o.ClientName = name
	o.PoolSize = 2
	f := open(&o)
	f.first.Store(c.first.Load())
	return f
}

// Unreachable reports whether err says that the server did not answer, or not
// yet (still loading its data): that is not a wrong answer, and passes by
// itself.
func Unreachable(err error) bool {
	if err == nil || errors.Is(err, redis.Nil) {
		return false
	}
	var n net.Error
	return errors.As(err, &n) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, redis.ErrPoolTimeout) || errors.Is(err, ErrSilent) ||
		redis.IsLoadingError(err)
}

// Full reports whether err says that the server has no room for a write: its
// memory limit is reached, or its disk refuses.
func Full(err error) bool {
	return err != nil && (redis.IsOOMError(err) || redis.HasErrorPrefix(err, "OOM") || redis.HasErrorPrefix(err, "MISCONF"))
}

// redact keeps a URL, which may hold a password, out of an error.
func redact(err error) error {
	var u interface{ Unwrap() error }
	if errors.As(err, &u) && u.Unwrap() != nil {
		return u.Unwrap()
	}
	return err
}
