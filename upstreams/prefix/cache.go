package prefix

import (
	"slices"
	"sync"
	"sync/atomic"
)

// Cache is the blocks that a server probably has in its prefix cache: those of the
// prompts that were sent there, as many as fit, the least recently used ones left out.
// Blocks of a prompt are used from its end, as engines free them: what is left of a
// prompt is always a beginning.
type Cache struct {
	known atomic.Pointer[table] // read without a lock

	mu       sync.Mutex
	capacity int              // guarded by mu; blocks
	at       map[uint64]int32 // guarded by mu; the place of each hash in nodes
	nodes    []node           // guarded by mu; a ring through nodes[0], the newest behind it
	free     []int32          // guarded by mu; places of nodes that are not in the ring
}

// node is a block in the order of use.
type node struct {
	hash         uint64
	older, newer int32
}

// NewCache returns a cache of at most capacity blocks.
func NewCache(capacity int) *Cache {
	c := &Cache{}
	c.Resize(capacity)
	return c
}

// Has returns how many of the first blocks of the chain the server has. It takes no lock.
func (c *Cache) Has(chain Chain) int {
	t := c.known.Load()
	if t == nil || len(chain) == 0 || !t.has(chain[0]) {
		return 0
	}
	// The end is searched for in steps that double, and then by halves: most chains
	// are either known almost to their end or part early.
	has, not := 1, len(chain)
	if t.has(chain[not-1]) {
		return not
	}
	not--
	for step := 1; has+step < not; step *= 2 {
		if !t.has(chain[has+step-1]) {
			not = has + step - 1
			break
		}
		has += step
	}
	for has < not {
		if middle := (has + not) / 2; t.has(chain[middle]) {
			has = middle + 1
		} else {
			not = middle
		}
	}
	return has
}

// Use notes that the server reads the blocks of the chain.
func (c *Cache) Use(chain Chain) {
	c.mu.Lock()
	defer c.mu.Unlock()
	chain = chain[:min(len(chain), c.capacity)]
	for _, hash := range slices.Backward(chain) {
		c.use(hash)
	}
	c.trim()
}

// Clear forgets all blocks: the server was started anew.
func (c *Cache) Clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at, c.nodes, c.free = map[uint64]int32{}, []node{{}}, nil
	c.known.Store(newTable(c.capacity))
}

// Resize sets how many blocks the server has room for.
func (c *Cache) Resize(capacity int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if capacity == c.capacity && c.at != nil {
		return
	}
	c.capacity = max(0, capacity)
	if c.at == nil {
		c.at, c.nodes = map[uint64]int32{}, []node{{}}
	}
	c.trim()
	c.rebuild()
}

// Len returns how many blocks the server has, and how many it has room for.
func (c *Cache) Len() (blocks, capacity int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.at), c.capacity
}

// use makes a block the newest. c.mu is held.
func (c *Cache) use(hash uint64) {
	if i, ok := c.at[hash]; ok {
		c.unlink(i)
		c.link(i)
		return
	}
	var i int32
	if n := len(c.free); n > 0 {
		i, c.free = c.free[n-1], c.free[:n-1]
	} else {
		i = int32(len(c.nodes))
		c.nodes = append(c.nodes, node{})
	}
	c.nodes[i].hash = hash
	c.at[hash] = i
	c.link(i)
	if !c.known.Load().add(hash) {
		c.rebuild()
	}
}

// link puts a node behind the first. c.mu is held.
func (c *Cache) link(i int32) {
	newest := c.nodes[0].older
	c.nodes[i].newer, c.nodes[i].older = 0, newest
	c.nodes[newest].newer = i
	c.nodes[0].older = i
}

// unlink takes a node out of the ring. c.mu is held.
func (c *Cache) unlink(i int32) {
	n := c.nodes[i]
	c.nodes[n.newer].older = n.older
	c.nodes[n.older].newer = n.newer
}

// trim leaves out the blocks that do not fit. c.mu is held.
func (c *Cache) trim() {
	for len(c.at) > c.capacity {
		oldest := c.nodes[0].newer
		hash := c.nodes[oldest].hash
		c.unlink(oldest)
		c.free = append(c.free, oldest)
		delete(c.at, hash)
		c.known.Load().remove(hash)
	}
}

// rebuild makes the table of what there is. c.mu is held.
func (c *Cache) rebuild() {
	t := newTable(max(c.capacity, len(c.at)))
	for hash := range c.at {
		t.add(hash)
	}
	c.known.Store(t)
}
