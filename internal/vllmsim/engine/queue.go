package engine

import "container/heap"

// waitingQueue orders sequences by priority and arrival. Without priority
// scheduling all priorities are equal. A preempted sequence arrived before those
// that were never admitted, so that it comes before them again, as in vLLM.
type waitingQueue struct {
	byPriority bool
	heap       []*Sequence
}

// before reports whether a is scheduled before b.
func (w *waitingQueue) before(a, b *Sequence) bool {
	if w.byPriority && a.Priority != b.Priority {
		return a.Priority < b.Priority
	}
	return a.order < b.order
}

func (w *waitingQueue) push(q *Sequence) {
	q.state = waiting
	heap.Push((*waitingHeap)(w), q)
}

func (w *waitingQueue) peek() *Sequence { return w.heap[0] }

func (w *waitingQueue) remove(q *Sequence) { heap.Remove((*waitingHeap)(w), q.place) }

func (w *waitingQueue) len() int { return len(w.heap) }

// waitingHeap is the heap.Interface of a waitingQueue.
type waitingHeap waitingQueue

func (h *waitingHeap) Len() int { return len(h.heap) }

func (h *waitingHeap) Less(i, j int) bool {
	return (*waitingQueue)(h).before(h.heap[i], h.heap[j])
}

func (h *waitingHeap) Swap(i, j int) {
	h.heap[i], h.heap[j] = h.heap[j], h.heap[i]
	h.heap[i].place, h.heap[j].place = i, j
}

func (h *waitingHeap) Push(x any) {
	q := x.(*Sequence)
	q.place = len(h.heap)
	h.heap = append(h.heap, q)
}

func (h *waitingHeap) Pop() any {
	last := len(h.heap) - 1
	q := h.heap[last]
	h.heap[last] = nil
	h.heap = h.heap[:last]
	return q
}
