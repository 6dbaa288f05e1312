package protocol

// The sizes of the model. A larger one makes every state dearer; these hold the
// recorded traces, and more than the scenarios need.
const (
	maxTx       = 16 // transactions, discards included
	maxDiscards = 2  // the last slots are theirs
	firstCancel = maxTx - maxDiscards
	maxRequests = firstCancel
	maxRows     = 14
	maxColumns  = 2
	logRoom     = 36 // commits; a search adds none beyond searchLog, the rest is for coming to rest
	searchLog   = 18
	maxGroups   = 2
	maxLate     = 2
	maxApis     = 2 // API processes, each with a processor, a tracker and a view
)

// Tx is a transaction: request × attempt, since every attempt of a request builds
// a transaction of its own, or one of the last slots for a discard.
type Tx = uint8

// Set is a set of transactions.
type Set uint16

func one(x Tx) Set           { return 1 << x }
func (s Set) has(x Tx) bool  { return s>>x&1 == 1 }
func (s Set) any(o Set) bool { return s&o != 0 }

// Who has written a column: a transaction, a direct write at main, or nobody in
// the model. NULL is a column that nobody has written.
type writer = uint8

const (
	null    writer = 0
	direct  writer = 32 // + which direct write
	initial writer = 63
)

func by(x Tx) writer { return x + 1 }

// byTx says which transaction has written, if one has.
func byTx(w writer) (x Tx, ok bool) { return w - 1, w >= 1 && w <= maxTx }

// Row is one row of a table, or of an answer: who has written each column.
type Row struct {
	Exists  bool
	Columns [maxColumns]writer
}

// StepKind is what a step does to its row.
type StepKind uint8

// The three kinds of steps.
const (
	Create StepKind = iota
	Update
	Delete
)

// Step is what a transaction does to one row.
type Step struct {
	Row  uint8
	Kind StepKind
	// Columns are the columns an update sets, a bit each.
	Columns uint8
	// Running makes the update expect a row that is not finished: column 0 still is
	// what its create wrote. It is refused, or fails in the database, otherwise.
	Running bool
	// ClientID marks a create whose id the client made: it can exist already.
	ClientID bool
}

// Request is what a client wants to be done once, under one idempotency key.
type Request struct {
	Name  string
	Steps []Step
	// References are rows that must exist (foreign keys).
	References []uint8
	// Poison makes it fail in the database until main has removed the cause.
	Poison bool
	// Corrects is the request (+1) in whose place an operator puts this one when it is a
	// dead letter; no client sends it. Only in scenarios with one attempt a request.
	Corrects int
	// After are the requests whose answers the client has before it sends this one.
	After []int
}

// DirectWrite is a write at main, past the buffer.
type DirectWrite struct {
	Row     uint8
	Columns uint8
	Delete  bool
}

// Fault is what the world may do to the site, so many times in a scenario.
type Fault uint8

// The faults, and what else could go on for ever.
const (
	ApiDies      Fault = iota // or its answer is lost
	LinkCut                   // the connection to the primary, or the processor's process dies
	LateMessage               // the same, and the network delivers what was sent later
	RolledBack                // a group's COMMIT answers ROLLBACK
	Failover                  // the primary loses its last commits
	ReplicaCrash              // open again before it has replayed everything
	OperatorRetry
	OperatorDiscard
	OperatorReplace
	OperatorPause
	CauseRemoved // what poisons is mended at main
	RedisRestored
	RedisEmptied
	RedisRestarted
	Reads
	Connections // beyond the first
	Expiries
	Imports
	SecondTracker
	faultKinds
)

// Scenario bounds one search.
type Scenario struct {
	Name     string
	Requests []Request
	Direct   []DirectWrite
	// Present are the rows that exist before anything happens, a bit each.
	Present uint16
	// Attempts is how often a client sends a request, 1 when it is not set.
	Attempts uint8
	// Processors is how many API processes drain at once.
	Processors uint8
	// Flush is how many transactions a flush takes at most, Split whether it may
	// be two groups.
	Flush uint8
	Split bool
	// Retries is how often the processor tries a failed transaction again.
	Retries uint8
	// Lag lets the views of the processes be older than Redis when a request is
	// validated; elsewhere each request is validated on a view just caught up.
	Lag bool
	// Most is how often each fault happens at most.
	Most map[Fault]uint8
	// First is done before the search begins.
	First []Action
}
