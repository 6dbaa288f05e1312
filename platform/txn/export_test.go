package txn

// Messages returns the size of each message of an item, for tests.
func (i *Item) Messages() []int {
	var sizes []int
	for _, m := range i.encoded.messages {
		sizes = append(sizes, m.size())
	}
	return sizes
}
