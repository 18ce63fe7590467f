package upstreams

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"mime"
	"mime/multipart"
	"net/http"
	"slices"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/internal/openai"
)

// route is a path of the gateway, of the upstreams, or of both.
type route struct {
	index  int
	path   string // as requested by clients, "" if only the gateway requests it
	target string // as requested from upstreams
	form   bool   // the body is a multipart form
	end    bool   // its streams have a final event
	broken func(problem string, events int64) []byte
	check  func(body []byte) error // rejects requests that the gateway cannot serve; may be nil
	// asksUsage reports whether the usage of streams has to be asked for.
	asksUsage bool
	// tiers reports whether requests may name a service tier.
	tiers bool
	// noEngine reports whether servers answer without their engine.
	noEngine bool
}

// Routes that the gateway itself requests from upstreams.
var (
	healthRoute  = &route{target: "/health"}
	modelsRoute  = &route{target: "/v1/models"}
	versionRoute = &route{target: "/version"}
	metricsRoute = &route{target: "/metrics"}
)

// routeList contains the routes of model servers that clients may use, all POST, and
// the gateway's own. vLLM has more, some of which control the server and require no
// key (https://docs.vllm.ai/en/latest/usage/security.html): routes that are not
// listed are not forwarded.
//
// vLLM has classify and pooling without /v1 only; the paths with /v1 are defined by
// Tidegate, so that batches can use them.
var routeList = []*route{
	healthRoute, modelsRoute, versionRoute, metricsRoute,
	{path: "/v1/chat/completions", end: true, broken: brokenCompletion, asksUsage: true, tiers: true},
	{path: "/v1/completions", end: true, broken: brokenCompletion, asksUsage: true},
	{path: "/v1/responses", end: true, broken: brokenResponse, check: openai.CheckBackground, tiers: true},
	{path: "/v1/messages", end: true, broken: brokenMessage},
	{path: "/v1/messages/count_tokens", noEngine: true},
	{path: "/v1/embeddings"},
	{path: "/v1/moderations"},
	{path: "/v1/audio/transcriptions", form: true},
	{path: "/v1/audio/translations", form: true},
	{path: "/v1/rerank"},
	{path: "/v2/rerank"},
	{path: "/rerank"},
	{path: "/v1/score"},
	{path: "/score"},
	{path: "/v1/classify", target: "/classify"},
	{path: "/classify"},
	{path: "/v1/pooling", target: "/pooling"},
	{path: "/pooling"},
	{path: "/tokenize", noEngine: true},
	{path: "/detokenize", noEngine: true},
}

// routes contains the client routes by path.
var routes = func() map[string]*route {
	byPath := make(map[string]*route, len(routeList))
	for i, rt := range routeList {
		rt.index = i
		if rt.path == "" {
			continue
		}
		if rt.target == "" {
			rt.target = rt.path
		}
		if rt.broken == nil {
			rt.broken = brokenCompletion
		}
		byPath[rt.path] = rt
	}
	return byPath
}()

// IsLive reports whether a path is that of a live request, which a server answers.
func IsLive(path string) bool { return routes[path] != nil }

// LivePaths returns the paths of live requests.
func LivePaths() []string { return slices.Sorted(maps.Keys(routes)) }

// model returns the model that a body names, and whether it requests a stream. head
// is the body or the beginning of a larger one; of the latter only the model is read.
func (rt *route) model(head []byte, whole bool, contentType string) (model string, stream bool, err error) {
	if rt.form {
		model, err = formModel(head, whole, contentType)
		return model, false, err
	}
	if !whole {
		if model, ok := openai.ModelOfPart(head); ok {
			return model, false, nil
		}
		return "", false, openai.MissingParameter("model")
	}
	return openai.PeekModel(head)
}

// formModel returns the field `model` of a multipart form.
func formModel(head []byte, whole bool, contentType string) (string, error) {
	media, params, err := mime.ParseMediaType(contentType)
	if err != nil || media != "multipart/form-data" || params["boundary"] == "" {
		return "", openai.InvalidRequest("", "", "The body must be multipart/form-data.")
	}
	form := multipart.NewReader(bytes.NewReader(head), params["boundary"])
	for {
		part, err := form.NextRawPart()
		if err != nil { // the end of the form, or of the part of it in memory
			return "", openai.MissingParameter("model")
		}
		if part.FormName() != "model" || part.FileName() != "" {
			continue
		}
		var name [maxModelName + 1]byte
		n := 0
		for n < len(name) && err == nil {
			var m int
			m, err = part.Read(name[n:])
			n += m
		}
		if n == 0 || n > maxModelName || !whole && !errors.Is(err, io.EOF) { // truncated
			return "", openai.MissingParameter("model")
		}
		return string(name[:n]), nil
	}
}

// Formats of an error in the middle of a stream, by the API that the client uses.

// brokenCompletion is an event of chat completions and completions, as written by
// vLLM and OpenAI and recognized by OpenAI's SDKs.
func brokenCompletion(problem string, _ int64) []byte {
	return event("", openai.BadGateway("%s", problem))
}

// brokenResponse is the event `error` of the Responses API
// (https://platform.openai.com/docs/api-reference/responses-streaming/error).
func brokenResponse(problem string, events int64) []byte {
	return event("error", struct {
		Type     string  `json:"type"`
		Code     string  `json:"code"`
		Message  string  `json:"message"`
		Param    *string `json:"param"`
		Sequence int64   `json:"sequence_number"`
	}{"error", "upstream_error", problem, nil, events})
}

// brokenMessage is the event `error` of Anthropic's Messages API
// (https://platform.claude.com/docs/en/build-with-claude/streaming#error-events).
func brokenMessage(problem string, _ int64) []byte {
	return event("error", json.RawMessage(openai.AnthropicError(http.StatusBadGateway, problem)))
}

func event(name string, data any) []byte {
	var b bytes.Buffer
	if name != "" {
		b.WriteString("event: " + name + "\n")
	}
	text, err := json.Marshal(data)
	if err != nil { // strings always marshal
		panic(err)
	}
	b.WriteString("data: ")
	b.Write(text)
	b.WriteString("\n\n")
	return b.Bytes()
}

// serveModels answers GET /v1/models and /v1/models/{id}; id is "" for the list.
func (x *Proxy) serveModels(w http.ResponseWriter, r *http.Request, id string) {
	if id == "" {
		client := access.From(r.Context())
		list := []openai.Model{}
		for _, m := range x.pool.now.Load().list {
			if client.MayUse(m.ID) {
				list = append(list, m)
			}
		}
		writeJSON(w, openai.ModelList{Object: "list", Data: list})
		return
	}
	if !access.From(r.Context()).MayUse(id) {
		openai.WriteError(w, r, openai.ModelNotFound(clip(id)))
		return
	}
	s, at, complete := x.pool.lookupOrDiscover(r.Context(), id)
	if at == nil {
		openai.WriteError(w, r, notFound(id, complete))
		return
	}
	i := slices.IndexFunc(s.list, func(m openai.Model) bool { return m.ID == id })
	writeJSON(w, s.list[i])
}

func writeJSON(w http.ResponseWriter, v any) {
	body, err := json.Marshal(v)
	if err != nil { // names and numbers always marshal
		panic(err)
	}
	w.Header()["Content-Type"] = contentJSON
	_, _ = w.Write(body) // an error means that the client has disconnected
}
