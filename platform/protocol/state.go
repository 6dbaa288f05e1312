package protocol

// State is the whole world at one moment: one flat, comparable value, so that
// states can be copied, hashed and told apart.
type State struct {
	Redis, Copy Redis // Copy: what a restore will bring back
	Views       [maxApis]View
	Calls       [firstCancel]Call
	Processors  [maxApis]Processor
	Late        [maxLate]Late
	Trackers    [maxApis]Tracker
	Reader      Reader
	Primary     Primary
	Replica     Replica
	File        File

	// Seqs are in the transactions' own JSON; Targets (+1) in that of the discards.
	Seqs    [maxTx]uint8
	Targets [maxDiscards]uint8
	// Run is the run id of Redis, Tokens counts the random halves of `load`, and
	// Clock stands for the time in microseconds: never behind the highest number
	// that was sent.
	Run, Tokens, Clock uint8
	HasCopy, CopyAt    uint8
	Mended             bool // the cause of the poison is removed
	Written            uint8
	Resting            bool // faults have ended, everything runs to rest
	Used               [faultKinds]uint8
	Clients            Clients
	Watch              Watch
}

// Redis is what it holds under `site:{name}:`. A transaction is in the list, dead,
// or settled (it has a position); replicated and discarded ones are settled, but
// for a discard that was decided and not applied yet.
type Redis struct {
	Transactions, List, Dead, Replicated, Discarded Set
	Positions                                       [maxTx]uint8 // `applied`; 0: not there
	BlockedBy                                       [maxTx]uint8 // `dead_letters`; +1, 0: failed itself
	Tries                                           [maxTx]uint8 // `attempts`
	Keys                                            [maxRequests]uint8
	Guards                                          [maxRows]uint8
	Seq, Change, Epoch, Batch, Swept, Expired       uint8
	Load, LoadRun                                   uint8 // the random half and the run id in `load`
	Paused                                          bool
}

// View is what one process knows of the buffer without asking Redis.
type View struct {
	Pending, Dead                    Set // Dead: those of them that it has heard have failed
	LastSeq, LastChange, Swept, Load uint8
	Run                              uint8 // of the Redis it was read from; no process compares it
}

// Stages of a Call.
const (
	idle uint8 = iota
	sent
	hasView
	valid
	accepted // it will be answered with Answer
	refused
	over
)

// Call is one attempt of a request in an API process. Fresh: its view must be one
// just caught up.
type Call struct {
	View          View
	Stage, Answer uint8
	Fresh         bool
}

// Stages of a Processor.
const (
	unconnected uint8 = iota
	claiming          // the connect flush is on its way
	claimed
	claimRefused
	ready
	blocking
	picked
	flushing
	answered
	failing
)

// Processor is one process's connection to the primary and what is on it.
type Processor struct {
	Stage, Epoch, Load, Timeline uint8
	Previous                     uint8 // the site's number at the primary as far as this link knows
	ClaimBatch, ClaimSeq         uint8 // what the claim answered
	ClaimEpoch                   uint8
	Found                        Set // dead letters that the ledger has
	Flush                        Flush
	Blocked                      Set
	BlockedBy                    [maxTx]uint8
	// What is known of the flush.
	Settled  [maxGroups]Set
	Numbers  [maxGroups]uint8
	Discards Set // of the settled, those that the ledger calls discarded
	Failed   Set
	Lost     bool // the connection is gone once this is settled
}

// Flush is what is sent in one round trip: groups, each one commit with a number.
type Flush struct {
	Groups    [maxGroups]Set
	Numbers   [maxGroups]uint8
	Delivered uint8 // groups that the primary has seen
	Heard     uint8 // groups whose answers have arrived, and were settled while the others were on their way
	Refused   bool  // a head was refused, or a commit rolled back
	// The answers of the primary, on their way back.
	Done     [maxGroups]Set
	Discards Set
	Failed   Set
}

// Late is a message of a connection that is gone, still in the network.
type Late struct {
	Kind, Epoch, Previous uint8
	Flush                 Flush
}

// The kinds of late messages.
const (
	lateNothing uint8 = iota
	lateClaim
	lateFlush
)

// Tracker is one look at the replica: what the buffer held before, what was seen.
type Tracker struct {
	Looking            bool
	Batch, Swept, Load uint8
	Seen               Set // the applied ones it knew up to Batch
}

// Stages of a Reader.
const (
	readIdle uint8 = iota
	readWaited
	readView
	readSnapshotFirst
)

// Reader is one read that takes its time. Min (+1) is the direct write whose LSN
// it sent as X-Min-LSN.
type Reader struct {
	Stage          uint8
	Pending        Set
	Swept          uint8
	Min            uint8
	Acknowledged   Set
	Shown          [maxRows]Row
	Rows           [maxRows]Row
	Batch, LastSeq uint8
}

// Commit is one commit at the primary: what it did, and the site's row after it.
type Commit struct {
	Epoch, Batch, LastSeq uint8
	Direct                uint8 // +1
	Applied, Discarded    Set   // ledger rows
}

// Primary is main's database.
type Primary struct {
	Log      [logRoom]Commit
	N        uint8
	Timeline uint8
}

// Replica has replayed so many commits of its timeline. Old is that timeline when
// it is not the primary's any more, Fork how much of it the two have in common.
type Replica struct {
	Old                         [logRoom]Commit
	N, Replayed, Timeline, Fork uint8
}

// File is a sneakernet file.
type File struct {
	Written, Imported bool
	Transactions      Set
}

// Clients is what they know.
type Clients struct {
	Sent, Refused [maxRequests]uint8
	Answers       [maxRequests]uint8 // transaction +1
}

// Watch is what only the invariants look at.
type Watch struct {
	Accepted    [maxTx]uint8 // in which order
	N, Reads    uint8
	Forgotten   Set // accepted after the copy that was restored: not promised any more
	Decided     Set // somebody decided to discard it
	DiscardDone Set // and the primary has that
	Expired     Set
	Retried     bool
	Sites       [8]uint8 // main's LSN after each direct write, +1
	Timelines   [8]uint8 // and its timeline
	Shown       [maxRows]Row
}

// NewState is the world before anything has happened.
func (m *Model) newState() State {
	var s State
	s.Redis.Load, s.Redis.LoadRun = 0, 0
	return s
}

func (s *State) log() []Commit { return s.Primary.Log[:s.Primary.N] }

// shown is what the replica shows.
func (s *State) shown() []Commit {
	if s.Replica.Timeline != s.Primary.Timeline {
		return s.Replica.Old[:s.Replica.Replayed]
	}
	return s.Primary.Log[:s.Replica.Replayed]
}

// site is the site's row after the last commit of a log. It begins with number 1,
// so that 0 can mean "no position".
func site(log []Commit) Commit {
	if len(log) == 0 {
		return Commit{Batch: 1}
	}
	return Commit{Epoch: log[len(log)-1].Epoch, Batch: log[len(log)-1].Batch, LastSeq: log[len(log)-1].LastSeq}
}

func (s *State) commit(c Commit) {
	s.Primary.Log[s.Primary.N] = c
	s.Primary.N++
}

// full says that a search must not add n commits; coming to rest may.
func (m *Model) full(s *State, n uint8) bool {
	if s.Resting || m.following {
		return s.Primary.N+n > logRoom
	}
	return s.Primary.N+n > searchLog
}

// corrected is the dead letter in whose place x is put; false for what is no correction.
func (m *Model) corrected(x Tx) (target Tx, ok bool) {
	r := m.request(x)
	if r == nil || r.Corrects == 0 {
		return 0, false
	}
	return Tx(r.Corrects - 1), true
}

// correction is what was put in the place of x; false for nothing.
func (m *Model) correction(s *State, x Tx) (by Tx, ok bool) {
	for y := Tx(0); y < firstCancel; y++ {
		if target, ok := m.corrected(y); ok && target == x && s.Watch.Accepted[y] != 0 {
			return y, true
		}
	}
	return 0, false
}

// place is the seq by which x is ordered: its own, or that of what it corrects.
func (m *Model) place(s *State, x Tx) uint8 {
	if target, ok := m.corrected(x); ok && s.Seqs[x] != 0 && !m.faults.CorrectionsComeLast {
		return s.Seqs[target]
	}
	return s.Seqs[x]
}

// before is the order of applying: by place, then by seq.
func (m *Model) before(s *State, x, y Tx) bool {
	if one, other := m.place(s, x), m.place(s, y); one != other {
		return one < other
	}
	return s.Seqs[x] < s.Seqs[y]
}

// inOrder calls f for each member of set, in the order of applying.
func (m *Model) inOrder(s *State, set Set, f func(x Tx)) {
	for set != 0 {
		best := Tx(maxTx)
		for x := Tx(0); x < maxTx; x++ {
			if set.has(x) && (best == maxTx || m.before(s, x, best)) {
				best = x
			}
		}
		set &^= one(best)
		f(best)
	}
}

// can uses up one of a fault's times; false when there is none left.
func (m *Model) can(s *State, f Fault) bool {
	if s.Resting || s.Used[f] >= m.most[f] {
		return false
	}
	s.Used[f]++
	return true
}
