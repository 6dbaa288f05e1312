// Package protocol is the model of the write path, of replication and of reads: the
// protocol of docs/guarantees.md as states and atomic actions, explored by a search
// that sees every interleaving within its bounds, and held against traces recorded
// from the real scripts, processor, tracker and readers.
//
// # Words
//
// They are those of the code. A request becomes, per attempt, a transaction; it is
// accepted into Redis (transactions, list, dead letters, positions, swept, epoch,
// batch, load), chosen for a flush, sent as groups of which each is one commit with
// a number, settled, marked as replicated, and expires. A correction is a transaction
// that is ordered by the place of the dead letter that it is put in. A View is what one process
// knows, a Contents what the commits of a log have made of the database.
//
// # State and actions
//
// State is the whole world as one flat value: Redis and a copy of it, the processes'
// views, the requests under way, the processors with what is on their connections,
// messages that the network still holds, trackers, a reader, the primary's log, the
// replica and how much of its timeline it has replayed. An action is what nothing can
// interrupt: one script, one message delivered, one commit, one look, one crash
// (actions.go). Between two actions anything else may happen:
//
//	accepting.go   txn.Buffered, scripts/accept.lua
//	draining.go    modules/buffer, scripts/begin_epoch, connected, block, raise_batch, settle, fail
//	primary.go     txn.Link: claim, head, guard, ledger, COMMIT
//	operator.go    retry, discard, correction, pause, sneakernet
//	replica.go     replication, failover, lsn.Tracker, scripts/mark, unsweep, expire
//	reading.go     pending.Reader, X-Min-LSN
//	redis.go       a restarted, restored or emptied Redis, scripts/put_back
//
// # What must hold
//
// In every state (invariants.go): a read made now shows every transaction that was
// acknowledged, and nothing that was shown goes back; readers wait for a replica that
// went back no longer than one look of the tracker. At every commit: nothing twice,
// nothing after its discard, nothing out of order on a row, no number twice. And from
// every state (rest.go): when all processes die and faults end, everything comes to
// rest by itself, with every accepted transaction at the primary, or a dead letter with
// a reason, or discarded, and with no row that differs from main.
//
// # Bounds
//
// A Scenario says which requests and how many faults of each kind; Explore then looks
// at all interleavings, breadth first, up to a number of states. Walk goes deep into
// larger ones at random. A model that finds nothing proves nothing: Plants takes the
// rules of the design out one by one, and each must be found.
//
//	make model                                   everything, some minutes
//	go run ./tools/model -scenario failover      one scenario
//	go run ./tools/model -plant "no ledger"      one planted fault, with its story
//
// # Traces
//
// Trace is what was seen of real servers, and Check finds a way through the model that
// explains it (follow*.go), with what cannot be seen (messages, commits between two
// scripts, replays, deaths of processes) wherever it is needed; none means that code
// and model differ. Package tracetest records traces; the fault tests of
// modules/buffer check them. X-Min-LSN is in the model and not in traces. Order between Redis and the primary is known only by cause
// and effect: a flush that is settled before its commit shows only when that commit
// never comes.
//
// # Not modelled
//
// SQL, filters, narrowing and paging; capacity and memory; a Redis, replica or primary
// that is down rather than gone back; errors that are nobody's fault (locks, a primary
// that is not migrated) and what is held back for them; unknown kinds; leases; two
// primaries at once; half an imported file; a correction of a correction. A claim and the question to the ledger are
// one message, and one moment. The clock is never behind the highest number that was
// sent; entries expire in the order of their numbers, and no request lasts as long as
// the retention.
package protocol
