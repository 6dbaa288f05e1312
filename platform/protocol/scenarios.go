package protocol

import "slices"

// The rows: A is an execution, B another one, C a file of A.
const (
	rowA = iota
	rowB
	rowC
)

const hasA = 1 << rowA

var (
	startA   = Request{Name: "start A", Steps: []Step{{Row: rowA, Kind: Create}}}
	nameA    = Request{Name: "start A under a client's id", Steps: []Step{{Row: rowA, Kind: Create, ClientID: true}}}
	startB   = Request{Name: "start B", Steps: []Step{{Row: rowB, Kind: Create}}}
	finishA  = Request{Name: "finish A", Steps: []Step{{Row: rowA, Kind: Update, Columns: 1, Running: true}}}
	commentA = Request{Name: "comment A", Steps: []Step{{Row: rowA, Kind: Update, Columns: 2}}}
	amendA   = Request{Name: "amend A", Steps: []Step{{Row: rowA, Kind: Update, Columns: 2}}}
	deleteA  = Request{Name: "delete A", Steps: []Step{{Row: rowA, Kind: Delete}}}
	fileOfA  = Request{Name: "file of A", Steps: []Step{{Row: rowC, Kind: Create}}, References: []uint8{rowA}}
	amendC   = Request{Name: "amend the file", Steps: []Step{{Row: rowC, Kind: Update, Columns: 2}}}
	bothRows = Request{Name: "start B and amend A", Steps: []Step{{Row: rowB, Kind: Create}, {Row: rowA, Kind: Update, Columns: 2}}}
)

func after(r Request, earlier ...int) Request {
	r.After = earlier
	return r
}

func poison(r Request) Request {
	r.Poison, r.Name = true, r.Name+" (poison)"
	return r
}

// correct is the second of two requests, which an operator puts in the place of the first.
func correct(r Request) []Request {
	good := r
	good.Name, good.Corrects = r.Name+", corrected", 1
	return []Request{poison(r), good}
}

func again(r Request) Request {
	r.Name += " too"
	return r
}

// stored: two requests are accepted already, so that a search can go deeper.
var stored = []Action{
	{Kind: sendRequest, X: 0}, {Kind: sendRequest, X: 1}, {Kind: apiTakesView, X: 0}, {Kind: apiTakesView, X: 1},
	{Kind: apiValidates, X: 0}, {Kind: apiValidates, X: 1}, {Kind: acceptScript, X: 0}, {Kind: acceptScript, X: 1},
}

// connected: processor 1 has a connection; unheard: it has committed the oldest
// transaction and does not know yet; flushed: so with two of them in one group.
var (
	connected = []Action{{Kind: epochBegins}, {Kind: claimArrives}, {Kind: connectedScript}}
	unheard   = and(connected, Action{Kind: flushIsChosen, Y: 1}, Action{Kind: raiseBatchScript}, Action{Kind: groupCommits})
	flushed   = and(connected, Action{Kind: flushIsChosen, Y: 2}, Action{Kind: raiseBatchScript}, Action{Kind: groupCommits})
)

func and(first []Action, more ...Action) []Action { return append(slices.Clone(first), more...) }

func oneStored() []Action {
	return []Action{{Kind: sendRequest}, {Kind: apiTakesView}, {Kind: apiValidates}, {Kind: acceptScript}}
}

// Scenarios are searched through, each as far as its limits go.
var Scenarios = []*Scenario{
	// Accepting.
	{Name: "accept", Requests: []Request{startA, after(finishA, 0)}, Attempts: 2, Flush: 2, Most: map[Fault]uint8{ApiDies: 2, Connections: 1}},
	{Name: "two-finish", Requests: []Request{finishA, again(finishA)}, Present: hasA, Flush: 2, Most: map[Fault]uint8{Connections: 1}},
	{Name: "two-processes", Requests: []Request{startA, after(finishA, 0)}, Flush: 2, Lag: true, Most: map[Fault]uint8{Reads: 1}},
	{Name: "retry", Requests: []Request{finishA}, Present: hasA, Attempts: 2, Flush: 1, Most: map[Fault]uint8{ApiDies: 2, LinkCut: 1, Connections: 2}},
	{Name: "client-id", Requests: []Request{nameA, again(nameA)}, Attempts: 2, Flush: 2, Most: map[Fault]uint8{ApiDies: 1, Connections: 1, Reads: 1}},
	{Name: "late-retry", Requests: []Request{startA}, Attempts: 2, Flush: 1, Most: map[Fault]uint8{ApiDies: 1, Connections: 1, Expiries: 1}},
	{Name: "rows", Requests: []Request{bothRows, commentA}, Present: hasA, Flush: 2, Split: true, Most: map[Fault]uint8{LinkCut: 1, Connections: 1, Reads: 1}},
	{Name: "paused", Requests: []Request{startA, startB}, Flush: 2, Processors: 2, Most: map[Fault]uint8{OperatorPause: 1, LinkCut: 1, Connections: 1}},
	// Draining.
	{Name: "drain", Requests: []Request{startA, after(finishA, 0)}, Processors: 2, Flush: 2, Split: true, Most: map[Fault]uint8{LinkCut: 2, LateMessage: 1, Connections: 3}},
	{Name: "drain-3", Requests: []Request{startA, after(finishA, 0), startB}, Processors: 2, Flush: 3, Split: true, Most: map[Fault]uint8{LateMessage: 1, Connections: 2}},
	{Name: "drain-read", Requests: []Request{commentA, amendA}, Present: hasA, Flush: 1, Most: map[Fault]uint8{LinkCut: 1, Connections: 1, Reads: 1, SecondTracker: 1}},
	{Name: "found-read", Requests: []Request{commentA, amendA}, Present: hasA, First: slices.Concat(stored, unheard), Flush: 2, Split: true, Most: map[Fault]uint8{LinkCut: 2, Connections: 2, Reads: 1}},
	{Name: "rolled-back", Requests: []Request{startA, startB}, Flush: 2, Split: true, Most: map[Fault]uint8{RolledBack: 1, Connections: 2}},
	{Name: "late", Requests: []Request{commentA, amendA}, Present: hasA, Processors: 2, Flush: 1, First: stored, Most: map[Fault]uint8{LateMessage: 2, Connections: 3}},
	// Reading.
	{Name: "read", Requests: []Request{startA, after(finishA, 0)}, Flush: 2, Most: map[Fault]uint8{Reads: 2, Connections: 1}},
	{Name: "read-crash", Requests: []Request{startA}, Flush: 1, Most: map[Fault]uint8{Reads: 1, Connections: 1, ReplicaCrash: 1, SecondTracker: 1}},
	{Name: "main-delete", Requests: []Request{commentA}, Present: hasA, Direct: []DirectWrite{{Row: rowA, Delete: true}}, Flush: 1, Most: map[Fault]uint8{Reads: 1, Connections: 1}},
	{Name: "columns", Requests: []Request{finishA, commentA}, Present: hasA, Direct: []DirectWrite{{Row: rowA, Columns: 2}, {Row: rowA, Columns: 1}}, Flush: 2, Most: map[Fault]uint8{Connections: 1}},
	{Name: "delete", Requests: []Request{startA, after(deleteA, 0)}, Flush: 2, Split: true, Most: map[Fault]uint8{Reads: 1, Connections: 1, ReplicaCrash: 1}},
	{Name: "min-lsn", Requests: []Request{commentA}, Present: hasA, Direct: []DirectWrite{{Row: rowA, Columns: 2}}, Flush: 1, Most: map[Fault]uint8{Reads: 1, Connections: 1, Failover: 1}},
	// Dead letters.
	{Name: "poison-create", Requests: []Request{poison(startA), after(fileOfA, 0), startB}, Flush: 3, Retries: 2, Most: map[Fault]uint8{CauseRemoved: 1, OperatorRetry: 1, Connections: 1}},
	{Name: "poison-2", Requests: []Request{poison(startA), startB}, Processors: 2, Flush: 2, Retries: 1, First: stored, Most: map[Fault]uint8{CauseRemoved: 1, OperatorRetry: 1, LinkCut: 1, Connections: 3}},
	{Name: "poison-stale", Requests: []Request{poison(commentA)}, Present: hasA, First: slices.Concat(oneStored(), connected), Processors: 2, Flush: 1, Retries: 1, Most: map[Fault]uint8{CauseRemoved: 1, Connections: 1}},
	{Name: "poison-chain", Requests: []Request{poison(startA), after(fileOfA, 0), after(amendC, 1)}, Flush: 3, Retries: 1, Most: map[Fault]uint8{CauseRemoved: 1, OperatorRetry: 1, Connections: 1}},
	{Name: "poison-update", Requests: []Request{poison(commentA), amendA, fileOfA}, Present: hasA, Flush: 3, Retries: 1, Most: map[Fault]uint8{CauseRemoved: 1, OperatorRetry: 1, Connections: 1}},
	{Name: "poison-rows", Requests: []Request{poison(bothRows), amendA}, Present: hasA, Flush: 2, Retries: 1, Most: map[Fault]uint8{CauseRemoved: 1, OperatorRetry: 1, Connections: 1}},
	{Name: "discard", Requests: []Request{poison(commentA), amendA}, Present: hasA, Processors: 2, Flush: 2, Retries: 1, Most: map[Fault]uint8{OperatorDiscard: 1, CauseRemoved: 1, OperatorRetry: 1, Connections: 2}},
	{Name: "discard-late", Requests: []Request{poison(commentA)}, Present: hasA, Processors: 2, Flush: 1, Most: map[Fault]uint8{OperatorDiscard: 1, CauseRemoved: 1, LateMessage: 1, Connections: 2}},
	// Corrections.
	{Name: "correction", Requests: append(correct(startA), after(commentA, 0)), Flush: 2, Most: map[Fault]uint8{OperatorReplace: 1, CauseRemoved: 1, Reads: 1, LinkCut: 1, Connections: 2}},
	{Name: "correction-update", Requests: append(correct(commentA), after(amendA, 0)), Present: hasA, Flush: 2, Split: true, Most: map[Fault]uint8{OperatorReplace: 1, OperatorRetry: 1, LinkCut: 1, Connections: 2}},
	{Name: "correction-late", Requests: correct(commentA), Present: hasA, Processors: 2, Flush: 1, Most: map[Fault]uint8{OperatorReplace: 1, CauseRemoved: 1, LateMessage: 1, Connections: 2}},
	{Name: "correction-discard", Requests: append(correct(startA), after(commentA, 0)), Flush: 1, Most: map[Fault]uint8{OperatorReplace: 1, OperatorDiscard: 2, CauseRemoved: 1, Connections: 1}},
	{Name: "correction-failover", Requests: append(correct(commentA), after(amendA, 0)), Present: hasA, Flush: 2, Most: map[Fault]uint8{OperatorReplace: 1, Failover: 1, Connections: 2}},
	{Name: "correction-crash", Requests: append(correct(commentA), after(amendA, 0)), Present: hasA, Flush: 2, Most: map[Fault]uint8{OperatorReplace: 1, ReplicaCrash: 1, Reads: 1, Expiries: 2, Connections: 1}},
	{Name: "correction-import", Requests: append(correct(commentA), after(amendA, 0)), Present: hasA, Flush: 2, Most: map[Fault]uint8{OperatorReplace: 1, Imports: 1, CauseRemoved: 1, Connections: 1}},
	{Name: "correction-restore", Requests: correct(commentA), Present: hasA, Flush: 1, Most: map[Fault]uint8{OperatorReplace: 1, RedisRestored: 1, CauseRemoved: 1, Connections: 2}},
	// The replica, and failovers.
	{Name: "replica-crash", Requests: []Request{startA, after(finishA, 0)}, Flush: 2, Most: map[Fault]uint8{ReplicaCrash: 2, Connections: 1, SecondTracker: 1}},
	{Name: "expiry-crash", Requests: []Request{startA, after(commentA, 0)}, Flush: 1, Most: map[Fault]uint8{ReplicaCrash: 1, Connections: 1, Expiries: 2}},
	{Name: "expiry-group", Requests: []Request{commentA, amendA}, Present: hasA, First: stored, Flush: 2, Most: map[Fault]uint8{ReplicaCrash: 1, Connections: 1, Expiries: 1}},
	{Name: "expiry-failover", Requests: []Request{startA}, Flush: 1, Most: map[Fault]uint8{Failover: 1, LinkCut: 1, Connections: 2, Expiries: 1}},
	{Name: "failover", Requests: []Request{startA, after(finishA, 0)}, Flush: 2, Split: true, Most: map[Fault]uint8{Failover: 1, Connections: 3}},
	{Name: "failover-2", Requests: []Request{startA, startB}, Processors: 2, Flush: 1, Most: map[Fault]uint8{Failover: 1, Connections: 3}},
	{Name: "stale-settle", Requests: []Request{startA, startB}, Processors: 2, Flush: 1, First: stored, Most: map[Fault]uint8{Failover: 1, Connections: 2}},
	{Name: "failover-twice", Requests: []Request{commentA, amendA}, Present: hasA, Flush: 1, Most: map[Fault]uint8{Failover: 2, Connections: 4}},
	{Name: "failover-main", Requests: []Request{commentA, amendA}, Present: hasA, Direct: []DirectWrite{{Row: rowA, Columns: 2}, {Row: rowA, Delete: true}}, Flush: 1, Most: map[Fault]uint8{Failover: 1, Connections: 2}},
	{Name: "failover-crash", Requests: []Request{startA, after(commentA, 0)}, Flush: 1, Most: map[Fault]uint8{Failover: 1, ReplicaCrash: 1, Connections: 2, SecondTracker: 1}},
	{Name: "failover-discard", Requests: []Request{startA, poison(after(commentA, 0))}, Flush: 2, Most: map[Fault]uint8{Failover: 1, OperatorDiscard: 1, CauseRemoved: 1, Connections: 2}},
	{Name: "failover-discard-2", Requests: []Request{poison(commentA)}, Present: hasA, Processors: 2, Flush: 1, Most: map[Fault]uint8{Failover: 1, OperatorDiscard: 1, CauseRemoved: 1, Connections: 3, LateMessage: 1}},
	{Name: "crash-read", Requests: []Request{commentA, amendA}, Present: hasA, Flush: 2, Split: true, Most: map[Fault]uint8{ReplicaCrash: 1, Reads: 1, Connections: 1, SecondTracker: 1}},
	// Another Redis.
	{Name: "restart", Requests: []Request{commentA, startB}, Present: hasA, Flush: 1, Most: map[Fault]uint8{RedisRestarted: 1, Failover: 1, Connections: 3}},
	{Name: "restore", Requests: []Request{startA, startB}, Flush: 1, Most: map[Fault]uint8{RedisRestored: 1, Connections: 4}},
	{Name: "restore-settle", Requests: []Request{commentA, startB}, Present: hasA, First: and(stored, Action{Kind: redisIsCopied}), Flush: 1, Most: map[Fault]uint8{RedisRestored: 1, Failover: 1, Connections: 2}},
	{Name: "restore-read", Requests: []Request{startA, startB}, Lag: true, Flush: 1, Most: map[Fault]uint8{RedisRestored: 1, Reads: 2, Connections: 2}},
	{Name: "restore-late", Requests: []Request{commentA, amendA}, Present: hasA, Processors: 2, Flush: 1, Most: map[Fault]uint8{RedisRestored: 1, LateMessage: 1, Connections: 3}},
	{Name: "restore-one", Requests: []Request{commentA}, Present: hasA, First: and(oneStored(), Action{Kind: redisIsCopied}), Flush: 1, Most: map[Fault]uint8{RedisRestored: 1, Failover: 1, Connections: 3}},
	{Name: "restore-failover", Requests: []Request{commentA, startB}, Present: hasA, First: and(stored, Action{Kind: redisIsCopied}), Flush: 2, Split: true, Most: map[Fault]uint8{RedisRestored: 1, Failover: 1, Connections: 2}},
	{Name: "restore-numbers", Requests: []Request{commentA, startB}, Present: hasA, First: slices.Concat(stored, []Action{{Kind: redisIsCopied}}, connected), Flush: 2, Most: map[Fault]uint8{RedisRestored: 1, Failover: 1, Connections: 1}},
	{Name: "restore-flushed", Requests: []Request{commentA, startB}, Present: hasA, First: slices.Concat(stored, flushed), Flush: 1, Most: map[Fault]uint8{RedisRestored: 1, Failover: 1, LinkCut: 1, Connections: 1}},
	{Name: "restore-failover-2", Requests: []Request{commentA, startB}, Present: hasA, First: stored, Processors: 2, Flush: 1, Most: map[Fault]uint8{RedisRestored: 1, Failover: 1, Connections: 3, LateMessage: 1}},
	{Name: "restore-failover-crash", Requests: []Request{commentA}, Present: hasA, Flush: 1, Most: map[Fault]uint8{RedisRestored: 1, Failover: 1, ReplicaCrash: 1, SecondTracker: 1, Connections: 3}},
	{Name: "restore-twice", Requests: []Request{commentA, startB}, Present: hasA, First: stored, Flush: 2, Most: map[Fault]uint8{RedisRestored: 2, Failover: 1, Connections: 3}},
	{Name: "restore-dead", Requests: []Request{poison(commentA)}, Present: hasA, Flush: 1, Most: map[Fault]uint8{RedisRestored: 1, CauseRemoved: 1, OperatorRetry: 1, OperatorDiscard: 1, Connections: 2}},
	{Name: "restore-finish", Requests: []Request{startB, finishA, again(finishA)}, Present: hasA, Flush: 2, Most: map[Fault]uint8{RedisRestored: 1, Connections: 1}},
	{Name: "empty", Requests: []Request{startA, startB}, Processors: 2, Flush: 1, Most: map[Fault]uint8{RedisEmptied: 1, LateMessage: 1, Connections: 3}},
	// Sneakernet.
	{Name: "sneakernet", Requests: []Request{startA, after(commentA, 0)}, Flush: 2, Most: map[Fault]uint8{Imports: 1, Reads: 1, LinkCut: 1, Connections: 2}},
	{Name: "sneakernet-poison", Requests: []Request{poison(startA), after(fileOfA, 0)}, Flush: 2, Retries: 1, Most: map[Fault]uint8{Imports: 1, CauseRemoved: 1, OperatorDiscard: 1, OperatorRetry: 1, Connections: 1}},
	{Name: "discard-import", Requests: []Request{poison(startA), after(commentA, 0)}, Flush: 1, Most: map[Fault]uint8{OperatorDiscard: 1, Imports: 1, CauseRemoved: 1, Connections: 1}},
	{Name: "sneakernet-dead", Requests: []Request{poison(commentA), amendA}, Present: hasA, Flush: 1, Most: map[Fault]uint8{Imports: 1, CauseRemoved: 1, OperatorRetry: 1, Connections: 1}},
	{Name: "sneakernet-failover", Requests: []Request{commentA, amendA}, Present: hasA, Flush: 1, Most: map[Fault]uint8{Imports: 1, Failover: 1, Connections: 2}},
}

// Walks are too large to search through: random walks go deep into them.
var Walks = []*Scenario{
	{
		Name: "everything", Requests: []Request{startA, poison(after(finishA, 0)), after(fileOfA, 0), after(commentA, 0)}, Attempts: 2, Processors: 2, Flush: 4, Split: true, Retries: 2,
		Direct: []DirectWrite{{Row: rowA, Columns: 2}, {Row: rowA, Columns: 1}},
		Most: map[Fault]uint8{
			ApiDies: 3, LinkCut: 3, LateMessage: 2, RolledBack: 1, Failover: 2, ReplicaCrash: 3, OperatorRetry: 3, OperatorDiscard: 2, OperatorPause: 2, CauseRemoved: 1, Reads: 9, Connections: 6, SecondTracker: 1,
		},
	},
	{
		Name: "poison first", Requests: []Request{poison(startA), after(finishA, 0), after(fileOfA, 0), bothRows}, Attempts: 2, Processors: 2, Flush: 4, Split: true, Retries: 2, Lag: true,
		Most: map[Fault]uint8{
			ApiDies: 3, LinkCut: 3, LateMessage: 2, Failover: 1, ReplicaCrash: 2, OperatorRetry: 3, OperatorDiscard: 2, CauseRemoved: 1, Reads: 9, Connections: 6, SecondTracker: 1,
		},
	},
	{
		Name: "deletes", Requests: []Request{startA, after(deleteA, 0), poison(after(commentA, 0)), startB}, Attempts: 2, Processors: 2, Flush: 4, Split: true, Retries: 2,
		Direct: []DirectWrite{{Row: rowA, Delete: true}},
		Most: map[Fault]uint8{
			ApiDies: 3, LinkCut: 3, LateMessage: 2, Failover: 2, ReplicaCrash: 2, OperatorRetry: 3, OperatorDiscard: 2, CauseRemoved: 1, Reads: 9, Connections: 6, SecondTracker: 1,
		},
	},
	{
		Name: "another Redis", Requests: []Request{startA, after(finishA, 0), startB, after(fileOfA, 0)}, Processors: 2, Flush: 4, Split: true, Lag: true,
		Most: map[Fault]uint8{LinkCut: 2, LateMessage: 2, RedisRestored: 1, RedisEmptied: 1, RedisRestarted: 1, Failover: 1, ReplicaCrash: 1, Reads: 9, Connections: 7, SecondTracker: 1},
	},
	{
		Name: "sneakernet", Requests: []Request{startA, poison(after(finishA, 0)), after(fileOfA, 0), after(commentA, 0)}, Processors: 2, Flush: 4, Split: true, Retries: 1,
		Most: map[Fault]uint8{
			LinkCut: 2, LateMessage: 1, Imports: 1, Failover: 1, ReplicaCrash: 1, OperatorRetry: 2, OperatorDiscard: 1, CauseRemoved: 1, Reads: 9, Connections: 5, SecondTracker: 1,
		},
	},
	{
		Name: "corrections", Requests: append(correct(startA), after(commentA, 0), after(fileOfA, 0), startB), Processors: 2, Flush: 3, Split: true, Retries: 1,
		Most: map[Fault]uint8{
			ApiDies: 1, LinkCut: 3, LateMessage: 2, Failover: 1, ReplicaCrash: 2, OperatorReplace: 1, OperatorRetry: 2, OperatorDiscard: 2, CauseRemoved: 1, Imports: 1, Expiries: 3,
			Reads: 9, Connections: 6, SecondTracker: 1,
		},
	},
	{
		Name: "expiry", Requests: []Request{startA, after(commentA, 0), startB}, Attempts: 2, Processors: 2, Flush: 3, Split: true,
		Most: map[Fault]uint8{ApiDies: 2, LinkCut: 2, ReplicaCrash: 2, Failover: 1, Expiries: 3, Reads: 9, Connections: 4},
	},
}

// Find is the scenario of that name, nil when there is none.
func Find(name string) *Scenario {
	for _, s := range slices.Concat(Scenarios, Walks) {
		if s.Name == name {
			return s
		}
	}
	return nil
}
