package buffer

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"math"
	"time"

	"github.com/opsdb/opsdb/platform/pending"
)

// A sneakernet file carries a site's transactions to main by hand when the link stays
// down. It is lines of JSON: a header, one transaction a line as the buffer keeps it,
// in the order of applying, and a trailer that signs all lines before it.

const (
	sneakernetFormat  = "opsdb-sneakernet"
	sneakernetVersion = 1
	// sneakernetDomain begins what is signed: a site's key signs other things too, and
	// none of them may be taken for a file.
	sneakernetDomain = "opsdb sneakernet file, version 1\n"
	// sneakernetLine bounds a line. The largest bulk is some 20 MB, and twice that in
	// quotes within its discard.
	sneakernetLine = 128 << 20
)

// SneakernetHeader is the first line of a sneakernet file.
type SneakernetHeader struct {
	Format  string    `json:"format"`
	Version int       `json:"version"`
	Site    string    `json:"site"`
	Created time.Time `json:"created"`
	Count   int       `json:"count"`
}

type sneakernetTrailer struct {
	SHA256    string `json:"sha256"`
	Kid       string `json:"kid"`
	Signature string `json:"signature"`
}

// SneakernetKey is what a site signs its files with.
type SneakernetKey struct {
	ID      string
	Private ed25519.PrivateKey
}

// signed is what the signature of a file with this digest is made of.
func signed(digest []byte) []byte { return append([]byte(sneakernetDomain), digest...) }

// headerLine is a header padded to the length that it has with any count: it is
// written again, in place, once the count is known.
func headerLine(h SneakernetHeader) ([]byte, error) {
	line, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("encoding the header: %w", err)
	}
	h.Count = math.MaxInt
	longest, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("encoding the header: %w", err)
	}
	padding := bytes.Repeat([]byte{' '}, len(longest)-len(line))
	return append(append(line, padding...), '\n'), nil
}

// trailerLine signs what file holds so far.
func trailerLine(file io.ReadSeeker, key SneakernetKey) ([]byte, error) {
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	h := sha256.New()
	if _, err := io.Copy(h, file); err != nil {
		return nil, err
	}
	digest := h.Sum(nil)
	line, err := json.Marshal(sneakernetTrailer{
		SHA256: hex.EncodeToString(digest), Kid: key.ID, Signature: base64.RawURLEncoding.EncodeToString(ed25519.Sign(key.Private, signed(digest))),
	})
	return append(line, '\n'), err
}

// lines reads whole lines, with their ends, and sums up what was read.
type lines struct {
	scanner *bufio.Scanner
	sum     hash.Hash
}

func newLines(r io.Reader) *lines {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 0, 64<<10), sneakernetLine)
	s.Split(func(data []byte, atEOF bool) (int, []byte, error) {
		if end := bytes.IndexByte(data, '\n'); end >= 0 {
			return end + 1, data[:end+1], nil
		}
		if atEOF && len(data) > 0 {
			return 0, nil, io.ErrUnexpectedEOF
		}
		return 0, nil, nil
	})
	return &lines{s, sha256.New()}
}

// next is the next line, valid until the call after it; io.ErrUnexpectedEOF when there
// is none, or not to its end.
func (l *lines) next() ([]byte, error) {
	if !l.scanner.Scan() {
		if err := l.scanner.Err(); err != nil {
			return nil, err
		}
		return nil, io.ErrUnexpectedEOF
	}
	return l.scanner.Bytes(), nil
}

// ended says whether nothing follows.
func (l *lines) ended() bool { return !l.scanner.Scan() && l.scanner.Err() == nil }

// BadFileError says why a file is not imported. Nothing was changed.
type BadFileError struct{ Reason string }

func (e *BadFileError) Error() string { return "the file is refused, nothing was changed: " + e.Reason }

func badFile(format string, args ...any) error {
	return &BadFileError{fmt.Sprintf(format, args...)}
}

func readHeader(l *lines) (SneakernetHeader, error) {
	var h SneakernetHeader
	line, err := l.next()
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, bufio.ErrTooLong) {
		return h, badFile("it is no file of `opsdb buffer export`")
	}
	if err != nil {
		return h, fmt.Errorf("reading the file: %w", err)
	}
	l.sum.Write(line)
	switch err := json.Unmarshal(line, &h); {
	case err != nil || h.Format != sneakernetFormat:
		return h, badFile("it is no file of `opsdb buffer export`")
	case h.Version != sneakernetVersion:
		return h, badFile("it has version %d of the format, and this opsdb reads version %d", h.Version, sneakernetVersion)
	case h.Count < 0 || h.Site == "":
		return h, badFile("its header is damaged")
	}
	return h, nil
}

// eachLine calls fn for the line of every transaction of a file whose header has been
// read.
func eachLine(l *lines, h SneakernetHeader, fn func(line []byte) error) error {
	for range h.Count {
		line, err := l.next()
		if err != nil {
			return readError(err)
		}
		l.sum.Write(line)
		if err := fn(line); err != nil {
			return err
		}
	}
	return nil
}

// readFile reads a file to its end and checks what can be checked without main: that
// it is whole, its digest, and its contents by check. The signature it returns must be
// verified before any of it is believed; content is then what check has said, or the
// error of a line that cannot be read.
func readFile(file io.ReadSeeker, check func(SneakernetHeader, *pending.Transaction) error) (h SneakernetHeader, by sneakernetTrailer, content, err error) {
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return h, by, nil, fmt.Errorf("reading the file: %w", err)
	}
	l := newLines(file)
	if h, err = readHeader(l); err != nil {
		return h, by, nil, err
	}
	err = eachLine(l, h, func(line []byte) error {
		if content != nil {
			return nil // only the sum is left to be made
		}
		tx := &pending.Transaction{}
		if content = json.Unmarshal(line, tx); content == nil {
			content = check(h, tx)
		}
		return nil
	})
	if err != nil {
		return h, by, nil, err
	}
	line, err := l.next()
	if err != nil {
		return h, by, nil, readError(err)
	}
	if json.Unmarshal(line, &by) != nil || by.SHA256 == "" {
		return h, by, nil, badFile("it was changed: where its signature belongs is something else")
	}
	if !l.ended() {
		return h, by, nil, badFile("it was changed: something follows its signature")
	}
	if hex.EncodeToString(l.sum.Sum(nil)) != by.SHA256 {
		return h, by, nil, badFile("it was changed: its digest is another")
	}
	return h, by, content, nil
}

func readError(err error) error {
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return badFile("it is cut off: its end is missing")
	case errors.Is(err, bufio.ErrTooLong):
		return badFile("it was changed: a line is longer than any that an export writes")
	}
	return fmt.Errorf("reading the file: %w", err)
}
