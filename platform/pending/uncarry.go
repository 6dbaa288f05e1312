package pending

import (
	"bytes"
	"encoding/json"
)

// uncarry takes what never changes of a row out of the updates that follow a corrected
// create: they carry it as it was before the correction. They stay without it when the
// create has left the view; the stored row has it then.
func (r *rows) uncarry(images []image) {
	corrected := false
	for i := range images {
		m := &images[i]
		switch {
		case m.hidden:
		case m.change.Op == OpCreate:
			corrected = m.place != m.seq
		case m.change.Op == OpUpdate && corrected:
			m.change = r.without(m.change)
		}
	}
}

// without is an update without what never changes of its row.
func (r *rows) without(c *Change) *Change {
	found := false
	left := bytes.NewBuffer(make([]byte, 0, len(c.Columns)))
	left.WriteByte('{')
	if err := eachField(inside(c.Columns), func(name, value []byte) error {
		if r.def.keeps(string(name)) {
			found = true
			return nil
		}
		if left.Len() > 1 {
			left.WriteByte(',')
		}
		left.WriteByte('"')
		left.Write(name)
		left.WriteString(`":`)
		left.Write(value)
		return nil
	}); err != nil || !found {
		return c // what cannot be read cannot be laid over anything
	}
	left.WriteByte('}')
	other := *c
	other.Columns = json.RawMessage(left.Bytes())
	return &other
}
