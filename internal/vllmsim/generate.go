package vllmsim

import (
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/tidegate/tidegate/internal/vllmsim/engine"
)

// scratch is the memory of one request, reused.
type scratch struct {
	raw        []byte // path, newline, body
	req        request
	parser     *parser
	directives []directive
	answer     answer
	out        []byte
}

var scratches = sync.Pool{New: func() any { return &scratch{parser: newParser()} }}

// free returns the scratch memory to the pool, unless one large request grew it.
func (sc *scratch) free() {
	const most = 1 << 20
	if cap(sc.raw)+cap(sc.out)+cap(sc.answer.tmp)+cap(sc.answer.echo) <= most {
		scratches.Put(sc)
	}
}

// read parses the body, which follows the path in raw.
func (sc *scratch) read(ep *endpoint, pathLen int) (err error) {
	sc.req = request{body: sc.raw[pathLen+1:], inputs: sc.req.inputs[:0]}
	if !ep.opaque {
		if err := sc.parser.parse(&sc.req); err != nil {
			return err
		}
		if err := ep.check(&sc.req); err != nil {
			return err
		}
	}
	sc.directives, err = appendDirectives(sc.directives[:0], sc.req.body)
	if err != nil {
		return badRequest("", "%s", err)
	}
	return nil
}

// visit is a generation request from its receipt to its end. It ends in
// exactly one way.
type visit struct {
	s       *Server
	entry   *entry
	holds   bool // a slot
	job     *job // in the engine; nil without one
	settled bool
}

// finish counts the visit as answered and frees its slot before the last byte is sent, so
// that a client that has read the answer finds it counted.
func (v *visit) finish() {
	v.end(&v.s.counts.finished)
	v.entry.finished.Add(1)
}

// end counts the visit in its way and frees its slot.
func (v *visit) end(as *atomic.Int64) {
	v.settled = true
	as.Add(1)
	if v.holds {
		v.holds = false
		v.s.slots.release()
	}
	if v.job != nil {
		v.job.abort()
	}
}

func (v *visit) fault() {
	v.end(&v.s.counts.faulted)
	v.s.metrics.failed()
}

// leave ends a visit that has not ended otherwise: the client disconnected or the server
// closed.
func (v *visit) leave() {
	if !v.settled {
		v.end(&v.s.counts.aborted)
		v.entry.aborted.Add(1)
		v.s.metrics.aborted()
	}
}

// unfinish corrects finish when the answer could not be sent.
func (v *visit) unfinish() {
	v.s.counts.finished.Add(-1)
	v.entry.finished.Add(-1)
	v.s.counts.aborted.Add(1)
	v.entry.aborted.Add(1)
}

// run is a running visit, with the state of its answer.
type run struct {
	visit
	w         http.ResponseWriter
	sc        *scratch
	ep        *endpoint
	plan      plan
	pacer     pacer
	arrived   time.Time
	queued    time.Duration
	ttft, itl time.Duration
	streams   bool
	begun     bool // the header of a stream is sent
}

// generate answers an endpoint that runs the model.
func (s *Server) generate(w http.ResponseWriter, r *http.Request, ep *endpoint) {
	sc := scratches.Get().(*scratch)
	defer sc.free()
	arrived := time.Now()
	at := r.URL.Path
	var err error
	if sc.raw, err = appendBody(append(append(sc.raw[:0], at...), '\n'), r); err != nil {
		panic(http.ErrAbortHandler) // the client left while it was sending
	}
	seed := digestOf(sc.raw)
	entry, nth := s.cfg.Ledger.receive(&seed, simID(sc.raw[len(at)+1:]))
	g := run{visit: visit{s: s, entry: entry}, w: w, sc: sc, ep: ep, arrived: arrived}
	defer g.leave()
	defer g.recoverDeath()

	if err := s.admit(sc, ep, r, len(at)); err != nil {
		g.reject(refusalOf(err))
		return
	}
	g.plan = planFor(sc.directives, nth)
	if d, ok := draw(s.rated, s.cfg.Seed, &seed, nth); ok {
		g.plan.add(&d)
	}
	sc.answer.init(&sc.req, &seed, ep, &g.plan)
	sc.answer.newer = s.metrics.newer
	if s.engine != nil {
		sc.answer.fit(s.cfg.MaxModelLen)
	}
	if len(sc.answer.model) == 0 {
		sc.answer.model = s.first
	}
	if g.failAtOnce() {
		return
	}
	g.pacer.gone, g.pacer.closed, g.pacer.died = r.Context().Done(), s.closed, s.life.died
	g.setPace()
	if s.life.isDead() {
		g.quit()
	}
	if s.engine == nil && s.slots.full() {
		g.refuse(engine.ErrFull)
		return
	}
	if s.engine != nil {
		if !g.submit() {
			return
		}
	} else {
		g.takeSlot()
	}
	if g.streams {
		g.stream()
	} else {
		g.whole()
	}
}

// admit reads the request and refuses what this server cannot run. The error
// is a *Refusal.
func (s *Server) admit(sc *scratch, ep *endpoint, r *http.Request, pathLen int) error {
	if !ep.opaque && !isJSON(r) {
		return &Refusal{Status: http.StatusBadRequest, Type: "Bad Request", Message: "Unsupported Media Type: Only 'application/json' is allowed"}
	}
	if err := sc.read(ep, pathLen); err != nil {
		return err
	}
	req := &sc.req
	if raw := req.slice(req.model); len(raw) > 0 && !s.serves(raw) {
		name, _ := jsontext.AppendUnquote(nil, raw) // for people
		return unknownModel(string(name))
	}
	if req.priority != 0 && !s.cfg.PriorityScheduling && ep.generates {
		return badRequest("", "Got priority %d but Priority scheduling is not enabled.", req.priority)
	}
	if most := s.cfg.MaxModelLen; most > 0 && ep.generates {
		prompt := promptTokens(req.body)
		if prompt+max(req.maxTokens, 1) > most {
			return badRequest("", "This model's maximum context length is %d tokens. However, you requested %d tokens (%d in the messages, %d in the completion). Please reduce the length of the messages or completion.",
				most, prompt+req.maxTokens, prompt, req.maxTokens)
		}
	}
	return nil
}

// serves reports on a model's name in JSON.
func (s *Server) serves(raw []byte) bool {
	if s.served[string(raw[1:len(raw)-1])] {
		return true
	}
	name, err := jsontext.AppendUnquote(nil, raw)
	return err == nil && s.served[string(name)]
}

func (g *run) reject(refusal *Refusal) {
	g.end(&g.s.counts.rejected)
	writeBody(g.w, refusal.Status, headerJSON, g.ep.appendRefusal(nil, refusal))
}

func (g *run) setPace() {
	g.ttft = g.s.cfg.TTFT
	if g.plan.isSlow {
		g.ttft = g.plan.slow
	}
	if g.ep.generates {
		g.itl = g.s.cfg.ITL
	} else {
		g.plan.gap = 0
	}
	g.streams = g.ep.events != nil && g.sc.req.stream
}

// takeSlot waits for the request's turn. Like vLLM, a stream sends its header
// before it waits for anything.
func (g *run) takeSlot() {
	if !g.s.slots.take() {
		g.begin()
		if !g.s.slots.wait(g.pacer.gone, g.pacer.closed, g.pacer.died) {
			g.quit()
		}
		g.queued = time.Since(g.arrived)
	}
	g.holds = true
	if g.ttft > 0 || g.itl > 0 || g.plan.gap > 0 {
		g.pacer.start = time.Now()
	}
	if g.plan.fault.kind == kindHang {
		g.hang()
	}
	g.thaw()
}

// begin sends the header of a stream at once.
func (g *run) begin() {
	if !g.streams || g.begun || g.plan.fault.kind == kindHang {
		return
	}
	g.begun = true
	g.setStreamHeader()
	g.w.WriteHeader(http.StatusOK)
	flush(g.w)
}

// wait waits for a moment after the start of the run.
func (g *run) wait(moment time.Duration) {
	if !g.pacer.until(moment) {
		g.quit()
	}
	g.thaw()
}

// done counts a successful run.
func (g *run) done(ttft time.Duration) {
	if g.job != nil { // whose metrics are the engine's
		g.finish()
		return
	}
	g.s.metrics.finish(finished{
		answer: &g.sc.answer, generates: g.ep.generates,
		queued: g.queued, ttft: ttft, all: time.Since(g.arrived),
		itl: g.itl, gap: g.plan.gap,
	})
	g.finish()
}

// whole answers with one JSON body.
func (g *run) whole() {
	a := &g.sc.answer
	if g.job != nil {
		g.awaitAll()
	} else {
		g.wait(g.ttft + g.itl*time.Duration(max(a.tokens-1, 0)) + g.plan.gap)
	}
	body := g.ep.body(g.sc.out[:0], a)
	g.sc.out = body
	if g.plan.pretty {
		body = indented(body)
	}
	if g.plan.fault.kind != "" {
		g.failWhole(body)
		return
	}
	g.done(g.queued + g.ttft)
	g.send(func() { writeBody(g.w, http.StatusOK, headerJSON, body) })
}

// send does the last writing of a finished run.
func (g *run) send(write func()) {
	sent := false
	defer func() {
		if !sent {
			g.unfinish()
		}
	}()
	write()
	sent = true
}

func indented(body []byte) []byte {
	v := jsontext.Value(append([]byte(nil), body...))
	if err := v.Indent(jsontext.WithIndent("  ")); err != nil {
		panic("vllmsim: answer is not JSON: " + err.Error())
	}
	return v
}

const streamBuffer = 64 << 10 // bytes after which a stream without delays is sent on

// stream answers with server-sent events: the head with the first token, then
// a token at a time.
func (g *run) stream() {
	if g.job != nil {
		g.streamEngine()
		return
	}
	a := &g.sc.answer
	half := a.tokens / 2
	out := g.sc.out[:0]
	var ttft time.Duration
	for i := range a.tokens {
		moment := g.ttft + g.itl*time.Duration(i)
		if i > 0 && i >= half {
			moment += g.plan.gap
		}
		pauses := moment > 0 && (i == 0 || g.itl > 0 || i == max(half, 1) && g.plan.gap > 0)
		if pauses || len(out) > streamBuffer {
			g.sendPart(out)
			out = out[:0]
			g.wait(moment)
		}
		if i == 0 {
			ttft = time.Since(g.arrived)
			out = g.ep.events.head(out, a)
		}
		if i == half && g.failMid(out) {
			return
		}
		out = g.ep.events.token(out, a, i)
		g.sc.out = out
	}
	g.endStream(out, ttft)
}

// endStream sends the buffered part of a stream and its end.
func (g *run) endStream(out []byte, ttft time.Duration) {
	out = g.ep.events.tail(out, &g.sc.answer)
	g.sc.out = out
	if g.plan.fault.kind == kindShort {
		g.fault()
		g.sendPart(out)
		return
	}
	g.done(ttft)
	g.send(func() {
		if !g.begun {
			g.setStreamHeader()
		}
		mustWrite(g.w, out)
	})
}

// sendPart sends the buffered part of a stream, the first time with its header.
func (g *run) sendPart(out []byte) {
	g.begin()
	if len(out) > 0 {
		mustWrite(g.w, out)
		flush(g.w)
	}
}

func (g *run) setStreamHeader() {
	h := g.w.Header()
	h["Content-Type"] = headerSSE
	if g.plan.fault.kind == kindShort {
		h["Content-Length"] = []string{endlessLength}
		return
	}
	// Else net/http would give a short stream a Content-Length.
	h["Transfer-Encoding"] = headerChunk
}
