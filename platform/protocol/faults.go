package protocol

// Faults are mistakes planted into the model, each a rule of the design taken out
// or done wrongly. The zero value is the design. They are the model's own: the
// product has no switches.
type Faults struct {
	// Accepting.
	AcceptsWithoutGuards bool // the accept script does not look at guards
	AcceptsUnderAnyLoad  bool // nor at load
	KeyNotInTheScript    bool // nor at the idempotency key
	KeyNotInTheLedger    bool // the key is looked up in Redis only
	RefusesWithoutTheKey bool // a refusal is given without looking the key up again
	RefusesOnAnOldView   bool // or without a view just caught up
	AnswersBeforeStoring bool

	// Draining.
	ClaimTakesAnyEpoch         bool // the claim has no "epoch <"
	ClaimLiftsTheNumber        bool // the claim lifts batch, not the head
	HeadIgnoresTheEpoch        bool
	HeadIgnoresTheNumber       bool
	NumbersAreNotKept          bool // batch is not raised in Redis before sending
	NumbersBeginAtTheClaim     bool // and not at the clock
	NumbersLeap                bool // by a fixed distance at every connection, instead of the clock
	PopsBeforeTheCommit        bool
	NoLedger                   bool // apply does not look at the ledger's primary key
	FoundCountsAsFailed        bool // what the ledger has is a data error
	FoundIsSettledWithTheClaim bool // found again keeps the claim's number instead of the new commit's
	TakesAnyTagForACommit      bool
	SettlesWhatItHasNotHeard   bool // the whole flush, whatever has answered
	SettlesPastWhatIsFound     bool // what is behind a found one, when the line is lost before that is looked up
	SettlesFromTheOldEnd       bool // as many as were sent, instead of by id
	NoGuardInTheFlush          bool // no guard on earlier ones of the same flush
	SeqIsUnique                bool // the ledger's (site, seq) is a unique index
	SessionsCarryNoEpoch       bool
	SessionsCarryNoLoad        bool
	TailStays                  bool // what main has lost does not go back
	TailLeavesReplicated       bool
	TailIsWhatTheLedgerLacks   bool // instead of all above the claim's number

	// Dead letters.
	LaterOnesAreNotBlocked     bool
	BlockingIsNotTransitive    bool
	BlocksWhateverItsBlockerIs bool
	OnlyTheFirstRowCounts      bool
	FailsWhatHasLeftTheList    bool
	RetryGoesToTheNewEnd       bool
	RetryLeavesWhatItBlocks    bool
	DeadLettersAreNotAskedFor  bool // the connect flush does not ask the ledger for them
	DiscardIsOnlyInRedis       bool
	ExportsOnlyTheBuffered     bool
	ImportLeavesLastSeq        bool

	// Following the replica.
	AnyLaterNumberReplicates  bool
	MarkTrustsTheView         bool // the script does not compare positions again
	ReplicaNeverGoesBack      bool // nobody notices one that does
	SweptSinksBelowExpired    bool
	SweptWhenApplied          bool // pending rows go when applied
	NothingIsRetained         bool // entries go as soon as they are replicated
	ExpiresInAnyOrder         bool
	LateDiscardsComeBack      bool
	ExportsWhatWaits          bool
	CorrectionsComeLast       bool
	CorrectsWhatWasApplied    bool
	CorrectionsReleaseNothing bool
	ExpiresAnyOfAGroup        bool
	ExpiresWithoutMain        bool

	// Reading.
	ReadersIgnoreSwept         bool
	SweptIsReadBeforeTheView   bool
	SnapshotBeforeTheView      bool
	CreatesNotReplaced         bool
	UpdatesNotReplaced         bool
	UpdatesShowWithoutTheirRow bool
	DeadLettersLeaveTheView    bool
	MinLSNOnAnyTimeline        bool

	// Another Redis.
	NothingIsPutBack        bool
	PutBackLeavesReplicated bool
	PutBackKeepsTheEpoch    bool
}

// Plant is one planted fault and the scenario that shows it.
type Plant struct {
	Name, Scenario string
	Faults         Faults
	// Short ones are found in a moment, and looked for with every `go test`.
	Short bool
}
