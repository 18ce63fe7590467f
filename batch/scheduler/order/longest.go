package order

import "container/heap"

// longest is a heap of the lines whose expected number of tokens is known, the
// largest first. Lines that were taken stay in it until they are first.
type longest[T comparable] []*entry[T]

func (h *longest[T]) add(e *entry[T]) { heap.Push(h, e) }

// first returns the line with the most tokens, or nil.
func (h *longest[T]) first() *entry[T] {
	for len(*h) > 0 && (*h)[0].taken {
		heap.Pop(h)
	}
	if len(*h) == 0 {
		return nil
	}
	return (*h)[0]
}

// order restores the heap after lines were deleted from the slice.
func (h *longest[T]) order() { heap.Init(h) }

// Len implements heap.Interface.
func (h longest[T]) Len() int { return len(h) }

// Less implements heap.Interface.
func (h longest[T]) Less(i, j int) bool { return h[i].tokens > h[j].tokens }

// Swap implements heap.Interface.
func (h longest[T]) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *longest[T]) Push(e any) { *h = append(*h, e.(*entry[T])) }

// Pop implements heap.Interface.
func (h *longest[T]) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return e
}
