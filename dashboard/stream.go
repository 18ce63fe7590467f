package dashboard

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/a-h/templ"

	"github.com/tidegate/tidegate/templates"
)

// section is a part of a page that changes, by the name of its event.
type section struct {
	name string
	html []byte
}

// livePage makes the parts of a page that change. r is the request for the
// stream of whoever asked first; only its path and query may be used.
type livePage func(ctx context.Context, r *http.Request, s templates.Site, snap *snapshot) ([]section, error)

// part renders a component as a section.
func part(ctx context.Context, sections *[]section, name string, c templ.Component) error {
	var b bytes.Buffer
	if err := c.Render(ctx, &b); err != nil {
		return fmt.Errorf("rendering %s: %w", name, err)
	}
	*sections = append(*sections, section{name, b.Bytes()})
	return nil
}

const (
	// streamRest is how long a stream may be silent before it says that it
	// is there, so that nobody on the way takes it for dead.
	streamRest = 15 * time.Second
	// streamPatience is how long a viewer may take to accept what is sent.
	streamPatience = 10 * time.Second
	// streamParting is how long one may still take when the dashboard closes:
	// whoever closes it waits for all of them.
	streamParting = time.Second
	// streamRetry is when a browser may come back, in milliseconds.
	streamRetry = 2000
)

// stream sends the sections of a page whenever they have changed. They are
// made anew with every every-th snapshot.
func (d *Dashboard) stream(every int64, page livePage) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Accel-Buffering", "no") // nginx in front
		if r.Method == http.MethodHead {
			w.Header().Set("Content-Type", "text/event-stream")
			return // nobody follows
		}
		v, ok := d.broadcaster.join()
		if !ok {
			w.Header().Set("Retry-After", "5")
			http.Error(w, "too many pages are open", http.StatusServiceUnavailable)
			return
		}
		defer d.broadcaster.leave(v)
		w.Header().Set("Content-Type", "text/event-stream")
		if r.ProtoMajor == 1 {
			// The connection has a deadline for what is written, which would
			// break off the answer to whatever came next on it.
			w.Header().Set("Connection", "close")
		}
		out := &eventWriter{w: w, flush: http.NewResponseController(w), control: http.NewResponseController(uncompressed(w)), closing: d.broadcaster.ctx, patience: d.patience}
		defer context.AfterFunc(d.broadcaster.ctx, out.part)()
		if out.send(fmt.Appendf(nil, "retry: %d\n\n", streamRetry)) != nil {
			return // the viewer is gone
		}
		d.follow(r, v, every, page, out)
	})
}

// follow sends news until the viewer or the dashboard goes.
func (d *Dashboard) follow(r *http.Request, v *viewer, every int64, page livePage, out *eventWriter) {
	site := d.site(r, "", "")
	key := r.URL.Path + "?" + r.URL.RawQuery + " " + site.Zone.String()
	sent := make(map[string][]byte)
	away := false // the viewer was told that nothing can be read
	rest := time.NewTicker(streamRest)
	defer rest.Stop()
	for {
		select {
		case <-r.Context().Done():
			return
		case <-d.broadcaster.ctx.Done():
			return
		case <-rest.C:
			if out.send([]byte(": still here\n\n")) != nil {
				return
			}
		case snap := <-v.news:
			if len(sent) > 0 && snap.number%every != 0 {
				continue
			}
			site.Now = snap.at
			sections, err := snap.page(key, func(ctx context.Context) ([]section, error) { return page(ctx, r, site, snap) })
			if err != nil {
				d.logTrouble(r, err)
				text, gone := told(err)
				if gone {
					// What the page is about is there no more.
					_ = out.send(event("gone", []byte(text))) // the stream ends either way
					return
				}
				if !away && out.send(event("away", []byte(text))) != nil {
					return
				}
				away = true
				continue
			}
			if away && out.send(event("back", []byte("it is live again"))) != nil {
				return
			}
			away = false
			var changes []byte // sent at once: each flush costs bytes and a packet
			for _, s := range sections {
				if bytes.Equal(sent[s.name], s.html) {
					continue
				}
				changes = append(changes, event(s.name, s.html)...)
				sent[s.name] = s.html
			}
			if len(changes) == 0 {
				continue
			}
			if out.send(changes) != nil {
				return
			}
			rest.Reset(streamRest)
		}
	}
}

// event writes an event (https://html.spec.whatwg.org/multipage/server-sent-events.html).
func event(name string, data []byte) []byte {
	b := fmt.Appendf(make([]byte, 0, len(data)+64), "event: %s\n", name)
	data = bytes.ReplaceAll(data, []byte("\r"), []byte("\n")) // either ends a line
	for line := range bytes.SplitSeq(data, []byte("\n")) {
		b = append(b, "data: "...)
		b = append(append(b, line...), '\n')
	}
	return append(b, '\n')
}

// eventWriter sends to a viewer who may be slow.
type eventWriter struct {
	w        http.ResponseWriter
	flush    *http.ResponseController // of w
	control  *http.ResponseController // of the connection: part may use it after the handler
	closing  context.Context          // of the dashboard: ends when it closes
	patience time.Duration
}

func (e *eventWriter) send(text []byte) error {
	if err := e.until(e.patience); err != nil {
		return err
	}
	if err := e.closing.Err(); err != nil { // part may have been before
		return err
	}
	if _, err := e.w.Write(text); err != nil {
		return fmt.Errorf("sending event: %w", err)
	}
	// The compression flushes itself, but the writer below it only where that
	// is an http.Flusher, and drops errors.
	if err := e.flush.Flush(); err != nil {
		return fmt.Errorf("sending event: %w", err)
	}
	if err := e.control.Flush(); err != nil {
		return fmt.Errorf("sending event: %w", err)
	}
	return nil
}

// part hurries what is being sent while the dashboard closes.
func (e *eventWriter) part() {
	_ = e.until(streamParting) // a connection that takes no deadline has gone
}

// until bounds how long the viewer may take from now on. A writer that knows no
// deadlines is bounded by its connection alone.
func (e *eventWriter) until(patience time.Duration) error {
	if err := e.control.SetWriteDeadline(time.Now().Add(patience)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return fmt.Errorf("setting deadline: %w", err)
	}
	return nil
}
