package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"path"
	"strconv"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/engine"
	"github.com/tidegate/tidegate/internal/openai"
)

// Lines has the methods that the API needs for lines of batches.
type Lines interface {
	// Lines returns a *batch.StateError for a batch whose results no longer exist.
	Lines(ctx context.Context, tenant, id string, q engine.LineQuery) (engine.LinePage, error)
	// Line also returns batch.ErrNotFound for a line that does not exist.
	Line(ctx context.Context, tenant, id string, number int) (engine.LineDetail, error)
}

// linePage is the default number of lines of a page.
const linePage = 100

// wireLine is a line of a batch in a response. Unknown values are null.
type wireLine struct {
	Object     string        `json:"object"` // "batch.line"
	Line       int           `json:"line"`   // of the request in the input, from 1
	CustomID   string        `json:"custom_id"`
	Status     string        `json:"status"` // pending, completed, failed
	StatusCode *int          `json:"status_code"`
	Error      *string       `json:"error"` // its message, cut short
	Attempts   *int          `json:"attempts"`
	DurationMS *int64        `json:"duration_ms"` // of the last attempt
	Upstream   *string       `json:"upstream"`    // of the last attempt
	Usage      *openai.Usage `json:"usage"`
}

// wireLines is a page of lines.
type wireLines struct {
	Object  string     `json:"object"` // "list"
	Data    []wireLine `json:"data"`
	HasMore bool       `json:"has_more"`
	After   int        `json:"after"` // continues behind the page
}

// wireDetail is a line with its request and its result.
type wireDetail struct {
	wireLine
	Input  json.RawMessage `json:"input"`
	Result json.RawMessage `json:"result"`
}

func lineObject(l engine.Line) wireLine {
	o := wireLine{Object: "batch.line", Line: l.Number, CustomID: l.CustomID, Status: string(l.State), Error: text(l.Message), Upstream: text(l.Upstream)}
	if l.Status > 0 {
		o.StatusCode = &l.Status
	}
	if l.Attempts > 0 {
		ms := l.Duration.Milliseconds()
		o.Attempts, o.DurationMS, o.Usage = &l.Attempts, &ms, &l.Usage
	}
	return o
}

func (h *handler) listLines(w http.ResponseWriter, r *http.Request, id string) error {
	query, err := parseQuery(r)
	if err != nil {
		return err
	}
	var q engine.LineQuery
	if q.Limit, err = query.limit(linePage, engine.MaxLines); err != nil {
		return err
	}
	after, ok, err := query.get("after")
	if err != nil {
		return err
	}
	if ok {
		n, err := parseInteger("after", after, 0, math.MaxInt32)
		if err != nil {
			return err
		}
		q.After = int(n)
	}
	state, err := query.oneOf("status", string(engine.LineCompleted), string(engine.LineFailed), string(engine.LinePending))
	if err != nil {
		return err
	}
	q.State = engine.LineState(state)
	page, err := h.batches.Lines(r.Context(), h.tenant(r), id, q)
	if err != nil {
		return err
	}
	o := wireLines{Object: "list", Data: make([]wireLine, len(page.Lines)), HasMore: page.More, After: page.After}
	for i, l := range page.Lines {
		o.Data[i] = lineObject(l)
	}
	return answer(w, o)
}

func (h *handler) getLine(w http.ResponseWriter, r *http.Request, id string) error {
	word := path.Base(r.URL.EscapedPath())
	missing := openai.NotFound("line", "Batch '%s' has no line '%s'.", id, clip(word))
	n, err := strconv.ParseInt(word, 10, 32)
	if err != nil || n < 1 {
		return missing
	}
	d, err := h.batches.Line(r.Context(), h.tenant(r), id, int(n))
	if errors.Is(err, batch.ErrNotFound) {
		if _, err := h.batches.Batch(r.Context(), h.tenant(r), id); err != nil {
			return err
		}
		return missing
	}
	if err != nil {
		return err
	}
	return answer(w, wireDetail{lineObject(d.Line), d.Input, d.Result})
}
