package upstreams

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/internal/openai"
)

// Proxy is the way of live traffic: an http.Handler that forwards requests to
// model servers to the pool, and answers GET /v1/models itself. Every other
// path is answered 404.
type Proxy struct {
	pool   *Pool
	log    *zap.Logger
	record func(context.Context, LiveRequest)
}

// LiveRequest is what one live request came to.
type LiveRequest struct {
	Endpoint string // as the client asked for it, like /v1/chat/completions
	Model    string // "" when the request names none that is known
	Class    Class  // Batch for the service tier flex
	Upstream string // the last one it was sent to, "" for none
	Status   int    // what the client got; 499 when it left before anything
	Retries  int    // attempts beyond the first
	// Broken tells that the answer was cut off after it had begun, by either
	// side.
	Broken   bool
	Usage    openai.Usage
	HasUsage bool
	Duration time.Duration
	// Queued is how much of that it waited in the gateway for a server.
	Queued time.Duration
	// TTFT is the time to the first event of a stream; 0 for other answers.
	TTFT time.Duration
	// ITL is the average time between the tokens of a stream; 0 when it is not
	// known, as of one that broke off.
	ITL time.Duration
}

// statusClientGone is nginx's status for a client that left.
const statusClientGone = 499

// NewProxy makes a proxy to p. record, if any, is called once for every request
// to a model, at its end and in its goroutine, with the request's context.
func NewProxy(p *Pool, log *zap.Logger, record func(context.Context, LiveRequest)) *Proxy {
	return &Proxy{pool: p, log: log, record: record}
}

const modelsPrefix = "/v1/models/"

// ServeHTTP answers a live request. It panics with http.ErrAbortHandler to cut
// the connection when an answer breaks off.
func (x *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// As it came: an escaped path is another path.
	path := r.URL.EscapedPath()
	if rt := routes[path]; rt != nil {
		if r.Method != http.MethodPost {
			notAllowed(w, r, path, http.MethodPost)
			return
		}
		x.serve(w, r, rt)
		return
	}
	if path == modelsRoute.target || strings.HasPrefix(path, modelsPrefix) && len(path) > len(modelsPrefix) {
		if r.Method != http.MethodGet {
			notAllowed(w, r, path, http.MethodGet)
			return
		}
		id, err := url.PathUnescape(strings.TrimPrefix(path[len(modelsRoute.target):], "/"))
		if err == nil {
			x.serveModels(w, r, id)
			return
		}
	}
	openai.WriteError(w, r, openai.UnknownRoute(r.Method, path))
}

func notAllowed(w http.ResponseWriter, r *http.Request, path, allowed string) {
	w.Header().Set("Allow", allowed)
	openai.WriteError(w, r, openai.MethodNotAllowed(r.Method, path))
}

func (x *Proxy) serve(w http.ResponseWriter, r *http.Request, rt *route) {
	l := &live{proxy: x, w: w, r: r, route: rt, began: time.Now(), id: requestID(r)}
	l.done.Endpoint = rt.path
	defer l.finish()
	s := x.pool.now.Load()
	in := intake{r: r, route: rt, limit: s.cfg.RetryBuffer, room: &bodyRoom{memory: &x.pool.bodies}}
	defer in.room.release()
	body, err := in.read()
	if err != nil {
		l.badBody(err)
		return
	}
	l.body = body
	model, stream, err := rt.model(body.head, body.replayable(), r.Header.Get("Content-Type"))
	if err != nil && !openai.EmptyObject(body.head) { // which asks for nothing
		model, err = s.onlyModel(err)
	}
	if err == nil && rt.check != nil {
		err = rt.check(body.head)
	}
	if err != nil {
		l.refuse(err)
		return
	}
	l.stream = stream
	l.query = Query{Class: Live, Model: model, Prompt: body.head}
	if rt.tiers && openai.ServiceTier(body.head) == openai.TierFlex {
		l.query.Class = Batch
	}
	l.done.Class = l.query.Class
	l.ticket = ticket{query: &l.query, key: clientKey(r), whole: body.replayable(), seatless: rt.seatless}
	l.header = requestHeader(r, s, l.id)
	l.forward()
}

// badBody answers a request whose body did not come whole.
func (l *live) badBody(err error) {
	if refusal, ok := errors.AsType[*openai.Error](err); ok {
		l.refuse(refusal)
		return
	}
	if l.r.Context().Err() != nil {
		l.done.Status = statusClientGone
		return
	}
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		l.refuse(openai.TooLarge("", "The body is larger than %d bytes.", tooLarge.Limit).WithCause(err))
		return
	}
	l.refuse(openai.InvalidRequest("", "", "We could not read the body of your request.").WithCause(err))
}
