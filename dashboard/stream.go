package dashboard

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/a-h/templ"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/templates"
)

// section is a part of a page that changes, with the name of its event.
type section struct {
	name string
	html []byte
}

// livePage renders the changing parts of a page. r is the request for the stream of
// the first viewer; only its path and query, and the rights of its client, may be used.
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
	// streamRest is the interval of comments on a silent stream, which keep proxies
	// from closing it.
	streamRest = 15 * time.Second
	// streamCheck is the maximum time between two checks whether the viewer's key is
	// still valid.
	streamCheck = 2 * time.Second
	// streamPatience limits how long a viewer may take to receive data.
	streamPatience = 10 * time.Second
	// streamParting limits that time when the dashboard closes, because closing waits
	// for all viewers.
	streamParting = time.Second
	// streamRetry is the browser's reconnection delay, in milliseconds.
	streamRetry = 2000
)

// stream sends the sections of a page whenever they have changed. They are rendered
// again with every every-th snapshot.
func (d *Dashboard) stream(every int64, page livePage) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Accel-Buffering", "no") // disables buffering in nginx
		if r.Method == http.MethodHead {
			w.Header().Set("Content-Type", "text/event-stream")
			return // HEAD: no events
		}
		if tenant := r.URL.Query().Get("tenant"); tenant != "" && d.tenant != "" && tenant != d.tenant {
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = w.Write(event("gone", []byte("Another tenant was selected. Reload the page."))) // an error means that the client has disconnected
			return
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
			// The connection has a write deadline, which would interrupt the response to
			// the next request on it.
			w.Header().Set("Connection", "close")
		}
		out := &eventWriter{w: w, flush: http.NewResponseController(w), control: http.NewResponseController(uncompressed(w)), conn: connection(w), closing: d.broadcaster.ctx, patience: d.patience}
		defer context.AfterFunc(d.broadcaster.ctx, out.part)()
		if out.send(fmt.Appendf(nil, "retry: %d\n\n", streamRetry)) != nil {
			return // the client has disconnected
		}
		d.follow(r, v, every, page, out)
	})
}

// current returns the current snapshot as the client of a request sees it.
func (d *Dashboard) current(r *http.Request) *snapshot {
	return d.broadcaster.current().as(d.client(r))
}

// rights identifies clients that see the same on a page.
func (d *Dashboard) rights(r *http.Request) string {
	client := d.client(r)
	text := access.Join(client.Scopes, " ") + " " + strings.Join(client.Models, "\n")
	if client.May(access.Batch) && !client.May(access.Operate) && r.PathValue("id") != "" {
		text += " " + client.KeyID // it may control the batches that it made
	}
	return text
}

// follow sends updates until the viewer disconnects, its key is not valid any more, or
// the dashboard closes.
func (d *Dashboard) follow(r *http.Request, v *viewer, every int64, page livePage, out *eventWriter) {
	site := d.site(r, "", "")
	key := r.URL.Path + "?" + r.URL.RawQuery + " " + site.Zone.String() + " " + d.rights(r)
	sent := make(map[string][]byte)
	away := false // the viewer knows that no data can be read
	rest := time.NewTicker(streamRest)
	defer rest.Stop()
	check := time.NewTicker(streamCheck) // also while there are no snapshots
	defer check.Stop()
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
		case <-check.C:
			if !d.valid(r) {
				refuseViewer(out)
				return
			}
		case snap := <-v.news:
			if !d.valid(r) {
				refuseViewer(out)
				return
			}
			if len(sent) > 0 && snap.number%every != 0 {
				continue
			}
			site.Now = snap.at
			sections, err := snap.page(key, func(ctx context.Context) ([]section, error) { return page(ctx, r, site, snap.as(d.client(r))) })
			if err != nil {
				d.logTrouble(r, err)
				text, gone := told(err)
				if gone {
					// The page's object no longer exists.
					_ = out.send(event("gone", []byte(text))) // the stream ends in any case
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
			var changes []byte // sent together: each flush costs bytes and a packet
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

// refuseViewer sends a viewer the reason for the end of its stream.
func refuseViewer(out *eventWriter) {
	_ = out.send(event("gone", []byte("The API key has expired or was revoked."))) // the stream ends in any case
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

// eventWriter sends events to a viewer, which may be slow.
type eventWriter struct {
	w        http.ResponseWriter
	flush    *http.ResponseController // of w
	control  *http.ResponseController // of the writer below the compression
	conn     *http.ResponseController // of the connection: part may use it at any time, also after the handler
	closing  context.Context          // of the dashboard: ends when it closes
	patience time.Duration
}

func (e *eventWriter) send(text []byte) error {
	// A writer without deadlines is limited only by its connection.
	if err := e.control.SetWriteDeadline(time.Now().Add(e.patience)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return fmt.Errorf("setting deadline: %w", err)
	}
	if err := e.closing.Err(); err != nil { // part may have been called before
		return err
	}
	if _, err := e.w.Write(text); err != nil {
		return fmt.Errorf("sending event: %w", err)
	}
	// The compression flushes itself, but the writer below it only if that is an
	// http.Flusher, and it ignores errors.
	if err := e.flush.Flush(); err != nil {
		return fmt.Errorf("sending event: %w", err)
	}
	if err := e.control.Flush(); err != nil {
		return fmt.Errorf("sending event: %w", err)
	}
	return nil
}

// part shortens the deadline of a write in progress when the dashboard closes.
func (e *eventWriter) part() {
	_ = e.conn.SetWriteDeadline(time.Now().Add(streamParting)) // a connection without deadlines has ended
}
