// Package order decides which line of a batch a server gets next.
//
// Engines keep the prefixes of the prompts they have read. A server therefore gets, one
// after the other, lines whose prompts share a prefix. Lines that will run much longer
// than others start first, so that the last line of a batch is not one of them.
package order

import (
	"cmp"
	"math"
	"slices"
	"sort"
	"strings"
)

const (
	// sharedPart is the least part of a prompt that a server must have read for the
	// line to be called near. Twice as much is hardly worse, see bench/results/README.md.
	sharedPart = 0.25
	// worthwhile is the part of all prompts that must be shared for the order of the
	// prompts to be used instead of that of the input. Half and twice as much make no
	// difference there.
	worthwhile = 0.05
	// remembered limits the different prefixes of a server that are remembered.
	remembered = 8
)

// Queue holds the lines of a batch that may start. Lines that are put back to the
// front are the next ones, then those that are expected to run so long that the batch
// would end with them. Of the
// remaining ones, a server gets the line whose prompt shares the longest prefix with its
// previous one. If nothing is shared, lines are taken in the order in which they were
// added. Lines that are put back to the end are the last ones. A Queue is not safe for
// concurrent use.
type Queue[T comparable] struct {
	front   []T
	arrived []*entry[T] // in the order of Add; taken ones are skipped
	added   uint32      // lines so far
	sorted  []*entry[T] // by prefix and number; none of them is taken
	long    longest[T]  // by tokens; taken ones are skipped
	back    []T
	read    map[string][]prefix // by server, different ones; the last one is that of the line taken last
	ranges  ranges              // see spans

	lengths   Lengths   // of the lines that were added
	estimates Estimates // of their lengths
	estimated int       // lines that had ended when the lengths were estimated last
	tokens    int64     // expected of the lines in sorted
	outlook   Outlook   // see SetOutlook
	all       int       // bytes of all prompts that were added
	sharing   int       // bytes of these that are shared with a line that was there
	most      int       // bytes of the longest of these prefixes
}

// entry is a line in a Queue.
type entry[T comparable] struct {
	value   T
	prefix  prefix
	profile Profile
	number  uint32 // in the order of Add
	tokens  int32  // that it is expected to generate; 0: not known
	shared  int32  // bytes of the prefix in common with the entry before it in Queue.sorted
	taken   bool
}

// Len returns the number of lines.
func (q *Queue[T]) Len() int { return len(q.front) + len(q.sorted) + len(q.back) }

// Shares reports whether the lines share prefixes, so that it pays to choose among
// more of them.
func (q *Queue[T]) Shares() bool {
	return float64(q.sharing) >= worthwhile*float64(q.all) && q.sharing > 0
}

// Add adds a line and returns its profile, for Learn. limit is the number of tokens that
// it may generate, 0 if there is no limit.
func (q *Queue[T]) Add(value T, prompt Key, limit int) Profile {
	e := &entry[T]{value: value, prefix: prompt.prefix, profile: profileOf(prompt.prefix, limit), number: q.added}
	q.added++
	at, before, after := q.place(e), 0, 0
	if at > 0 {
		before = q.sorted[at-1].prefix.common(e.prefix)
		e.shared = int32(before)
	}
	if at < len(q.sorted) {
		after = e.prefix.common(q.sorted[at].prefix)
		q.sorted[at].shared = int32(after)
	}
	q.all += prompt.bytes
	if shared := max(before, after); shared >= sharedBytes {
		q.sharing += shared
		q.most = max(q.most, shared)
	}
	q.sorted = slices.Insert(q.sorted, at, e)
	q.ranges.forget()
	q.arrived = append(q.arrived, e)
	q.lengths.Add(limit)
	if e.tokens = q.estimates.of(e.profile); e.tokens > 0 {
		q.tokens += int64(e.tokens)
		q.long.add(e)
	}
	return e.profile
}

// PutFirst puts back a line that was taken: it is the next one.
func (q *Queue[T]) PutFirst(value T) { q.front = slices.Insert(q.front, 0, value) }

// PutLast puts back a line that was taken: it comes after all others.
func (q *Queue[T]) PutLast(value T) { q.back = append(q.back, value) }

// Peek returns the line that Take returns for any server. There is none if this depends
// on the server.
func (q *Queue[T]) Peek() (value T, ok bool) {
	switch {
	case len(q.front) > 0:
		return q.front[0], true
	case len(q.sorted) == 0 && len(q.back) > 0:
		return q.back[0], true
	}
	return value, false
}

// Server is a server that gets a line.
type Server struct {
	Name string
	// Most is the largest number of expected tokens that it should get; 0: no limit.
	Most int
	// Unmeasured reports that no line has ended on the server, so that it may be slow.
	Unmeasured bool
}

// Take removes and returns the line that a server gets next: one of up to Most tokens, if
// there is one, and the longest of these, unless the next line is one of them. An unmeasured
// server gets the shortest line instead of a long one. The queue must not be empty.
func (q *Queue[T]) Take(s Server) T {
	switch {
	case len(q.front) > 0:
		value := q.front[0]
		q.front = slices.Delete(q.front, 0, 1)
		return value
	case len(q.sorted) == 0:
		value := q.back[0]
		q.back = slices.Delete(q.back, 0, 1)
		return value
	}
	at, _ := q.choose(s.Name)
	switch tokens := int(q.sorted[at].tokens); {
	case s.Most > 0 && tokens > s.Most:
		at = q.longestWithin(at, s.Most)
	case s.Unmeasured && isLong(float64(tokens), q.Mean()):
		at = q.shortest(at)
	}
	e := q.sorted[at]
	if q.Shares() { // otherwise the prompts of finished lines would be kept for nothing
		q.note(s.Name, e.prefix)
	}
	value := e.value
	q.remove(at)
	return value
}

// note notes that a server reads a prompt.
func (q *Queue[T]) note(server string, read prefix) {
	if q.read == nil {
		q.read = make(map[string][]prefix)
	}
	others := slices.DeleteFunc(q.read[server], func(p prefix) bool { return p.near(read) > 0 })
	others = slices.Delete(others, 0, max(0, len(others)+1-remembered))
	q.read[server] = append(others, read)
	q.ranges.forget()
}

// Filter removes the lines for which keep returns false.
func (q *Queue[T]) Filter(keep func(T) bool) {
	gone := func(value T) bool { return !keep(value) }
	q.front = slices.DeleteFunc(q.front, gone)
	q.back = slices.DeleteFunc(q.back, gone)
	shared := int32(math.MaxInt32) // with the last line that stays
	q.sorted = slices.DeleteFunc(q.sorted, func(e *entry[T]) bool {
		shared = min(shared, e.shared)
		if !keep(e.value) {
			q.took(e)
			return true
		}
		e.shared, shared = shared, math.MaxInt32
		return false
	})
	if len(q.sorted) > 0 {
		q.sorted[0].shared = 0
	}
	q.tidy()
}

// choose returns the place in sorted of the line that a server gets next, and whether it is
// better that the server waits while others take it: see ranges.elsewhere.
func (q *Queue[T]) choose(server string) (at int, wait bool) {
	if e := q.long.first(); e != nil && q.urgent(e) {
		return q.place(e), false
	}
	if q.Shares() {
		return q.near(server)
	}
	for q.arrived[0].taken {
		q.arrived = q.arrived[1:]
	}
	return q.place(q.arrived[0]), false
}

// place returns the place of a line in sorted, or that at which it is to be inserted.
func (q *Queue[T]) place(e *entry[T]) int {
	return sort.Search(len(q.sorted), func(i int) bool {
		other := q.sorted[i]
		return cmp.Or(strings.Compare(string(other.prefix), string(e.prefix)), cmp.Compare(other.number, e.number)) >= 0
	})
}

// near returns the place of the line that shares the longest prefix with the previous
// line of a server, or with earlier ones; if there is none, that of a line at which the
// server starts elsewhere, and whether it is better to wait.
func (q *Queue[T]) near(server string) (at int, wait bool) {
	for _, read := range slices.Backward(q.read[server]) {
		at := q.search(read)
		best, most := -1, 0
		for _, i := range [2]int{at, at - 1} {
			if i < 0 || i == len(q.sorted) {
				continue
			}
			if n := read.near(q.sorted[i].prefix); n > most {
				best, most = i, n
			}
		}
		if best >= 0 {
			return best, false
		}
	}
	return q.elsewhere(server)
}

// search returns the place of the first line whose prefix is not before another.
func (q *Queue[T]) search(prefix prefix) int {
	return sort.Search(len(q.sorted), func(i int) bool { return q.sorted[i].prefix >= prefix })
}

// remove removes the line at a place in sorted.
func (q *Queue[T]) remove(i int) {
	e := q.sorted[i]
	if i+1 < len(q.sorted) {
		next := q.sorted[i+1]
		next.shared = min(next.shared, e.shared)
	}
	q.took(e)
	q.sorted = slices.Delete(q.sorted, i, i+1)
	q.tidy()
}

// took records that a line is not in sorted any more. The entry may stay in arrived and long
// for a while, and must not keep the line.
func (q *Queue[T]) took(e *entry[T]) {
	q.tokens -= int64(e.tokens)
	var none T
	e.value, e.taken, e.prefix = none, true, ""
}

// tidy drops what is kept of lines that were taken.
func (q *Queue[T]) tidy() {
	q.ranges.forget()
	if len(q.sorted) == 0 {
		q.arrived, q.long = nil, nil
		return
	}
	if len(q.arrived) > 2*len(q.sorted)+64 {
		q.arrived = slices.DeleteFunc(q.arrived, func(e *entry[T]) bool { return e.taken })
		q.long = slices.DeleteFunc(q.long, func(e *entry[T]) bool { return e.taken })
		q.long.order()
	}
}
