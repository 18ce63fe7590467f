package vllmsim

import (
	"container/list"
	"sync"
)

// slots lets so many requests run at once. The others wait in a queue.
type slots struct {
	mu         sync.Mutex
	limit      int
	running    int
	maxRunning int
	queue      list.List // of chan struct{}, closed when the slot is theirs
}

// take gives a slot if one is free and nobody waits for it.
func (s *slots) take() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running >= s.limit { // nobody waits while a slot is free
		return false
	}
	s.running++
	s.maxRunning = max(s.maxRunning, s.running)
	return true
}

// wait gets a slot in turn, or none if the client leaves or the server closes
// first.
func (s *slots) wait(gone, closed <-chan struct{}) bool {
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
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-mine: // it came just now: hand it on
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

// free hands a slot to whoever waits longest. The caller holds mu.
func (s *slots) free() {
	if first := s.queue.Front(); first != nil {
		close(s.queue.Remove(first).(chan struct{}))
		return
	}
	s.running--
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
