package upstreams

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/access/limits"
	"github.com/tidegate/tidegate/internal/openai"
)

// Proxy serves live traffic: it is an http.Handler that forwards requests to the
// model servers of the pool, and answers GET /v1/models itself. Every other path is
// answered with 404.
type Proxy struct {
	pool   *Pool
	log    *zap.Logger
	record func(context.Context, LiveRequest)
	limits *limits.Limiter // of clients; nil: none
}

// LiveRequest is the outcome of one live request.
type LiveRequest struct {
	Endpoint string // the client's path, such as /v1/chat/completions
	Model    string // "" if the request names no known model
	Class    Class  // Batch for the service tier flex
	Upstream string // the last one it was sent to, "" for none
	Status   int    // as sent to the client; 499 if it disconnected before
	Retries  int    // attempts beyond the first
	// Broken reports whether the answer was aborted after it had begun, by either
	// side.
	Broken   bool
	Usage    openai.Usage
	HasUsage bool
	// Estimated reports that Usage is an estimate, because the answer has none or is not
	// complete.
	Estimated bool
	Duration  time.Duration
	// Queued is the part of Duration that it waited in the gateway for a server.
	Queued time.Duration
	// TTFT is the time to the first event of a stream; 0 for other answers.
	TTFT time.Duration
	// ITL is the average time between the tokens of a stream; 0 if it is not known, as
	// for an aborted stream.
	ITL time.Duration
}

// statusClientGone is nginx's status for a client that disconnected.
const statusClientGone = 499

// NewProxy returns a proxy for p. record, unless nil, is called once for every
// request to a model, at its end and in its goroutine, with the request's context.
func NewProxy(p *Pool, log *zap.Logger, record func(context.Context, LiveRequest)) *Proxy {
	return &Proxy{pool: p, log: log, record: record}
}

const modelsPrefix = "/v1/models/"

// ServeHTTP answers a live request. It panics with http.ErrAbortHandler to close the
// connection when an answer is aborted.
func (x *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// Use the escaped path: an escaped path is a different path.
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
	if err := l.parse(s); err != nil {
		l.refuse(err)
		return
	}
	if err := l.takeLimits(access.From(r.Context())); err != nil {
		l.refuse(err)
		return
	}
	if err := x.pool.checkLive(s, l); err != nil {
		if r.Context().Err() != nil {
			l.done.Status = statusClientGone
			return
		}
		l.refuse(err)
		return
	}
	if l.body != body { // replaced
		if err := l.parse(s); err != nil {
			l.refuse(err)
			return
		}
	}
	l.header = requestHeader(r, s, l.id)
	l.forward()
}

// parse reads what the gateway needs of the body, and checks that the client may send it. The
// error is for the client.
func (l *live) parse(s *snapshot) error {
	r, rt, body := l.r, l.route, l.body
	client := access.From(r.Context())
	model, stream, err := rt.model(body.head, body.replayable(), r.Header.Get("Content-Type"))
	if err != nil && !openai.EmptyObject(body.head) { // an empty object is not a request for the only model
		model, err = s.onlyModel(client, err)
	}
	if err == nil {
		err = checkModel(client, rt, body, r.Header.Get("Content-Type"), model)
	}
	if err == nil && rt.check != nil {
		err = rt.check(body.head)
	}
	if err != nil {
		return err
	}
	l.stream, l.withUsage = stream, nil
	if rt.asksUsage && body.replayable() {
		if e, ok := openai.AskForUsage(body.head); ok {
			l.withUsage = body.with(e)
		}
	}
	l.query = Query{Class: Live, Model: model, Prompt: body.head, Header: r.Header}
	if !rt.noEngine {
		l.query.setPrompt(s.record(model), body)
	}
	if rt.tiers && openai.ServiceTier(body.head) == openai.TierFlex {
		l.query.Class = Batch
	}
	l.done.Class = l.query.Class
	l.ticket = ticket{query: &l.query, key: cmp.Or(client.KeyID, clientKey(r)), whole: body.replayable(), noEngine: rt.noEngine}
	return nil
}

// badBody refuses a request whose body could not be read completely.
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
