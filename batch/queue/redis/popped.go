package redis

import (
	"slices"
	"sync"
)

// rememberAtMost limits the entries in a generation of popped. An instance works on far
// fewer at a time.
const rememberAtMost = 16 << 10

// entry is an entry of a stream.
type entry struct {
	number int    // of the slice
	id     string // Redis's, of the entry
}

// popped maps numbers to the entries that delivered them to this instance, so that Done can
// remove them. It is bounded: there are two generations, and when the young one is full,
// the old one is dropped. A dropped entry stays in its stream until the batch is dropped:
// it is delivered again after a while, and the store skips it.
type popped struct {
	limit int

	mu    sync.Mutex
	young generation // guarded by mu
	old   generation // guarded by mu
	count int        // of entries in young; guarded by mu
}

// generation is entry ids by batch and number.
type generation map[string]map[int][]string

func newPopped(limit int) *popped {
	return &popped{limit: limit, young: make(generation), old: make(generation)}
}

func (p *popped) add(batchID string, entries []entry) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range entries {
		if p.count >= p.limit {
			p.young, p.old, p.count = make(generation), p.young, 0
		}
		b := p.young[batchID]
		if b == nil {
			b = make(map[int][]string)
			p.young[batchID] = b
		}
		if !slices.Contains(b[e.number], e.id) {
			b[e.number] = append(b[e.number], e.id)
			p.count++
		}
	}
}

// take removes and returns the entries of numbers.
func (p *popped) take(batchID string, numbers []int) []entry {
	p.mu.Lock()
	defer p.mu.Unlock()
	var taken []entry
	for _, n := range numbers {
		for _, id := range p.young.take(batchID, n) {
			taken = append(taken, entry{n, id})
			p.count--
		}
		for _, id := range p.old.take(batchID, n) {
			taken = append(taken, entry{n, id})
		}
	}
	return taken
}

func (g generation) take(batchID string, number int) []string {
	b := g[batchID]
	ids := b[number]
	delete(b, number)
	if len(b) == 0 {
		delete(g, batchID)
	}
	return ids
}

// drop forgets a batch.
func (p *popped) drop(batchID string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, ids := range p.young[batchID] {
		p.count -= len(ids)
	}
	delete(p.young, batchID)
	delete(p.old, batchID)
}

func idsOf(entries []entry) []string {
	ids := make([]string, len(entries))
	for i, e := range entries {
		ids[i] = e.id
	}
	return ids
}
