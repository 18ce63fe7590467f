package vllmsim

import (
	"net/http"
	"sync"
	"time"
)

// life is the condition of a server's engine. A vLLM whose engine dies answers
// everything in flight with an error and exits some time later. One whose engine
// hangs looks healthy.
type life struct {
	died chan struct{} // closed when the engine dies

	mu     sync.Mutex
	dead   bool          // guarded by mu, like all that follows
	frozen chan struct{} // closed when the engine continues; nil if it does not hang
	timers []*time.Timer
	ended  bool
}

func (l *life) isDead() bool {
	select {
	case <-l.died:
		return true
	default:
		return false
	}
}

func (l *life) isFrozen() bool { return l.thawed() != nil }

// thawed returns a channel that is closed when the engine continues, nil if it does not
// hang.
func (l *life) thawed() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.frozen
}

// after calls f later, unless the server is closed before.
func (l *life) after(d time.Duration, f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ended {
		l.timers = append(l.timers, time.AfterFunc(d, f))
	}
}

// end stops the timers of a server that is closed.
func (l *life) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	for _, t := range l.timers {
		t.Stop()
	}
}

// die kills the engine, once, and exits after a while.
func (s *Server) die(exitAfter time.Duration) {
	s.life.mu.Lock()
	first := !s.life.dead
	s.life.dead = true
	s.life.mu.Unlock()
	if !first {
		return
	}
	if s.engine != nil {
		s.engine.Stop()
	}
	close(s.life.died)
	s.life.after(exitAfter, func() { s.cfg.Exit(1) })
}

// freeze hangs the engine; for 0 until thaw.
func (s *Server) freeze(d time.Duration) {
	s.life.mu.Lock()
	if s.life.frozen == nil {
		s.life.frozen = make(chan struct{})
	}
	s.life.mu.Unlock()
	if s.engine != nil {
		s.engine.Freeze(true)
	}
	if d > 0 {
		s.life.after(d, s.thaw)
	}
}

// thaw continues a hanging engine.
func (s *Server) thaw() {
	s.life.mu.Lock()
	if s.life.frozen != nil {
		close(s.life.frozen)
		s.life.frozen = nil
	}
	s.life.mu.Unlock()
	if s.engine != nil {
		s.engine.Freeze(false)
	}
}

// thaw waits while the engine hangs. With a simulated GPU it returns at once, because the
// GPU's steps do not end.
func (g *run) thaw() {
	if g.s.engine != nil {
		return
	}
	for thawed := g.s.life.thawed(); thawed != nil; thawed = g.s.life.thawed() {
		select {
		case <-thawed:
		case <-g.pacer.gone:
			g.quit()
		case <-g.pacer.closed:
			g.quit()
		case <-g.pacer.died:
			g.quit()
		}
	}
}

// engineDeath is the panic that ends a run whose engine died.
type engineDeath struct{}

// quit ends a run that cannot continue: with a response if the engine died, otherwise by
// cutting the connection.
func (g *run) quit() {
	if g.s.life.isDead() {
		panic(engineDeath{})
	}
	panic(http.ErrAbortHandler)
}

// recoverDeath answers a run whose engine died.
func (g *run) recoverDeath() {
	switch cause := recover(); cause.(type) {
	case nil:
	case engineDeath:
		g.fault()
		g.answerDeath()
	default:
		panic(cause)
	}
}

// answerDeath sends vLLM's error for a dead engine: with status 500, or in a stream as its
// last event before [DONE].
func (g *run) answerDeath() {
	refusal := Refusal{
		Status: http.StatusInternalServerError, Type: faultType(http.StatusInternalServerError),
		Message: "EngineCore encountered an issue. See stack trace (above) for the root cause.",
	}
	body := g.ep.appendRefusal(nil, &refusal)
	if !g.begun {
		writeBody(g.w, refusal.Status, headerJSON, body)
		return
	}
	event := append([]byte("data: "), body...)
	if g.ep.anthropic {
		event = append([]byte("event: error\ndata: "), body...)
	}
	mustWrite(g.w, append(append(event, "\n\n"...), streamEnd...))
}
