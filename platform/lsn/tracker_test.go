package lsn_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opsdb/opsdb/platform/lsn"
	"github.com/opsdb/opsdb/platform/sandbox"
	"github.com/opsdb/opsdb/platform/sandbox/sandboxtest"
)

func TestMain(m *testing.M) { sandboxtest.Main(m) }

func TestTrackerConfirmsCommitsAndWakesWaiters(t *testing.T) {
	t.Parallel()
	pair := sandboxtest.NewPrivate(t, sandbox.Options{})
	primary := pair.Primary(t)
	ctx := sandboxtest.Context(t)
	var seen atomic.Int64
	var waiting, crashed atomic.Bool
	waiting.Store(true)
	tracker := lsn.New(lsn.Config{
		Pool: pair.Replica(t), Site: pair.Site, Interval: 50 * time.Millisecond,
		Unconfirmed: waiting.Load,
		Before:      func() any { return seen.Load() },
		Seen: func(_ context.Context, before any, r lsn.Replica) error {
			// A replica that crashed may open before it has replayed all that it had shown.
			if before.(int64) > r.Batch && !crashed.Load() {
				t.Errorf("the replica went from %d to %d", before, r.Batch)
			}
			seen.Store(r.Batch)
			return nil
		},
	})
	tracker.Start(ctx)
	t.Cleanup(tracker.Stop)

	pair.PauseReplay(t)
	var text string
	if _, err := primary.Exec(ctx, "UPDATE site_status SET batch = 7, last_seq = 3 WHERE site = $1", pair.Site); err != nil {
		t.Fatal(err)
	}
	if err := primary.QueryRow(ctx, "SELECT pg_current_wal_flush_lsn()::text").Scan(&text); err != nil {
		t.Fatal(err)
	}
	at, err := lsn.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	tracker.Flushed(at)
	short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	if err := tracker.Wait(short, lsn.Position{Timeline: 1, LSN: at}); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("waiting for what is not replayed: %v", err)
	}
	sandboxtest.Eventually(t, 5*time.Second, "the lag to be noticed", func() bool {
		r, err := tracker.Last()
		return err == nil && r.LagBytes > 0 && r.Batch == 0
	})
	pair.ResumeReplay(t)
	if err := tracker.Wait(ctx, lsn.Position{Timeline: 1, LSN: at}); err != nil {
		t.Fatal(err)
	}
	var other *lsn.OtherTimelineError
	if err := tracker.Wait(ctx, lsn.Position{Timeline: 2, LSN: at}); !errors.As(err, &other) || other.Timeline != 1 {
		t.Errorf("waiting for a position of another timeline: %v", err)
	}
	sandboxtest.Eventually(t, 5*time.Second, "the commit to be confirmed", func() bool { return seen.Load() == 7 })
	r, err := tracker.Last()
	if err != nil || r.LastSeq != 3 || !r.InRecovery || r.Replayed < at {
		t.Errorf("%+v, %v", r, err)
	}
	sandboxtest.Eventually(t, 5*time.Second, "the lag to be gone", func() bool {
		r, err := tracker.Last()
		return err == nil && r.LagBytes == 0 && r.Lag == 0
	})

	// A replica that is away is no end: the tracker goes on when it is back.
	crashed.Store(true)
	if err := pair.Stack.Replica.Crash(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := primary.Exec(ctx, "UPDATE site_status SET batch = 8 WHERE site = $1", pair.Site); err != nil {
		t.Fatal(err)
	}
	sandboxtest.Eventually(t, 20*time.Second, "the next commit to be confirmed", func() bool { return seen.Load() == 8 })
}

func TestTrackerWithoutLSNStillConfirmsCommits(t *testing.T) {
	t.Parallel()
	pair := sandboxtest.New(t)
	ctx := sandboxtest.Context(t)
	tracker := lsn.New(lsn.Config{Pool: pair.Replica(t), Site: pair.Site, NoLSN: true, Unconfirmed: func() bool { return true }})
	tracker.Start(ctx)
	t.Cleanup(tracker.Stop)
	if _, err := pair.Primary(t).Exec(ctx, "UPDATE site_status SET batch = 5 WHERE site = $1", pair.Site); err != nil {
		t.Fatal(err)
	}
	sandboxtest.Eventually(t, 10*time.Second, "the commit to be confirmed", func() bool {
		r, err := tracker.Last()
		return err == nil && r.Batch == 5
	})
}

func TestASiteWithoutARowCountsAsZero(t *testing.T) {
	t.Parallel()
	pair := sandboxtest.New(t)
	tracker := lsn.New(lsn.Config{Pool: pair.Replica(t), Site: "nowhere"})
	tracker.Start(t.Context())
	t.Cleanup(tracker.Stop)
	sandboxtest.Eventually(t, 10*time.Second, "a look", func() bool {
		r, err := tracker.Last()
		return err == nil && !r.At.IsZero() && r.Batch == 0 && r.LastSeq == 0
	})
}
