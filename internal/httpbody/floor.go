package httpbody

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/tidegate/tidegate/internal/openai"
)

// Floor is the slowest rate at which a body may arrive. The zero value is the
// default.
type Floor struct {
	// Rate is in bytes per second, averaged over each Grace. Default: 1 KiB.
	Rate int64
	// Grace is the time for which a client may be slower, or send no data. Only
	// time that is spent waiting for the client counts. Default: 30 s.
	Grace time.Duration
}

func (f Floor) withDefaults() Floor {
	if f.Rate == 0 {
		f.Rate = 1 << 10
	}
	if f.Grace == 0 {
		f.Grace = 30 * time.Second
	}
	return f
}

// errSlow returns the 408 for a body that arrives too slowly.
func (f Floor) errSlow() *openai.Error {
	return &openai.Error{
		Status: http.StatusRequestTimeout, Type: openai.TypeInvalidRequest, Code: "request_timeout",
		Message: "The body of the request arrived too slowly: less than " + bytesPerSecond(f.Rate) + " for " + f.Grace.String() + ".",
	}
}

// Watch wraps the body of r in a reader that fails with 408 when the body comes
// more slowly than f allows. stop ends the watch.
//
// With HTTP/1, a body that is not read has a deadline, too: net/http reads up to 256 KiB of
// it before it sends a response.
func (f Floor) Watch(w http.ResponseWriter, r *http.Request) (body io.ReadCloser, stop func()) {
	f = f.withDefaults()
	conn := http.NewResponseController(w)
	p := &paced{ReadCloser: r.Body, floor: f, end: func() {
		// A deadline in the past ends the waiting Read. The connection cannot be
		// reused for requests.
		_ = conn.SetReadDeadline(time.Now())
	}}
	if r.ProtoMajor == 1 && conn.SetReadDeadline(time.Now().Add(f.Grace)) == nil {
		p.begin = func() { _ = conn.SetReadDeadline(time.Time{}) } // an expired one fails the Read
	}
	return p, p.stop
}

// paced is a body whose rate is watched.
type paced struct {
	io.ReadCloser
	floor Floor
	begin func() // removes the deadline of a body that is not read; nil after the first Read
	end   func() // makes a waiting Read fail

	mu      sync.Mutex
	timer   *time.Timer   // guarded by mu; nil before the first Read
	reading time.Time     // guarded by mu; when the waiting Read began, zero for none
	waited  time.Duration // guarded by mu; for the client, in this grace
	read    int64         // guarded by mu; in this grace
	slow    bool          // guarded by mu
	over    bool          // guarded by mu
}

func (p *paced) Read(b []byte) (int, error) {
	p.mu.Lock()
	if p.slow {
		p.mu.Unlock()
		return 0, p.floor.errSlow()
	}
	if p.begin != nil {
		p.begin()
		p.begin = nil
	}
	p.reading = time.Now()
	if p.timer == nil && !p.over {
		p.timer = time.AfterFunc(p.floor.Grace, p.check)
	}
	p.mu.Unlock()

	n, err := p.ReadCloser.Read(b)

	p.mu.Lock()
	defer p.mu.Unlock()
	p.waited += time.Since(p.reading)
	p.reading = time.Time{}
	p.read += int64(n)
	if err == nil {
		return n, nil
	}
	p.finish()
	if p.slow || timedOut(err) && err != io.EOF {
		return n, p.floor.errSlow().WithCause(err)
	}
	return n, err
}

// check ends the body if its grace period is over.
func (p *paced) check() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		return
	}
	waited := p.waited
	if !p.reading.IsZero() {
		waited += time.Since(p.reading)
	}
	if left := p.floor.Grace - waited; left > 0 {
		p.timer.Reset(left)
		return
	}
	if float64(p.read) < float64(p.floor.Rate)*waited.Seconds() {
		p.slow = true
		p.finish()
		p.end()
		return
	}
	p.read, p.waited = 0, 0
	if !p.reading.IsZero() {
		p.reading = time.Now()
	}
	p.timer.Reset(p.floor.Grace)
}

// finish ends the watch. mu is held.
func (p *paced) finish() {
	p.over = true
	if p.timer != nil {
		p.timer.Stop()
	}
}

func (p *paced) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.finish()
}

// timedOut reports whether err is a deadline that passed: a time limit of the
// server for the whole request.
func timedOut(err error) bool {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return true
	}
	e, ok := errors.AsType[net.Error](err)
	return ok && e.Timeout()
}
