package buffer

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"github.com/opsdb/opsdb/modules/buffer/internal/db"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/pg"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/txn"
)

// ImportConfig is what an import needs: the primary, as a role that may write there
// (main's own, or the owner of the tables).
type ImportConfig struct {
	PrimaryURL string
	Catalog    *txn.Catalog
	Problems   *problem.Catalog
	// Patience is how long an import waits for a lock, or for a primary that is away,
	// without getting any further, 1 minute.
	Patience time.Duration
	Logger   *slog.Logger
}

// Imported is what an import has done. Each transaction of the file is one of them.
type Imported struct {
	Site  string `json:"site"`
	Count int    `json:"count"`
	// Applied were applied now; Found were applied before, by the site or an earlier
	// import; Discarded are never applied, as an operator has decided.
	Applied   int `json:"applied"`
	Found     int `json:"already_there"`
	Discarded int `json:"discarded"`
	// Refused failed by their own data; Held depend on one of those.
	Refused []NotImported `json:"refused"`
	Held    []NotImported `json:"held_back"`
}

// NotImported is a transaction that stays at its site alone. Its processor sends it, or
// has it as a dead letter.
type NotImported struct {
	Seq       int64            `json:"seq"`
	ID        uuid.UUID        `json:"id"`
	Operation string           `json:"operation"`
	Problem   *problem.Problem `json:"problem,omitempty"`
	WaitsFor  int64            `json:"waits_for,omitempty"` // seq
}

// Import applies the transactions of a file of Export at the primary, in order, each
// once, whatever has applied some of them before or does so at the same time. A
// *BadFileError says that the file was refused before anything was changed. With any
// other error a part may be applied, as the result says; importing the file again goes
// on from there.
func Import(ctx context.Context, file io.ReadSeeker, c ImportConfig) (Imported, error) {
	if c.Patience == 0 {
		c.Patience = time.Minute
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	header, err := verify(ctx, file, c)
	if err != nil {
		return Imported{}, err
	}
	im := &importing{config: c, done: Imported{Site: header.Site, Count: header.Count, Refused: []NotImported{}, Held: []NotImported{}}}
	defer im.hangUp()
	err = im.run(ctx, file)
	return im.done, err
}

// verify reads the whole file before anything of it is applied.
func verify(ctx context.Context, file io.ReadSeeker, c ImportConfig) (SneakernetHeader, error) {
	var place, seq int64
	header, by, content, err := readFile(file, func(h SneakernetHeader, tx *pending.Transaction) error {
		if tx.Site != h.Site {
			return fmt.Errorf("transaction %d is of another site", tx.Seq)
		}
		// The order of applying. A correction that comes after what was accepted after
		// the mistake would overwrite it.
		at := parcel{tx: tx}.place()
		if at > tx.Seq || at < place || at == place && tx.Seq <= seq || tx.ID == uuid.Nil {
			return fmt.Errorf("transaction %d is out of order", tx.Seq)
		}
		place, seq = at, tx.Seq
		_, err := changesOf(c.Catalog, tx)
		return err
	})
	if err != nil {
		return header, err
	}
	if err := verifySignature(ctx, header, by, c.PrimaryURL); err != nil {
		return header, err
	}
	// Signed by the site: a version of opsdb wrote it that this one does not read.
	if content != nil {
		return header, badFile("it holds what this opsdb cannot read; import it with the version of the site: %s", content)
	}
	return header, nil
}

func verifySignature(ctx context.Context, header SneakernetHeader, by sneakernetTrailer, url string) (err error) {
	conn, err := pg.Connect(ctx, url, "opsdb-import", nil)
	if err != nil {
		return fmt.Errorf("connecting to the primary: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	key, err := db.New(conn).GetSneakernetKey(ctx, db.GetSneakernetKeyParams{Site: header.Site, Kid: by.Kid})
	if err != nil {
		return fmt.Errorf("looking for the key of site %s: %w", header.Site, err)
	}
	switch {
	case key.InRecovery:
		return errors.New("this is a replica: an import needs the primary")
	case !key.SiteKnown:
		return badFile("it is from site %q, which main does not know", header.Site)
	case key.KeySite != header.Site:
		return badFile("key %q, which signed it, is not one that site %q has published (`opsdb keys init` there)", by.Kid, header.Site)
	}
	public, err := base64.RawURLEncoding.DecodeString(key.PublicKey)
	if err != nil || len(public) != ed25519.PublicKeySize {
		return fmt.Errorf("the published key %s is no Ed25519 key", by.Kid)
	}
	digest, err := hex.DecodeString(by.SHA256)
	if err != nil {
		return badFile("it was changed: its digest is another")
	}
	signature, err := base64.RawURLEncoding.DecodeString(by.Signature)
	if err != nil || !ed25519.Verify(public, signed(digest), signature) {
		return badFile("it was changed: its signature is not that of site %q", header.Site)
	}
	return nil
}

func changesOf(catalog *txn.Catalog, tx *pending.Transaction) ([]pending.Change, error) {
	var all []pending.Change
	for _, step := range tx.Steps {
		changes, err := catalog.Changes(step.Kind, step.Data)
		if err != nil {
			return nil, fmt.Errorf("transaction %d: %w", tx.Seq, err)
		}
		all = append(all, changes...)
	}
	return all, nil
}

// parcel is one transaction of the file, on its way.
type parcel struct {
	tx      *pending.Transaction
	changes []pending.Change
	item    *txn.Item // nil: not prepared on this connection
}

// place is where the transaction stands among the changes of a row.
func (t parcel) place() int64 {
	if t.tx.Place != 0 {
		return t.tx.Place
	}
	return t.tx.Seq
}

// importing is one import on its way.
type importing struct {
	config ImportConfig
	link   *txn.Importer
	done   Imported
	kept   txn.Dependencies // what was refused or held back
}

func (im *importing) run(ctx context.Context, file io.ReadSeeker) error {
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("reading the file: %w", err)
	}
	l := newLines(file)
	header, err := readHeader(l)
	if err != nil {
		return err
	}
	var group []parcel
	size := 0
	apply := func() error {
		err := im.apply(ctx, group)
		group, size = nil, 0
		return err
	}
	err = eachLine(l, header, func(line []byte) error {
		tx := &pending.Transaction{}
		if err := json.Unmarshal(line, tx); err != nil {
			return fmt.Errorf("reading a transaction: %w", err)
		}
		changes, err := changesOf(im.config.Catalog, tx)
		if err != nil {
			return err
		}
		bytes := 0
		for _, step := range tx.Steps {
			bytes += len(step.Data)
		}
		if len(group) == groupCount || len(group) > 0 && size+bytes > groupBytes {
			if err := apply(); err != nil {
				return err
			}
		}
		group, size = append(group, parcel{tx: tx, changes: changes}), size+bytes
		return nil
	})
	if err == nil {
		err = apply()
	}
	return err
}

// apply applies a group, as often as it takes: what a lock kept out, and everything
// after an answer that was lost, is sent again, where the ledger knows what had
// arrived.
func (im *importing) apply(ctx context.Context, group []parcel) error {
	wait := pause{limit: time.Second}
	since := time.Now()
	for len(group) > 0 {
		left, fault, err := im.attempt(ctx, group)
		if len(left) < len(group) {
			since = time.Now()
			wait.reset()
		}
		group = left
		if err == nil && fault == nil {
			continue
		}
		if err != nil {
			im.hangUp()
		}
		err = errors.Join(err, fault)
		if ctx.Err() != nil || problem.ClassOf(err) != problem.Retry || time.Since(since) > im.config.Patience {
			return fmt.Errorf("applying the file: %w", err)
		}
		im.config.Logger.WarnContext(ctx, "the import tries again", "first_seq", group[0].tx.Seq, "transactions", len(group), "error", err)
		select {
		case <-time.After(wait.next()):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// attempt sends a group once and returns what is left of it. fault is why something
// is; err says that nothing is known of what was sent.
func (im *importing) attempt(ctx context.Context, group []parcel) (left []parcel, fault, err error) {
	if im.link == nil {
		line := txn.LinkConfig{URL: im.config.PrimaryURL, Site: im.done.Site, Problems: im.config.Problems}
		if im.link, err = txn.ConnectImporter(ctx, line, im.config.Catalog); err != nil {
			return group, nil, err
		}
	}
	var sent []parcel
	var earlier txn.Dependencies
	ids := map[int64]uuid.UUID{}
	for i, t := range group {
		if im.hold(t) {
			continue
		}
		item, err := im.link.Prepare(ctx, t.tx)
		var refused *problem.Problem
		if errors.As(err, &refused) {
			im.refuse(t, refused)
			continue
		}
		if err != nil {
			return append(sent, group[i:]...), nil, err
		}
		// One that fills a group by itself goes alone, as in a flush.
		if len(sent) > 0 && item.Large() {
			left = group[i:]
			break
		}
		for _, seq := range earlier.Of(t.place(), t.changes) {
			item.Earlier = append(item.Earlier, ids[seq])
		}
		earlier.Add(t.tx.Seq, t.place(), t.changes)
		ids[t.tx.Seq] = t.tx.ID
		t.item = item
		sent = append(sent, t)
		if item.Large() {
			left = group[i+1:]
			break
		}
	}
	if len(sent) == 0 {
		return left, nil, nil
	}
	items := make([]*txn.Item, len(sent))
	for i, t := range sent {
		items[i] = t.item
	}
	answers, err := im.link.Apply(ctx, items)
	if err != nil {
		return append(sent, left...), nil, err
	}
	var again []parcel
	for i, a := range answers {
		switch {
		case a.Outcome == txn.Discarded:
			im.done.Discarded++
		case a.Outcome == txn.Applied && a.Found:
			im.done.Found++
		case a.Outcome == txn.Applied:
			im.done.Applied++
		case a.Outcome == txn.Refused:
			im.refuse(sent[i], a.Problem)
		case a.Outcome == txn.Postponed && im.hold(sent[i]):
		default: // a lock, or what waits for one that met a lock
			fault = errors.Join(fault, a.Err)
			again = append(again, sent[i])
		}
	}
	return append(again, left...), fault, nil
}

func (im *importing) refuse(t parcel, p *problem.Problem) {
	im.kept.Add(t.tx.Seq, t.place(), t.changes)
	im.done.Refused = append(im.done.Refused, NotImported{Seq: t.tx.Seq, ID: t.tx.ID, Operation: t.tx.Operation, Problem: p})
}

// hold says whether a transaction depends on one that is not applied, and keeps it
// back then.
func (im *importing) hold(t parcel) bool {
	by := im.kept.Of(t.place(), t.changes)
	if len(by) == 0 {
		return false
	}
	im.kept.Add(t.tx.Seq, t.place(), t.changes)
	im.done.Held = append(im.done.Held, NotImported{Seq: t.tx.Seq, ID: t.tx.ID, Operation: t.tx.Operation, WaitsFor: by[0]})
	return true
}

// hangUp ends the connection; the next attempt makes another.
func (im *importing) hangUp() {
	if im.link != nil {
		im.link.Close()
		im.link = nil
	}
}
