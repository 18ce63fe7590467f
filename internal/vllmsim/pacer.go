package vllmsim

import "time"

// pacer waits for the moments of one answer, counted from its start, so that
// late wake-ups do not add up. It makes one timer, and none without a delay.
type pacer struct {
	start              time.Time
	timer              *time.Timer
	gone, closed, died <-chan struct{}
}

// until waits for a moment. It is false if the client left, the server closed or
// its engine died before.
func (p *pacer) until(moment time.Duration) bool {
	if moment <= 0 {
		return true
	}
	left := moment - time.Since(p.start)
	if left <= 0 {
		return true
	}
	if p.timer == nil {
		p.timer = time.NewTimer(left)
	} else {
		p.timer.Reset(left)
	}
	select {
	case <-p.timer.C:
		return true
	case <-p.gone:
	case <-p.closed:
	case <-p.died:
	}
	p.timer.Stop()
	return false
}

// forever waits until the client leaves, the server closes or its engine dies.
func (p *pacer) forever() {
	select {
	case <-p.gone:
	case <-p.closed:
	case <-p.died:
	}
}
