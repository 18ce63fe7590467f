package scheduler

import "github.com/tidegate/tidegate/batch"

const (
	// bodiesPart and keysPart are the parts of the memory limit that windows of all batches
	// take for lines with their requests, and for others. The rest is for deferred requests of
	// lines that run, which leave keysPart free, so that there are always lines to choose from.
	bodiesPart, keysPart = 2, 4
)

// holding is memory of lines, in bytes.
type holding struct {
	requests int64 // that are kept from the load of a line until its result is durable
	keys     int64 // what the order needs of lines whose requests are deferred
	reading  int64 // deferred requests of lines that run
}

// holdingOf returns the memory of lines that were read, whose requests may be deferred.
func holdingOf(bytes int64, deferred bool) holding {
	if deferred {
		return holding{keys: bytes}
	}
	return holding{requests: bytes}
}

func (h holding) bytes() int64 { return h.requests + h.keys + h.reading }

func (h holding) plus(other holding) holding {
	return holding{h.requests + other.requests, h.keys + other.keys, h.reading + other.reading}
}

func (h holding) negative() holding { return holding{-h.requests, -h.keys, -h.reading} }

// budget owns the memory limit: it counts what lines in memory hold, and decides what may be
// added. Only the loop uses it.
type budget struct {
	limit   func() int64 // the setting
	used    holding      // by lines in memory
	loading holding      // that loads in progress are expected to add
}

// add changes what a batch queue holds.
func (b *budget) add(q *batchQueue, change holding) {
	b.used = b.used.plus(change)
	q.held = q.held.plus(change)
}

// expect adds memory that a load in progress is expected to add, or removes it.
func (b *budget) expect(change holding) { b.loading = b.loading.plus(change) }

// free returns how many bytes of the limit no line holds; negative if more is held.
func (b *budget) free() int64 { return b.limit() - b.used.bytes() }

// exceeded reports whether lines hold more than the limit: it was lowered, or requests were read
// although they did not fit, so that a batch can run.
func (b *budget) exceeded() bool { return b.free() < 0 }

// room returns how many bytes a load may add.
func (b *budget) room() int64 { return b.free() - b.loading.bytes() }

// keys returns how many bytes the keys of a batch may take: its share of the part for keys, or
// what other batches leave of that. sharers is the number of batches that share it.
func (b *budget) keys(q *batchQueue, sharers int) int64 {
	all := b.limit() / keysPart
	others := b.used.keys + b.loading.keys - q.held.keys
	return max(0, min(all/int64(sharers), all-others))
}

// bodies returns how many bytes of requests that are kept a window of a batch may have.
func (b *budget) bodies(sharers int) int64 { return b.limit() / bodiesPart / int64(sharers) }

// starves reports whether a batch queue reads nothing until lines are durable.
func (b *budget) starves(q *batchQueue) bool { return q.lacks(b.free()) }

// guarantees reports whether a batch may always read a deferred request of a number of bytes: it
// can run one line, and as much as a slice.
func (b *budget) guarantees(q *batchQueue, reads int64) bool {
	return reads == 0 || q.running == 0 || q.held.reading+reads <= min(batch.SliceBytes, b.limit()/keysPart)
}

// requests returns how many bytes of deferred requests may be added if nothing is being loaded.
func (b *budget) requests() int64 {
	limit := b.limit()
	return min(b.free(), limit-limit/keysPart-b.used.reading)
}

// fits reports whether a deferred request fits beside what is held and what is being loaded.
func (b *budget) fits(reads int64) bool { return b.loading.bytes()+reads <= b.requests() }
