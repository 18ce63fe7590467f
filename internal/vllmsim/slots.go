package vllmsim

import (
	"container/list"
	"sync"
)

// slots limits the number of running requests. Others wait in a queue.
type slots struct {
	mu         sync.Mutex
	limit      int
	most       int // that may wait and run; 0 for any number
	running    int
	maxRunning int
	queue      list.List // of chan struct{}, closed when the slot is theirs
}

// take returns a slot if one is free and no request waits for it.
func (s *slots) take() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running >= s.limit { // no request waits while a slot is free
		return false
	}
	s.running++
	s.maxRunning = max(s.maxRunning, s.running)
	return true
}

// wait gets a slot in turn, or none if the client leaves, the server closes or
// its engine dies first.
func (s *slots) wait(gone, closed, died <-chan struct{}) bool {
	s.mu.Lock()
	if s.running < s.limit {
		s.running++
		s.maxRunning = max(s.maxRunning, s.running)
		s.mu.Unlock()
		return true
	}
	mine := make(chan struct{})
	place := s.queue.PushBack(mine)
	s.mu.Unlock()
	select {
	case <-mine:
		return true
	case <-gone:
	case <-closed:
	case <-died:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-mine: // it arrived just now: pass it to the next request
		s.free()
	default:
		s.queue.Remove(place)
	}
	return false
}

func (s *slots) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free()
}

// free passes a slot to the request that has waited longest. The caller holds mu.
func (s *slots) free() {
	if first := s.queue.Front(); first != nil && s.running <= s.limit {
		close(s.queue.Remove(first).(chan struct{}))
		return
	}
	s.running--
}

// full reports whether no further request may wait or run.
func (s *slots) full() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.most > 0 && s.running+s.queue.Len() >= s.most
}

// resize changes how many requests run at once. Those beyond it finish.
func (s *slots) resize(limit int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limit = limit
	for s.running < s.limit && s.queue.Len() > 0 {
		close(s.queue.Remove(s.queue.Front()).(chan struct{}))
		s.running++
	}
	s.maxRunning = max(s.maxRunning, s.running)
}

func (s *slots) size() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.limit
}

func (s *slots) counts() (running, waiting, maxRunning int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running, s.queue.Len(), s.maxRunning
}

func (s *slots) resetMax() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.maxRunning = s.running
}
