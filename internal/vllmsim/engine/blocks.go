package engine

import "slices"

// blockID names a block of the KV cache.
type blockID int32

// block is a block of the KV cache. A block without references is free; it
// keeps its contents, and can be found by them, until it is taken again.
type block struct {
	hash       uint64 // of its tokens and all before them
	hashed     bool   // full, and found by hash
	refs       int32
	prev, next blockID // in the free list; -1 when not in it
}

// blockPool hands out blocks. The free list is ordered by the time of the
// release: the block that was released first is taken, and forgotten, first.
type blockPool struct {
	blocks []block // the last one is the sentinel of the free list
	free   int
	cached map[uint64]blockID
}

func newBlockPool(n int) *blockPool {
	p := &blockPool{blocks: make([]block, n+1), cached: make(map[uint64]blockID)}
	end := p.sentinel()
	p.blocks[end].prev, p.blocks[end].next = end, end
	for i := range n {
		p.append(blockID(i))
	}
	return p
}

func (p *blockPool) sentinel() blockID { return blockID(len(p.blocks) - 1) }

func (p *blockPool) total() int { return len(p.blocks) - 1 }

func (p *blockPool) used() int { return p.total() - p.free }

func (p *blockPool) append(id blockID) {
	end := p.sentinel()
	b, last := &p.blocks[id], p.blocks[end].prev
	b.prev, b.next = last, end
	p.blocks[last].next = id
	p.blocks[end].prev = id
	p.free++
}

func (p *blockPool) unlink(id blockID) {
	b := &p.blocks[id]
	p.blocks[b.prev].next = b.next
	p.blocks[b.next].prev = b.prev
	b.prev, b.next = -1, -1
	p.free--
}

// take returns a free block with one reference; there must be one.
func (p *blockPool) take() blockID {
	id := p.blocks[p.sentinel()].next
	p.unlink(id)
	b := &p.blocks[id]
	if b.hashed {
		delete(p.cached, b.hash)
		b.hashed = false
	}
	b.refs = 1
	return id
}

// find returns the block with these contents. It may be free.
func (p *blockPool) find(hash uint64) (blockID, bool) {
	id, ok := p.cached[hash]
	return id, ok
}

// share adds a reference.
func (p *blockPool) share(id blockID) {
	b := &p.blocks[id]
	if b.refs == 0 {
		p.unlink(id)
	}
	b.refs++
}

// release drops a reference to each block, the last one first, so that the end
// of a prefix is forgotten before its beginning.
func (p *blockPool) release(ids []blockID) {
	for _, id := range slices.Backward(ids) {
		b := &p.blocks[id]
		b.refs--
		if b.refs == 0 {
			p.append(id)
		}
	}
}

// keep makes a full block findable, unless another one has these contents.
func (p *blockPool) keep(id blockID, hash uint64) {
	if _, ok := p.cached[hash]; ok {
		return
	}
	p.blocks[id].hash, p.blocks[id].hashed = hash, true
	p.cached[hash] = id
}
