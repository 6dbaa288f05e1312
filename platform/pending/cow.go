package pending

import "github.com/tidwall/btree"

// degree of the trees: small nodes, because a change copies one path of each
// tree it touches.
const degree = 16

// cow is an ordered set that hands out pictures of itself: a picture never
// changes, and costs something only when the set was changed since the last one.
type cow[T any] struct {
	*btree.BTreeG[T]
	picture *btree.BTreeG[T]
}

func tree[T any](less func(a, b T) bool) cow[T] {
	return cow[T]{BTreeG: btree.NewBTreeGOptions(less, btree.Options{Degree: degree, NoLocks: true})}
}

func (c *cow[T]) set(v T) {
	c.picture = nil
	c.BTreeG.Set(v)
}

func (c *cow[T]) remove(v T) {
	c.picture = nil
	c.BTreeG.Delete(v)
}

// take returns a picture; only reading it is allowed.
func (c *cow[T]) take() cow[T] {
	if c.picture == nil {
		c.picture = c.BTreeG.Copy()
	}
	return cow[T]{BTreeG: c.picture}
}

// own returns a copy of a picture that may be changed. It writes to the picture, where
// no reader looks, so only one of them may run at a time.
func (c *cow[T]) own() cow[T] { return cow[T]{BTreeG: c.BTreeG.Copy()} }
