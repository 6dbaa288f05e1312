package api

import (
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// maxLimiters bounds the memory of the limiter; beyond it the longest unused half
// is forgotten, which gives their owners a full bucket again.
const maxLimiters = 10_000

// limiter holds one bucket a caller.
type limiter struct {
	perSecond float64
	burst     int
	window    int    // seconds until an empty bucket is full again
	policy    string // of every caller, as the header RateLimit-Policy has it behind the name
	mu        sync.Mutex
	buckets   map[string]*bucket
}

type bucket struct {
	limit *rate.Limiter
	used  time.Time
}

func newLimiter(perSecond float64, burst int) *limiter {
	window := int(math.Ceil(float64(burst) / perSecond))
	return &limiter{perSecond: perSecond, burst: burst, window: window, policy: fmt.Sprintf(";q=%d;w=%d", burst, window), buckets: map[string]*bucket{}}
}

// of returns the bucket of a key.
func (l *limiter) of(key string, now time.Time) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.buckets[key]
	if b == nil {
		if len(l.buckets) >= maxLimiters {
			l.forget()
		}
		b = &bucket{limit: rate.NewLimiter(rate.Limit(l.perSecond), l.burst)}
		l.buckets[key] = b
	}
	b.used = now
	return b.limit
}

// spent tells whether the bucket of a key is empty. It makes none.
func (l *limiter) spent(key string, now time.Time) bool {
	l.mu.Lock()
	b := l.buckets[key]
	l.mu.Unlock()
	return b != nil && b.limit.TokensAt(now) < 1
}

// unused tells whether nothing was ever taken, so that nothing can be spent.
func (l *limiter) unused() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.buckets) == 0
}

// take takes one request out of the bucket of key. It returns how many are left, and
// how long to wait when there was none.
func (l *limiter) take(key string, now time.Time) (left int, wait time.Duration) {
	b := l.of(key, now)
	if !b.AllowN(now, 1) {
		wait = max(time.Millisecond, time.Duration((1-b.TokensAt(now))/l.perSecond*float64(time.Second)))
	}
	return max(0, int(b.TokensAt(now))), wait
}

// forget drops the half of the buckets that was used longest ago.
func (l *limiter) forget() {
	times := make([]time.Time, 0, len(l.buckets))
	for _, b := range l.buckets {
		times = append(times, b.used)
	}
	slices.SortFunc(times, time.Time.Compare)
	middle := times[len(times)/2]
	for key, b := range l.buckets {
		if !b.used.After(middle) {
			delete(l.buckets, key)
		}
	}
}

// proxies are the networks whose X-Forwarded-For is believed.
type proxies []netip.Prefix

func parseProxies(list []string) (proxies, error) {
	var known proxies
	for _, text := range list {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			addr, bad := netip.ParseAddr(text)
			if bad != nil {
				return nil, fmt.Errorf("trusted proxy %q is neither an address nor a network", text)
			}
			prefix = netip.PrefixFrom(addr, addr.BitLen())
		}
		known = append(known, prefix.Masked())
	}
	return known, nil
}

func (p proxies) trusted(addr netip.Addr) bool {
	for _, prefix := range p {
		if prefix.Contains(addr) {
			return true
		}
	}
	return false
}

// client is the address of the client: the last hop that is not a trusted proxy, so that nobody can claim another one by
// sending the header himself. It is the zero Addr where the connection has none.
func (p proxies) client(req *http.Request) netip.Addr {
	peer, err := netip.ParseAddrPort(req.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	addr := peer.Addr().Unmap()
	if !p.trusted(addr) {
		return addr.WithZone("")
	}
	hops := strings.Split(strings.Join(req.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && p.trusted(addr); i-- {
		next, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		addr = next.Unmap()
	}
	return addr.WithZone("")
}

// caller is whom requests without a valid credential are counted against: the client. Of IPv6 it is the network of 64 bits
// that one customer has, or else everybody there would have as many buckets as he likes.
func caller(client netip.Addr) string {
	if client.Is6() {
		return netip.PrefixFrom(client, 64).Masked().String()
	}
	return client.String()
}

// cors answers a browser's preflight for an origin that may call, and marks its
// other answers as readable; it reports whether the request is answered.
func (r *Router) cors(w http.ResponseWriter, req *http.Request) bool {
	origin := req.Header.Get("Origin")
	if origin == "" || len(r.opts.Origins) == 0 {
		return false
	}
	h := w.Header()
	h.Add("Vary", "Origin")
	allowed := false
	for _, known := range r.opts.Origins {
		allowed = allowed || strings.EqualFold(strings.TrimRight(known, "/"), origin)
	}
	if !allowed {
		return false
	}
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Allow-Credentials", "true")
	h.Set("Access-Control-Expose-Headers", "ETag, Link, Location, Warning, Retry-After, X-Request-Id, X-Site, X-Transaction-Id, X-Commit-LSN, X-Replay-LSN, X-Overlay, Idempotency-Replayed, RateLimit, RateLimit-Policy")
	if req.Method != http.MethodOptions || req.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	h.Set("Access-Control-Allow-Methods", strings.Join(methods, ", "))
	h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Last-Event-ID, Prefer, X-Min-LSN, X-Overlay, X-Request-Id")
	h.Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
	return true
}
