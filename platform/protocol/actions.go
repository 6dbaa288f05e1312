package protocol

import "fmt"

// The kinds of actions. A process between two of them can die, and any other
// process can act.
const (
	sendRequest Kind = iota
	apiTakesView
	apiValidates
	acceptScript
	clientIsAnswered
	apiCrash
	processCatchesUp
	writeAtMain

	epochBegins
	claimArrives
	epochIsRaised
	connectedScript
	flushIsChosen
	blockScript
	raiseBatchScript
	groupCommits
	commitRollsBack
	answersArrive
	settleScript
	failScript
	connectionLost
	connectionLostLate
	lateArrives

	retryScript
	retryIsDue
	discardIsAccepted
	correctionIsAccepted
	bufferIsPaused
	bufferIsResumed
	causeIsRemoved
	fileIsExported
	fileIsImported

	replicaReplays
	replicaCrashes
	primaryFailsOver
	replicaFollows
	trackerLooks
	markScript
	unsweepScript
	expireScript

	readWaits
	readReadsSwept
	readCatchesUp
	readSnapshots

	redisIsCopied
	redisIsRestored
	redisIsEmptied
	redisIsRestarted
	putBackScript
	kinds
)

// actions says what each kind is called, does, and what it ranges over. It is
// filled by init, since the actions themselves look at it.
var actions [kinds]action

func init() {
	none, nothing := faultKinds, func(*Model) []Action { return []Action{{}} }
	plain := func(text string) func(*Model, Action) string { return func(*Model, Action) string { return text } }
	numbered := func(format string) func(*Model, Action) string {
		return func(_ *Model, a Action) string { return fmt.Sprintf(format, a.X) }
	}
	ordinal := func(format string) func(*Model, Action) string {
		return func(_ *Model, a Action) string { return fmt.Sprintf(format, a.X+1) }
	}
	actions = [kinds]action{
		sendRequest:      {words("a client sends %s"), (*Model).send, overCalls, false, none},
		apiTakesView:     {words("the API takes its view for %s"), (*Model).takeView, overCalls, false, none},
		apiValidates:     {words("the API validates %s on the replica's snapshot and its view"), (*Model).validate, overCalls, false, none},
		acceptScript:     {words("accept script: %s"), (*Model).accept, overCalls, true, none},
		clientIsAnswered: {words("the client gets the answer to %s"), (*Model).answer, overCalls, false, none},
		apiCrash:         {words("the API dies, or the answer is lost: %s"), (*Model).apiDies, overCalls, false, ApiDies},
		processCatchesUp: {ordinal("process %d catches up"), (*Model).catchUp, overLaggingViews, true, none},
		writeAtMain:      {ordinal("main writes directly (%d)"), (*Model).directWrite, overDirect, false, none},

		epochBegins:        {ofProcessor("takes an epoch, begins to connect"), (*Model).beginEpoch, overProcessors, true, none},
		claimArrives:       {ofProcessor("its claim arrives at the primary"), (*Model).connectFlush, overProcessors, false, none},
		epochIsRaised:      {ofProcessor("raise-epoch script, the claim was refused"), (*Model).raiseEpoch, overProcessors, true, none},
		connectedScript:    {ofProcessor("connected script"), (*Model).connected, overProcessors, true, none},
		flushIsChosen:      {flushWords, (*Model).pick, overFlushes, true, none},
		blockScript:        {ofProcessor("block script"), (*Model).block, overProcessors, true, none},
		raiseBatchScript:   {ofProcessor("raise-batch script; the flush is sent"), (*Model).raiseBatch, overProcessors, true, none},
		groupCommits:       {ofProcessor("a group commits at the primary, or its head is refused"), (*Model).deliverGroup, overProcessors, false, none},
		commitRollsBack:    {ofProcessor("a group's COMMIT answers ROLLBACK"), (*Model).rollBack, overProcessors, false, RolledBack},
		answersArrive:      {answerWords, (*Model).hear, overAnswers, false, none},
		settleScript:       {ofProcessor("settle script"), (*Model).settle, overProcessors, true, none},
		failScript:         {ofProcessor("fail script"), (*Model).fail, overProcessors, true, none},
		connectionLost:     {ofProcessor("its connection is gone, or it dies"), (*Model).lose, overProcessors, false, none},
		connectionLostLate: {ofProcessor("its connection is gone, what it sent is still on its way"), (*Model).loseLate, overProcessors, false, LateMessage},
		lateArrives:        {ordinal("the network delivers late message %d"), (*Model).deliverLate, overLate, false, LateMessage},

		retryScript:          {words("retry script: %s, by an operator"), (*Model).retry, overCalls, true, OperatorRetry},
		retryIsDue:           {words("retry script: %s, its next try is due"), (*Model).retryDue, overCalls, true, none},
		discardIsAccepted:    {words("an operator discards %s: accept script of the discard"), (*Model).discard, overCalls, true, OperatorDiscard},
		correctionIsAccepted: {words("an operator corrects %s: accept script of the correction"), (*Model).replace, overCalls, true, OperatorReplace},
		bufferIsPaused:       {plain("an operator pauses the buffer"), (*Model).pause, nothing, true, OperatorPause},
		bufferIsResumed:      {plain("an operator resumes the buffer"), (*Model).resume, nothing, true, OperatorPause},
		causeIsRemoved:       {plain("main removes the cause of the failures"), (*Model).mend, nothing, false, CauseRemoved},
		fileIsExported:       {plain("a sneakernet file is exported"), (*Model).export, nothing, true, Imports},
		fileIsImported:       {plain("the sneakernet file is imported at main"), (*Model).importFile, nothing, false, Imports},

		replicaReplays:   {numbered("the replica has replayed %d commits"), (*Model).replay, overCommits, false, none},
		replicaCrashes:   {numbered("the replica crashes, and is open again at %d commits"), (*Model).replicaCrash, overCommits, false, ReplicaCrash},
		primaryFailsOver: {numbered("failover: the new primary has the first %d commits"), (*Model).failover, overCommits, false, Failover},
		replicaFollows:   {plain("the replica follows the new primary"), (*Model).rewind, nothing, false, Failover},
		trackerLooks:     {ordinal("tracker %d looks at the replica"), (*Model).look, overTrackers, false, none},
		markScript:       {ordinal("tracker %d: mark script"), (*Model).mark, overTrackers, true, none},
		unsweepScript:    {ordinal("tracker %d: unsweep script"), (*Model).unsweep, overTrackers, true, none},
		expireScript:     {words("expire script: %s"), (*Model).expire, overCalls, true, Expiries},

		readWaits:      {ordinal("a read with the LSN of direct write %d has waited for the replica"), (*Model).waitForLSN, overDirect, false, Reads},
		readReadsSwept: {plain("a read reads swept alone"), (*Model).readSweptFirst, nothing, true, Reads},
		readCatchesUp:  {ordinal("a read catches up and takes its view (process %d)"), (*Model).catchUpToRead, overReaders, true, Reads},
		readSnapshots:  {plain("a read takes its snapshot"), (*Model).snapshot, nothing, false, Reads},

		redisIsCopied:    {plain("Redis is copied"), (*Model).copyRedis, nothing, false, RedisRestored},
		redisIsRestored:  {plain("Redis is restored from the copy"), (*Model).restore, nothing, false, RedisRestored},
		redisIsEmptied:   {emptyWords, (*Model).empty, overEmptying, false, RedisEmptied},
		redisIsRestarted: {plain("Redis is restarted, nothing is lost"), (*Model).restart, nothing, false, RedisRestarted},
		putBackScript:    {plain("put-back script: another Redis was noticed"), (*Model).putBack, nothing, false, none},
	}
}

func flushWords(_ *Model, a Action) string {
	groups := "one group"
	if a.Y&8 != 0 {
		groups = "two groups"
	}
	return fmt.Sprintf("processor %d: chooses the oldest %d, %s, or what is to be blocked", a.X+1, a.Y&7, groups)
}

func answerWords(_ *Model, a Action) string {
	text := fmt.Sprintf("processor %d: the answers to %d groups arrive", a.X+1, a.Y&^waits)
	if a.Y&waits != 0 {
		text += ", it waits for the others"
	}
	return text
}

func emptyWords(_ *Model, a Action) string {
	if a.X == 0 {
		return "Redis is restarted without its file"
	}
	return "FLUSHALL while the connections stay"
}

func overDirect(m *Model) (out []Action) {
	for i := range m.scenario.Direct {
		out = append(out, Action{X: uint8(i)})
	}
	return out
}

func overLate(*Model) []Action { return []Action{{X: 0}, {X: 1}} }

func overEmptying(*Model) []Action { return []Action{{X: 0}, {X: 1}} }

func overLaggingViews(m *Model) []Action {
	if !m.scenario.Lag {
		return nil
	}
	return []Action{{X: 0}, {X: 1}}
}

func overReaders(m *Model) []Action {
	if !m.scenario.Lag {
		return []Action{{}}
	}
	return []Action{{X: 0}, {X: 1}}
}
