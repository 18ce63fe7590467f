package order

import (
	"cmp"
	"math"
	"slices"
)

// promptBytes is the assumed number of bytes of a prompt per token.
const promptBytes = 4

// span is a range of the ordered lines, from the place of a server to that of the next one.
// It begins with lines that share a prefix with the last line of the server, and ends with
// lines that share one with the last line of the next server. Between these are lines of
// prefixes that no server works on.
type span struct {
	server     string // "" for the lines before the place of the first server
	start, end int
	// The lines between free and taken share nothing with the lines of the two servers.
	free, taken int
}

// ranges are the spans of the servers, in order. They are computed when a server needs them
// and kept until a line is added or removed, or a server reads a prompt: until a line is
// taken, each server may be asked several times whether it waits.
type ranges struct {
	all   []span
	known bool
}

// forget makes the next call of Queue.spans compute the spans.
func (r *ranges) forget() { r.known = false }

// spans returns the ranges of the servers, in order. They are valid until the queue changes.
func (q *Queue[T]) spans() []span {
	if !q.ranges.known {
		q.ranges = ranges{q.divide(q.ranges.all[:0]), true}
	}
	return q.ranges.all
}

// divide appends the ranges of the servers to all, in order.
func (q *Queue[T]) divide(all []span) []span {
	for server := range q.read {
		all = append(all, span{server: server, start: q.search(q.last(server))})
	}
	slices.SortFunc(all, func(a, b span) int { return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.server, b.server)) })
	// Of several servers at a place, one that works on the lines there counts.
	for i := len(all) - 1; i > 0; i-- {
		if all[i-1].start == all[i].start {
			if q.worksAt(all[i-1]) {
				all[i] = all[i-1]
			}
			all = slices.Delete(all, i-1, i)
		}
	}
	if len(all) == 0 || all[0].start > 0 {
		all = slices.Insert(all, 0, span{})
	}
	for i := range all {
		s := &all[i]
		s.end = len(q.sorted)
		if i+1 < len(all) {
			s.end = all[i+1].start
		}
		s.free, s.taken = s.start, s.end
		if s.server != "" && s.start < s.end && q.last(s.server).near(q.sorted[s.start].prefix) > 0 {
			for s.free++; s.free < s.end && q.joined(s.free); s.free++ {
			}
		}
		if i+1 < len(all) && s.free < s.end && q.last(all[i+1].server).near(q.sorted[s.end-1].prefix) > 0 {
			for s.taken--; s.taken > s.free && q.joined(s.taken); s.taken-- {
			}
		}
	}
	return all
}

// worksAt reports whether the line at the place of a server, or the one before it, shares a
// prefix with the last line of the server.
func (q *Queue[T]) worksAt(s span) bool {
	last := q.last(s.server)
	return s.start < len(q.sorted) && last.near(q.sorted[s.start].prefix) > 0 || s.start > 0 && last.near(q.sorted[s.start-1].prefix) > 0
}

// last returns the prefix of the last line of a server.
func (q *Queue[T]) last(server string) prefix {
	read := q.read[server]
	return read[len(read)-1]
}

// joined reports whether the line at a place is near the one before it.
func (q *Queue[T]) joined(i int) bool {
	return q.sorted[i].prefix.isShared(int(q.sorted[i].shared))
}

// elsewhere returns the place of a line at which a server starts that has nothing to do
// where it was: the next prefix of its range, if that is the longest, or else one in the
// middle of the longest range. If servers work on all prefixes, it gets half of the lines of
// one; wait reports that this costs more than it saves.
func (q *Queue[T]) elsewhere(server string) (at int, wait bool) {
	all := q.spans()
	longest := slices.MaxFunc(all, func(a, b span) int { return cmp.Compare(a.taken-a.free, b.taken-b.free) })
	switch {
	case longest.free == longest.taken:
		return q.split(server, all)
	case longest.server == "" || longest.server == server:
		return longest.free, false
	}
	middle := (longest.start + longest.end) / 2
	best, least := longest.free, math.MaxInt
	for i := longest.free; i < longest.taken; i++ {
		// Places that share about as little are equal.
		shared := int(q.sorted[i].shared) / sharedBytes
		if shared < least || shared == least && abs(i-middle) < abs(best-middle) {
			best, least = i, shared
		}
	}
	return best, false
}

// split returns the middle of the lines that share a prefix with the last line of the
// server that will take the longest for these, and for those that run there; and whether
// this server would end the first of them later than the other one ends the last, because it
// has to read the prefix, too.
func (q *Queue[T]) split(server string, all []span) (at int, wait bool) {
	mean := q.Mean()
	latest := math.Inf(-1)
	other, lines := "", 0
	for i, s := range all {
		if s.server == "" {
			continue
		}
		n, first := s.free-s.start, s.start
		if i > 0 { // the end of the range before shares its prefix, too
			n += all[i-1].end - all[i-1].taken
			first = all[i-1].taken
		}
		tokens, perToken := q.runsOn(s.server)
		if ends := (tokens + float64(n)*mean) * perToken; n > 0 && ends > latest {
			latest, other, lines, at = ends, s.server, n, first+n/2
		}
	}
	tokens, perToken := q.runsOn(server)
	if others, _ := q.runsOn(other); others == 0 { // the other one may be down
		return at, false
	}
	again := 0
	if lines > 0 {
		again = q.last(other).common(q.sorted[at].prefix)
	}
	return at, (tokens+float64(again)/promptBytes+mean)*perToken >= latest
}

// runsOn returns what runs on a server, and its time per token.
func (q *Queue[T]) runsOn(server string) (tokens, perToken float64) {
	if q.outlook.Running == nil {
		return 0, 1
	}
	return q.outlook.Running(server)
}

// mayWait reports whether so few lines are left that a server may have to wait: otherwise
// each prefix that servers work on has so many lines that dividing them pays.
func (q *Queue[T]) mayWait() bool {
	return q.Shares() && q.Rest() <= q.Mean()*float64(q.outlook.Slots)+float64(len(q.read)*q.most)/promptBytes
}

func abs(n int) int { return max(n, -n) }
