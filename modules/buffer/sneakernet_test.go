package buffer

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/opsdb/opsdb/platform/observe/observetest"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/rdb"
	"github.com/opsdb/opsdb/platform/sandbox"
	"github.com/opsdb/opsdb/platform/sandbox/sandboxtest"
	"github.com/opsdb/opsdb/platform/txn"
	"github.com/opsdb/opsdb/platform/txn/txntest"
)

// courier carries files between the sites of a test.
type courier struct {
	t     testing.TB
	s     *txntest.Sites
	redis *rdb.Client
	key   SneakernetKey
}

// newKey makes a key and publishes it for a site.
func newKey(t testing.TB, s *txntest.Sites, site string) SneakernetKey {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key := SneakernetKey{ID: site + "-" + rand.Text(), Private: private}
	if _, err := s.Primary(t).Exec(sandboxtest.Context(t), "INSERT INTO signing_key (kid, site, public_key, created_at, updated_at) VALUES ($1, $2, $3, now(), now())",
		key.ID, site, base64.RawURLEncoding.EncodeToString(public)); err != nil {
		t.Fatal(err)
	}
	return key
}

func newCourier(t testing.TB, s *txntest.Sites) courier {
	t.Helper()
	client, err := rdb.Open(rdb.Options{URL: s.RedisURL, Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	return courier{t, s, client, newKey(t, s, s.Site)}
}

// export writes a file and reads it.
func (c courier) export(want int) []byte {
	c.t.Helper()
	name := filepath.Join(c.t.TempDir(), "buffer.export")
	done, err := Export(sandboxtest.Context(c.t), name, ExportConfig{Site: c.s.Site, Redis: c.redis, Catalog: c.s.Catalog, Key: c.key})
	if err != nil {
		c.t.Fatal(err)
	}
	if done.Transactions != want {
		c.t.Fatalf("%d transactions are in the file, want %d", done.Transactions, want)
	}
	if _, err := Export(sandboxtest.Context(c.t), name, ExportConfig{Site: c.s.Site, Redis: c.redis, Catalog: c.s.Catalog, Key: c.key}); err == nil {
		c.t.Error("a second export has replaced the file")
	}
	info, err := os.Stat(name)
	if err != nil || info.Mode().Perm() != 0o600 {
		c.t.Errorf("the file is %v, %v", info.Mode(), err)
	}
	if all, err := os.ReadDir(filepath.Dir(name)); err != nil || len(all) != 1 {
		c.t.Errorf("beside the file are %v, %v", all, err)
	}
	content, err := os.ReadFile(name)
	if err != nil {
		c.t.Fatal(err)
	}
	return content
}

func (c courier) try(file []byte, change ...func(*ImportConfig)) (Imported, error) {
	c.t.Helper()
	config := ImportConfig{
		PrimaryURL: c.s.MainRoleURL, Catalog: c.s.Catalog, Problems: c.s.Problems, Patience: 40 * time.Second,
		Logger: observetest.Logger(c.t),
	}
	for _, f := range change {
		f(&config)
	}
	return Import(sandboxtest.Context(c.t), bytes.NewReader(file), config)
}

// sign signs a changed file anew, with a key.
func (c courier) sign(changed []byte, key SneakernetKey) []byte {
	c.t.Helper()
	content := changed[:bytes.LastIndexByte(changed[:len(changed)-1], '\n')+1]
	digest := sha256.Sum256(content)
	trailer, err := json.Marshal(sneakernetTrailer{
		SHA256: hex.EncodeToString(digest[:]), Kid: key.ID, Signature: base64.RawURLEncoding.EncodeToString(ed25519.Sign(key.Private, signed(digest[:]))),
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return append(append(bytes.Clone(content), trailer...), '\n')
}

// bring imports a file and demands these counts: applied, already there, discarded,
// refused, held back.
func (c courier) bring(file []byte, want ...int) Imported {
	c.t.Helper()
	done, err := c.try(file)
	if err != nil {
		c.t.Fatal(err)
	}
	got := []int{done.Applied, done.Found, done.Discarded, len(done.Refused), len(done.Held)}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		c.t.Fatalf("applied, already there, discarded, refused, held back: %v, want %v (%+v)", got, want, done)
	}
	return done
}

// atMain are the numbers of the site's row at main.
func atMain(t testing.TB, s *txntest.Sites) (epoch, batch, lastSeq int64) {
	t.Helper()
	if err := s.PrimaryPool.QueryRow(sandboxtest.Context(t), "SELECT epoch, batch, last_seq FROM site_status WHERE site = $1", s.Site).Scan(&epoch, &batch, &lastSeq); err != nil {
		t.Fatal(err)
	}
	return epoch, batch, lastSeq
}

// shown demands that the site shows exactly these notes, wherever they come from.
func atSite(t testing.TB, s *txntest.Sites, want map[uuid.UUID]string) {
	t.Helper()
	got := map[uuid.UUID]string{}
	err := s.Reader.Read(sandboxtest.Context(t), func(ctx context.Context, snapshot *pending.Snapshot) error {
		rows, err := snapshot.DB.Query(ctx, "SELECT id, body FROM note")
		if err != nil {
			return err
		}
		for rows.Next() {
			var id uuid.UUID
			var body string
			if err := rows.Scan(&id, &body); err != nil {
				return err
			}
			got[id] = body
		}
		snapshot.View.Ascend(0, func(tx *pending.Tx) bool {
			for _, change := range tx.Changes {
				var note struct{ Body string }
				if err = errors.Join(err, json.Unmarshal(change.Columns, &note)); err == nil {
					got[change.ID] = note.Body
				}
			}
			return true
		})
		return errors.Join(err, rows.Err())
	})
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the site shows %v, want %v", got, want)
	}
}

// lockSite locks the site's row at main, as a flush does that hangs.
func lockSite(t testing.TB, s *txntest.Sites) (release func()) {
	t.Helper()
	tx, err := s.Primary(t).Begin(sandboxtest.Context(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(sandboxtest.Context(t), "SELECT FROM site_status WHERE site = $1 FOR UPDATE", s.Site); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := tx.Rollback(sandboxtest.Context(t)); err != nil {
			t.Error(err)
		}
	}
}

// waiting waits until n backends wait for a lock whose application's name is like that.
func waiting(t testing.TB, s *txntest.Sites, what, like string, n int) {
	t.Helper()
	sandboxtest.Eventually(t, 60*time.Second, what, func() bool {
		var found int
		err := s.PrimaryPool.QueryRow(sandboxtest.Context(t),
			"SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE $1 AND wait_event_type = 'Lock'", like).Scan(&found)
		return err == nil && found == n
	})
}

// A file is carried to main while the link is down: everything is applied, once; when
// the link is back the site finds it in the ledger. Its number at main stays until then,
// so that its rows are shown once all the time.
func TestExportIsImportedWhileTheLinkIsDown(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("needs servers of its own")
	}
	s := alone(t, sandbox.Options{})
	c := newCourier(t, s)
	start(t, make1(t, s))
	want := notes(t, s.Buffered, 10)
	drained(t, s, 30*time.Second)
	up := false
	if err := s.Stack.Link.Database.Apply(sandbox.Change{Up: &up}); err != nil {
		t.Fatal(err)
	}
	for id, body := range notes(t, s.Buffered, 60) {
		want[id] = body
	}
	before := s.Store.Current().Counts().Buffered
	if before != 60+20+12 {
		t.Fatalf("%d are buffered", before)
	}
	kept := before + 10 + 4 + 2 // what has replicated is kept, and goes along
	file := c.export(kept)
	epoch, batch, lastSeq := atMain(t, s)
	c.bring(file, before, kept-before, 0, 0, 0)
	if e, b, l := atMain(t, s); e != epoch || b != batch || l != lastSeq+int64(before) {
		t.Errorf("the site's row at main: epoch %d to %d, batch %d to %d, last seq %d to %d", epoch, e, batch, b, lastSeq, l)
	}
	if n := len(txntest.Bodies(t, s.PrimaryPool)); n != len(want) {
		t.Errorf("main has %d notes, want %d", n, len(want))
	}
	atSite(t, s, want)
	c.bring(file, 0, kept, 0, 0, 0)
	if n := s.Store.Current().Counts().Buffered; n != before {
		t.Errorf("%d are buffered before the link is back, %d before the import", n, before)
	}
	txntest.Up(t, s.Stack.Link.Database)
	drained(t, s, 60*time.Second)
	exact(t, s, want)
	atSite(t, s, want)
}

// The link returns while a file is imported: importer and processor apply the same
// transactions at the same time, each once.
func TestImportWhileTheProcessorDrains(t *testing.T) {
	t.Parallel()
	s := both(t)
	c := newCourier(t, s)
	want := notes(t, s.Buffered, 300)
	all := s.Store.Current().Counts().Buffered
	file := c.export(all)
	release := lockSite(t, s)
	start(t, make1(t, s, func(c *Config) { c.BatchSize = 20 }))
	waiting(t, s, "the processor to wait for the lock", "opsdb-processor:%", 1) // it is the first to go on
	done := make(chan Imported, 2)
	for range cap(done) {
		go func() {
			imported, err := c.try(file)
			if err != nil {
				t.Error(err)
			}
			done <- imported
		}()
	}
	waiting(t, s, "importers and processor to wait for each other", "opsdb-%:%", 3)
	release()
	applied := 0
	for range cap(done) {
		imported := <-done
		t.Logf("%d applied, %d already there", imported.Applied, imported.Found)
		if imported.Applied+imported.Found != all {
			t.Errorf("%+v, want %d in all", imported, all)
		}
		applied += imported.Applied
	}
	if applied == 0 {
		t.Error("the processor has applied everything: the test has shown nothing")
	}
	drained(t, s, 60*time.Second)
	exact(t, s, want)
}

// What fails by its own data is reported, what depends on it waits, the others go on.
func TestPoisonInAFileHoldsBackWhatDependsOnIt(t *testing.T) {
	t.Parallel()
	s := both(t)
	c := newCourier(t, s)
	want := notes(t, s.Buffered, 3)
	poison := txntest.Note(t, s.Buffered, "poison", nil)
	child := txntest.Note(t, s.Buffered, "child", &poison)
	for id, body := range notes(t, s.Buffered, 80) { // the next group too
		want[id] = body
	}
	txntest.EditNote(t, s.Buffered, txntest.Edit{ID: child, Body: "edited", Status: "open"})
	last := txntest.Note(t, s.Buffered, "last", nil)
	want[last] = "last"
	all := s.Store.Current().Counts().Buffered
	file := c.export(all)
	done := c.bring(file, all-3, 0, 0, 1, 2)
	if r := done.Refused[0]; r.Problem == nil || r.Problem.Code() != "note-poisoned" || done.Held[0].WaitsFor != r.Seq || done.Held[1].WaitsFor < r.Seq {
		t.Errorf("refused %+v, held back %+v", done.Refused, done.Held)
	}
	c.bring(file, 0, all-3, 0, 1, 2)
	// At the site they become dead letters; once main takes the poison they go their way.
	start(t, make1(t, s))
	dead(t, s, 3)
	drained(t, s, 60*time.Second)
	exact(t, s, want)
	s.Exec(t, "ALTER TABLE note DROP CONSTRAINT note_body_check")
	if _, err := s.Store.Retry(sandboxtest.Context(t)); err != nil {
		t.Fatal(err)
	}
	drained(t, s, 60*time.Second)
	want[poison], want[child] = "poison", "edited"
	exact(t, s, want)
}

// A dead letter stays at the site, with what depends on it, although its processor has
// not said yet that this waits.
func TestDeadLettersStayOutOfTheFile(t *testing.T) {
	t.Parallel()
	s := both(t)
	c := newCourier(t, s)
	poison := txntest.Note(t, s.Buffered, "poison", nil)
	m := make1(t, s)
	start(t, m)
	dead(t, s, 1)
	stop(t, m)
	child := txntest.Note(t, s.Buffered, "child", &poison)
	other := txntest.Note(t, s.Buffered, "other", nil)
	// Its blocker is put back and taken again, and nobody looks at the child meanwhile.
	if _, err := c.s.Store.Retry(sandboxtest.Context(t)); err != nil {
		t.Fatal(err)
	}
	session, err := s.Store.BeginEpoch(sandboxtest.Context(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := session.Fail(sandboxtest.Context(t), []pending.Failure{{Seq: 1, At: time.Now(), Problem: json.RawMessage(`{}`)}}); err != nil {
		t.Fatal(err)
	}
	if counts := s.Store.Current().Counts(); counts.Buffered != 2 || counts.Failed != 1 {
		t.Fatalf("%+v: the test's precondition fails", counts)
	}
	file := c.export(1)
	c.bring(file, 1, 0, 0, 0, 0)
	if got := txntest.Bodies(t, s.PrimaryPool); len(got) != 1 || got[other] != "other" {
		t.Errorf("main has %v, neither the poison nor its child %s", got, child)
	}
}

// An operator's correction is carried before what was accepted after the mistake, as the
// site shows it and its processor would apply it, although it was accepted later. A file
// in which it comes after that is refused.
func TestCorrectionIsCarriedBeforeWhatCameAfterTheMistake(t *testing.T) {
	t.Parallel()
	s := both(t)
	c := newCourier(t, s)
	note := txntest.Note(t, s.Buffered, "first", nil)
	mistake := txntest.EditNote(t, s.Buffered, txntest.Edit{ID: note, Body: "poison", Status: "open"})
	later := txntest.EditNote(t, s.Buffered, txntest.Edit{ID: note, Body: "later", Status: "open"})
	slow := func(c *Config) { c.RetryDelay, c.Editor = time.Hour, noteEditor{} }
	m := make1(t, s, slow)
	start(t, m)
	dead(t, s, 2)
	drained(t, s, 60*time.Second)
	stop(t, m)
	at := serve(t, make1(t, s, slow))
	at.send("ada", "POST", "/buffer/transactions/"+mistake.TransactionID.String()+"/replace", `{"reason":"mistyped","request":{"body":"corrected"}}`, "", 200)
	waiting, ok := s.Store.Current().Tx(later.TransactionID)
	if !ok || waiting.State != pending.StateBlocked {
		t.Fatalf("what came after the mistake is %+v: the test's precondition fails", waiting)
	}
	if _, err := s.Store.Retry(sandboxtest.Context(t), waiting.Seq); err != nil {
		t.Fatal(err)
	}
	file := c.export(3)
	lines := bytes.SplitAfter(file, []byte("\n"))
	former := c.sign(bytes.Join([][]byte{lines[0], lines[1], lines[3], lines[2], lines[4]}, nil), c.key)
	var refused *BadFileError
	if _, err := c.try(former); !errors.As(err, &refused) || !strings.Contains(refused.Reason, "out of order") {
		t.Errorf("by seq: %v", err)
	}
	c.bring(file, 2, 1, 0, 0, 0)
	if got := txntest.Bodies(t, s.PrimaryPool)[note]; got != "later" {
		t.Errorf("main has %q, want what was written last", got)
	}
	start(t, make1(t, s, slow))
	drained(t, s, 60*time.Second)
	exact(t, s, map[uuid.UUID]string{note: "later"})
}

// A discarded transaction is in no later file, and an earlier file cannot apply it.
func TestDiscardedStaysDiscardedWhateverAFileSays(t *testing.T) {
	t.Parallel()
	s := both(t)
	c := newCourier(t, s)
	at := serve(t, make1(t, s))
	target := txntest.Note(t, s.Buffered, "poison", nil)
	early := c.export(1)
	m := make1(t, s)
	start(t, m)
	letter := dead(t, s, 1)[0]
	stop(t, m)
	at.send("ada", "POST", "/buffer/transactions/"+letter.ID.String()+"/discard", `{"reason":"mistyped"}`, "", 200)
	late := c.export(1) // the decision alone
	s.Exec(t, "ALTER TABLE note DROP CONSTRAINT note_body_check")
	c.bring(late, 1, 0, 0, 0, 0)
	c.bring(early, 0, 0, 1, 0, 0)
	if got := ledger(t, s, letter.ID); got != "discarded" {
		t.Errorf("the ledger says %q", got)
	}
	if _, there := txntest.Bodies(t, s.PrimaryPool)[target]; there {
		t.Error("the discarded note is at main")
	}
	start(t, make1(t, s))
	drained(t, s, 60*time.Second)
	exact(t, s, map[uuid.UUID]string{})
}

// A dead letter that a file has brought to main leaves the dead letters when the site
// connects.
func TestImportedDeadLetterLeavesTheDeadLetters(t *testing.T) {
	t.Parallel()
	s := both(t)
	c := newCourier(t, s)
	poison := txntest.Note(t, s.Buffered, "poison", nil)
	child := txntest.Note(t, s.Buffered, "child", &poison)
	file := c.export(2)
	m := make1(t, s)
	start(t, m)
	dead(t, s, 2)
	stop(t, m)
	s.Exec(t, "ALTER TABLE note DROP CONSTRAINT note_body_check")
	c.bring(file, 2, 0, 0, 0, 0)
	start(t, make1(t, s))
	dead(t, s, 0)
	drained(t, s, 60*time.Second)
	exact(t, s, map[uuid.UUID]string{poison: "poison", child: "child"})
}

// A file that is not whole and the site's own is refused, and nothing has changed.
func TestFilesThatAreNotTheSitesOwnAreRefused(t *testing.T) {
	t.Parallel()
	s := both(t)
	c := newCourier(t, s)
	notes(t, s.Buffered, 3)
	all := s.Store.Current().Counts().Buffered
	file := c.export(all)
	rows := bytes.SplitAfter(file, []byte("\n"))
	last := len(rows) - 2 // the trailer: after it comes nothing
	replace := func(old, with string) []byte {
		t.Helper()
		changed := bytes.Replace(file, []byte(old), []byte(with), 1)
		if bytes.Equal(changed, file) {
			t.Fatalf("there is no %q in the file", old)
		}
		return changed
	}
	_, stranger, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	domainless := ed25519.Sign(c.key.Private, func() []byte { d := sha256.Sum256(bytes.Join(rows[:last], nil)); return d[:] }())
	var trailer sneakernetTrailer
	if err := json.Unmarshal(rows[last], &trailer); err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct {
		file []byte
		why  string
	}{
		"empty":                 {nil, "no file of"},
		"something else":        {[]byte("hello\n"), "no file of"},
		"cut in a line":         {file[:len(file)/2], "cut off"},
		"cut between lines":     {bytes.Join(rows[:last-1], nil), "cut off"},
		"without its signature": {bytes.Join(rows[:last], nil), "cut off"},
		"without its last byte": {file[:len(file)-1], "cut off"},
		"a line less":           {bytes.Join(append(rows[:1:1], rows[2:]...), nil), "cut off"},
		"a line twice":          {bytes.Join(append(rows[:2:2], rows[1:]...), nil), "changed"},
		"edited":                {replace("note 1", "note 7"), "digest"},
		"edited, digest made new": {func() []byte {
			f := c.sign(replace("note 1", "note 7"), c.key)
			return bytes.Replace(f, f[bytes.LastIndex(f, []byte(`"signature":"`)):], []byte(`"signature":"`+trailer.Signature+"\"}\n"), 1)
		}(), "signature"},
		"other line ends":          {bytes.ReplaceAll(file, []byte("\n"), []byte("\r\n")), "digest"},
		"something after the end":  {append(bytes.Clone(file), "x\n"...), "follows"},
		"of a later version":       {c.sign(replace(`"version":1`, `"version":2`), c.key), "version 2"},
		"of an unknown site":       {c.sign(replace(`"site":"`+s.Site, `"site":"nowhere`), c.key), "does not know"},
		"by an unknown key":        {c.sign(file, SneakernetKey{ID: "observatory-x", Private: stranger}), "published"},
		"by another's key":         {c.sign(file, newKey(t, s, sandboxtest.MainSite)), "published"},
		"by a forged key":          {c.sign(file, SneakernetKey{ID: c.key.ID, Private: stranger}), "signature"},
		"signed as something else": {bytes.Replace(file, []byte(trailer.Signature), []byte(base64.RawURLEncoding.EncodeToString(domainless)), 1), "signature"},
		"with an unknown kind":     {c.sign(replace("notes.write/1", "notes.write/9"), c.key), "cannot read"},
		"out of order":             {c.sign(bytes.Join([][]byte{rows[0], rows[2], rows[1], bytes.Join(rows[3:], nil)}, nil), c.key), "out of order"},
		"for another site":         {c.sign(bytes.ReplaceAll(file, []byte(`"site":"`+s.Site+`","actor"`), []byte(`"site":"elsewhere","actor"`)), c.key), "another site"},
	}
	for name, bad := range cases {
		done, err := c.try(bad.file)
		var refused *BadFileError
		if !errors.As(err, &refused) || !strings.Contains(refused.Reason, bad.why) || strings.Contains(err.Error(), "\n") || done.Count != 0 {
			t.Errorf("%s: %+v, %v, want %q", name, done, err, bad.why)
		}
	}
	if _, err := c.try(file, func(c *ImportConfig) { c.PrimaryURL = s.ReaderURL }); err == nil || !strings.Contains(err.Error(), "replica") {
		t.Errorf("at the replica: %v", err)
	}
	if n := len(txntest.Bodies(t, s.PrimaryPool)); n != 0 {
		t.Errorf("%d notes are at main", n)
	}
	if _, _, lastSeq := atMain(t, s); lastSeq != 0 {
		t.Errorf("the site's last seq at main is %d", lastSeq)
	}
	// A key that was replaced still verifies what it signed.
	s.Exec(t, "UPDATE signing_key SET retired_at = now()")
	c.bring(file, all, 0, 0, 0, 0)
}

// A bulk is larger than a group; a lock at main is waited for, and a connection that is
// ended in between is made anew.
func TestImportGoesOnAfterLocksAndLostConnections(t *testing.T) {
	t.Parallel()
	s := both(t)
	c := newCourier(t, s)
	first := txntest.Note(t, s.Buffered, "first", nil)
	txntest.EditNote(t, s.Buffered, txntest.Edit{ID: first, Body: "edited", Status: "open"})
	if _, err := s.Buffered.Write(sandboxtest.Context(t), txntest.Request("write-notes"), func(_ context.Context, tx *txn.Builder) error {
		many := txntest.Many{CreatedAt: tx.Now()}
		for range 5000 {
			many.IDs, many.Bodies = append(many.IDs, tx.NewID()), append(many.Bodies, `two "bytes": é`)
		}
		tx.Add(many)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	want := notes(t, s.Buffered, 10)
	all := s.Store.Current().Counts().Buffered
	file := c.export(all)
	// The site's row is locked, as by a flush that hangs, and the import's backend ended.
	release := lockSite(t, s)
	done := make(chan Imported, 1)
	go func() {
		imported, err := c.try(file)
		if err != nil {
			t.Error(err)
		}
		done <- imported
	}()
	waiting(t, s, "the import to wait for the lock", "opsdb-import:%", 1)
	s.Exec(t, "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'opsdb-import:%'")
	waiting(t, s, "the import to wait for the lock again", "opsdb-import:%", 1)
	release()
	if imported := <-done; imported.Applied != all {
		t.Errorf("%+v, want %d applied", imported, all)
	}
	if n := len(txntest.Bodies(t, s.PrimaryPool)); n != len(want)+5001 {
		t.Errorf("main has %d notes, want %d", n, len(want)+5001)
	}
	start(t, make1(t, s))
	drained(t, s, 60*time.Second)
}

// FuzzSneakernetFile: whatever a file says, reading it ends, and what it gives to the check is
// only what the signed digest covers when there is no error.
func FuzzSneakernetFile(f *testing.F) {
	f.Add([]byte("{}\n{}\n{}\n"))
	f.Add([]byte(`{"format":"opsdb-sneakernet/1","site":"observatory","transactions":1}` + "\n" + `{"id":"0198c0de-0000-7000-8000-000000000001","seq":1}` + "\n" + `{"sha256":"00","signature":"AA=="}` + "\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		seen := 0
		_, by, content, err := readFile(bytes.NewReader(file), func(SneakernetHeader, *pending.Transaction) error {
			seen++
			return nil
		})
		if err == nil && content == nil && seen > bytes.Count(file, []byte("\n")) {
			t.Errorf("%d transactions in %d lines", seen, bytes.Count(file, []byte("\n")))
		}
		if err == nil && by.SHA256 == "" {
			t.Error("a file without a digest is whole")
		}
	})
}
