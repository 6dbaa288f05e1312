package tracetest

import (
	"github.com/opsdb/opsdb/platform/sandbox"
	"github.com/opsdb/opsdb/platform/sandbox/sandboxtest"
)

// What a test does to Redis itself. The site reaches it through line, which is down
// meanwhile: nobody may speak to a Redis that is not listened to yet.

// Restart kills Redis, which is started again with what its file has.
func (r *Recorder) Restart(line *sandbox.Line) {
	r.t.Helper()
	r.again(line, "redis restarted", func() {})
}

// Copy keeps what Redis holds, for Restore.
func (r *Recorder) Copy(line *sandbox.Line) {
	r.t.Helper()
	r.up(line, false)
	ctx := sandboxtest.Context(r.t)
	keys, err := r.client.Keys(ctx, "*").Result()
	if err != nil {
		r.t.Fatal(err)
	}
	r.kept = map[string]string{}
	for _, key := range keys {
		value, err := r.client.Dump(ctx, key).Result()
		if err != nil {
			r.t.Fatal(err)
		}
		r.kept[key] = value
	}
	r.tell(told{Kind: "redis copied"})
	r.up(line, true)
}

// Restore brings the copy back, with its counters and its load, in another run.
func (r *Recorder) Restore(line *sandbox.Line) {
	r.t.Helper()
	r.again(line, "redis restored", func() {
		r.flush()
		for key, value := range r.kept {
			if err := r.client.Restore(sandboxtest.Context(r.t), key, 0, value).Err(); err != nil {
				r.t.Fatal(err)
			}
		}
	})
}

// Empty loses everything that Redis holds, and restarts it.
func (r *Recorder) Empty(line *sandbox.Line) {
	r.t.Helper()
	r.again(line, "redis emptied", r.flush)
}

func (r *Recorder) flush() {
	if err := r.client.FlushDB(sandboxtest.Context(r.t)).Err(); err != nil {
		r.t.Fatal(err)
	}
}

func (r *Recorder) again(line *sandbox.Line, kind string, between func()) {
	r.t.Helper()
	r.up(line, false)
	between()
	r.tell(told{}) // everything before it has been seen
	r.detach()
	if err := r.sites.Stack.Redis.Crash(sandboxtest.Context(r.t)); err != nil {
		r.t.Fatal(err)
	}
	r.attach()
	r.tell(told{Kind: kind})
	r.up(line, true)
}

func (r *Recorder) up(line *sandbox.Line, up bool) {
	r.t.Helper()
	if err := line.Apply(sandbox.Change{Up: &up}); err != nil {
		r.t.Fatal(err)
	}
}

// FailOver lets the standby take over, with the commits that it has; the link to the
// old primary is cut before, so that what it had is known.
func (r *Recorder) FailOver() {
	r.t.Helper()
	r.up(r.sites.Stack.Link.Database, false)
	r.primary.read(r.t, r.sites)
	if err := r.sites.Stack.FailOver(sandboxtest.Context(r.t)); err != nil {
		r.t.Fatal(err)
	}
	r.primary.read(r.t, r.sites)
}
