package protocol

// Trace is what was seen of real servers: which transactions there were, what ran
// in Redis in its true order, and what was committed at the primary in its own. The
// two orders are not known against each other; Check finds one that the model has.
//
// Numbers are small: a recorder maps the site's numbers to their rank, from 2 on (0
// is none), and `load` to 0, 1, … in the order of their appearance.
type Trace struct {
	// Requests are what the transactions do, in the order of their acceptance, without
	// discards.
	Requests []Request
	Events   []Event
	Commits  []TraceCommit
	// Begin is the site's row at the primary when the recording began, Epoch the one
	// in Redis.
	Begin Commit
	Epoch uint8
}

// EventKind is what an Event is.
type EventKind string

// Scripts by the names of their files, and what a test told the recorder.
const (
	EventAccept      EventKind = "accept"
	EventBeginEpoch  EventKind = "begin_epoch"
	EventRaiseEpoch  EventKind = "raise_epoch"
	EventConnected   EventKind = "connected"
	EventBlock       EventKind = "block"
	EventRaiseBatch  EventKind = "raise_batch"
	EventSettle      EventKind = "settle"
	EventFail        EventKind = "fail"
	EventRetry       EventKind = "retry"
	EventDiscard     EventKind = "discard" // of a discard, or of a correction
	EventPause       EventKind = "pause"
	EventMark        EventKind = "mark"
	EventUnsweep     EventKind = "unsweep"
	EventPutBack     EventKind = "put_back"
	EventExpire      EventKind = "expire"
	EventAnswered    EventKind = "answered" // a client has the answer to Tx
	EventReadBegins  EventKind = "read begins"
	EventReadEnds    EventKind = "read ends"
	EventRestarted   EventKind = "redis restarted"
	EventCopied      EventKind = "redis copied"
	EventRestored    EventKind = "redis restored"
	EventEmptied     EventKind = "redis emptied"
	EventCauseMended EventKind = "cause removed"
	EventExported    EventKind = "file exported"
)

// Event is one script, with what it was given and what Redis held afterwards, or
// one thing that a test told.
type Event struct {
	Kind EventKind
	Text string // as it was seen, for people
	Tx   Tx
	// Target is the dead letter that a discard or a correction is about.
	Target Tx
	// Epoch and Load are what the script carried; Seen the last seq of an accept's view.
	Epoch, Load, Seen uint8
	// Batch and LastSeq are what a claim answered, or Batch what a tracker saw.
	Batch, LastSeq uint8
	// Groups is how many numbers a flush reserves.
	Groups uint8
	// Set are the transactions named, of an accept the dead letters that its view knew; Numbers, Discarded and Blockers say more of each.
	Set       Set
	Numbers   [maxTx]uint8
	Discarded Set
	Blockers  [maxTx]uint8
	After     Redis
	Read      *TraceRead
}

// MaxDiscards is how many discards a trace has room for.
const MaxDiscards = maxDiscards

// TxOfDiscard is the transaction of the nth discard of a trace, from 0.
func TxOfDiscard(n int) Tx { return firstCancel + Tx(n) }

// TraceRead is one answer: its view, its snapshot, and what it showed.
type TraceRead struct {
	Pending Set
	Swept   uint8
	Batch   uint8
	Rows    [maxRows]Row
}

// TraceCommit is one commit at the primary, or a failover.
type TraceCommit struct {
	Commit
	// Import: of a sneakernet file.
	Import bool
	// Keep is how many commits a failover has left, when Failover is set.
	Failover bool
	Keep     uint8
}
