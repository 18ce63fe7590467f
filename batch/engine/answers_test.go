package engine_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/batchtest"
	"github.com/tidegate/tidegate/internal/openai"
)

func TestEveryLineEndsOnce(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 63, 64, 65, 1000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			h := newHarness(t, batch.Config{MaxInFlight: 50})
			h.Open()
			b := h.Wait(h.Create(h.Upload(batchtest.Input(n))))
			if b.Status != batch.Completed || b.ErrorFileID != "" || b.Model != "m" {
				t.Errorf("%+v", b)
			}
			h.Check(b, n)
			if want := (openai.RequestCounts{Total: int64(n), Completed: int64(n)}); b.Counts != want {
				t.Errorf("counts %+v, want %+v", b.Counts, want)
			}
			if b.Usage.InputTokens != int64(3*n) || b.Usage.OutputTokens != int64(2*n) || b.Usage.TotalTokens != int64(5*n) {
				t.Errorf("usage %+v", b.Usage)
			}
			if r := h.Pool.Repeated(); r != 0 {
				t.Errorf("%d calls repeated", r)
			}
			if h.Pool.Most > 50 {
				t.Errorf("%d lines in flight at once, at most 50 allowed", h.Pool.Most)
			}
		})
	}
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	sent := errors.New("connection reset")
	tests := map[string]struct {
		answer  func(ctx context.Context, id string, call int) (batch.Answer, error)
		retries int
		calls   int
		status  int    // of the response in the error file, 0 for none
		code    string // of the error
		body    string
		ok      bool
	}{
		"a refusal is final": {
			answer: func(context.Context, string, int) (batch.Answer, error) {
				return batchtest.Status(400, `{"error":{"message":"no"}}`), nil
			},
			calls: 1, status: 400, body: `{"error":{"message":"no"}}`,
		},
		"pretty JSON becomes one line": {
			answer: func(context.Context, string, int) (batch.Answer, error) {
				return batchtest.Status(422, "{\n \"a\": 1.0,\r\n \"b\": \"x y\"\n}"), nil
			},
			calls: 1, status: 422, body: `{"a":1.0,"b":"x y"}`,
		},
		"a passing error is retried": {
			answer: func(_ context.Context, id string, call int) (batch.Answer, error) {
				if call < 3 {
					return batchtest.Status(503, "busy"), nil
				}
				return batchtest.OK(id), nil
			},
			calls: 3, ok: true,
		},
		"a passing error that does not pass": {
			answer:  func(context.Context, string, int) (batch.Answer, error) { return batchtest.Status(500, `{"e":1}`), nil },
			retries: 2, calls: 3, status: 500, body: `{"e":1}`,
		},
		"a broken connection is retried": {
			answer: func(_ context.Context, id string, call int) (batch.Answer, error) {
				if call == 1 {
					return batch.Answer{}, &batch.SendError{Sent: true, Err: sent}
				}
				return batchtest.OK(id), nil
			},
			calls: 2, ok: true,
		},
		"no answer at all": {
			answer: func(context.Context, string, int) (batch.Answer, error) {
				return batch.Answer{}, &batch.SendError{Sent: true, Err: sent}
			},
			retries: 2, calls: 3, code: "upstream_error",
		},
		"a refused connection uses up nothing": {
			answer: func(_ context.Context, id string, call int) (batch.Answer, error) {
				if call < 20 {
					return batch.Answer{}, &batch.SendError{Err: sent}
				}
				return batchtest.OK(id), nil
			},
			retries: 1, calls: 20, ok: true,
		},
		"success without JSON": {
			answer:  func(context.Context, string, int) (batch.Answer, error) { return batchtest.Status(200, "<html>"), nil },
			retries: 1, calls: 2, code: "upstream_error",
		},
		"cut JSON": {
			answer: func(_ context.Context, id string, call int) (batch.Answer, error) {
				if call == 1 {
					return batchtest.Status(200, `{"echo":`), nil
				}
				return batchtest.OK(id), nil
			},
			calls: 2, ok: true,
		},
		"an error of the server's own costs nothing": {
			answer: func(_ context.Context, id string, call int) (batch.Answer, error) {
				if call < 20 {
					return batch.Answer{Status: 401, Next: batch.Elsewhere, Reason: "it refuses the gateway's key"}, nil
				}
				return batchtest.OK(id), nil
			},
			retries: 1, calls: 20, ok: true,
		},
		"NaN": {
			answer: func(context.Context, string, int) (batch.Answer, error) {
				return batchtest.Status(200, `{"embedding":[1,NaN]}`), nil
			},
			retries: 8, calls: 1, code: "invalid_answer",
		},
		"bytes that are not UTF-8": {
			answer: func(context.Context, string, int) (batch.Answer, error) {
				return batchtest.Status(200, "{\"text\":\"a\xffb\"}"), nil
			},
			retries: 8, calls: 1, code: "invalid_answer",
		},
		"an answer that cannot be decoded": {
			answer: func(context.Context, string, int) (batch.Answer, error) {
				return batch.Answer{}, &batch.SendError{Sent: true, Unreadable: true, Err: sent}
			},
			retries: 8, calls: 1, code: "upstream_error",
		},
		"an error page": {
			answer: func(context.Context, string, int) (batch.Answer, error) {
				return batchtest.Status(404, "<html>\n</html>"), nil
			},
			calls: 1, status: 404,
		},
		"too large": {
			answer: func(context.Context, string, int) (batch.Answer, error) {
				return batch.Answer{}, &batch.SendError{Sent: true, TooLarge: true, Err: sent}
			},
			calls: 1, code: "upstream_error",
		},
		"it takes its server down": {
			answer: func(context.Context, string, int) (batch.Answer, error) {
				return batch.Answer{}, &batch.SendError{Sent: true, Crashed: true, Err: sent}
			},
			calls: 3, code: "upstream_error",
		},
		"it hangs": {
			answer: func(ctx context.Context, _ string, _ int) (batch.Answer, error) {
				<-ctx.Done()
				return batch.Answer{}, &batch.SendError{Sent: true, Err: ctx.Err()}
			},
			calls: 2, code: "request_timeout",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, batch.Config{Retries: tt.retries, LineTimeout: batchtest.Patience})
			if tt.code == "request_timeout" {
				h.Config.LineTimeout = 20 * time.Millisecond
			}
			const odd = 40 // the line that the answer is for
			h.Pool.Answer = func(ctx context.Context, id string, call int) (batch.Answer, error) {
				if id != batchtest.CustomID(odd) {
					return batchtest.OK(id), nil
				}
				return tt.answer(ctx, id, call)
			}
			h.Open()
			b := h.Wait(h.Create(h.Upload(batchtest.Input(70))))
			if b.Status != batch.Completed {
				t.Errorf("status %s", b.Status)
			}
			errs := h.Check(b, 70)
			h.Pool.Lock()
			calls := h.Pool.Calls[batchtest.CustomID(odd)]
			h.Pool.Unlock()
			if calls != tt.calls {
				t.Errorf("%d calls, want %d", calls, tt.calls)
			}
			if tt.ok {
				if len(errs) > 0 || b.Counts.Failed != 0 {
					t.Errorf("errors %+v, counts %+v", errs, b.Counts)
				}
				return
			}
			if len(errs) != 1 || errs[0].CustomID != batchtest.CustomID(odd) || b.Counts.Failed != 1 || b.Counts.Completed != 69 {
				t.Fatalf("errors %+v, counts %+v", errs, b.Counts)
			}
			e := errs[0]
			switch {
			case tt.status == 0 && (e.Response != nil || e.Error == nil || e.Error.Code != tt.code || e.Error.Message == ""):
				t.Errorf("got %+v %+v, want code %s", e.Response, e.Error, tt.code)
			case tt.status != 0 && (e.Response == nil || e.Response.StatusCode != tt.status || e.Error != nil):
				t.Errorf("got %+v %+v, want status %d", e.Response, e.Error, tt.status)
			case tt.body != "" && string(e.Response.Body) != tt.body:
				t.Errorf("body %s, want %s", e.Response.Body, tt.body)
			}
		})
	}
}

// The results of a batch are bytes of the input's order even if it ran in
// another.
func TestResultsInInputOrder(t *testing.T) {
	t.Parallel()
	h := newHarness(t, batch.Config{MaxInFlight: 64})
	h.Pool.Answer = func(_ context.Context, id string, call int) (batch.Answer, error) {
		if call == 1 && strings.HasSuffix(id, "0") { // these come again, behind the others
			return batchtest.Status(429, "{}"), nil
		}
		return batchtest.OK(id), nil
	}
	h.Open()
	b := h.Wait(h.Create(h.Upload(batchtest.Input(320))))
	h.Check(b, 320)
	records := h.Read(b.OutputFileID)
	if !slices.IsSortedFunc(records, func(a, b batchtest.Record) int { return bytes.Compare([]byte(a.CustomID), []byte(b.CustomID)) }) {
		t.Error("not in input order")
	}
}

// A line that kills its server is given up; lines that ran beside it are not.
func TestPoisonConvictsOnlyItself(t *testing.T) {
	t.Parallel()
	h := newHarness(t, batch.Config{MaxInFlight: 32})
	var mu sync.Mutex
	die := make(chan struct{})
	h.Pool.Answer = func(ctx context.Context, id string, _ int) (batch.Answer, error) {
		mu.Lock()
		dead := die
		mu.Unlock()
		if id == batchtest.CustomID(7) {
			mu.Lock()
			close(die) // all other requests on the server fail with it
			die = make(chan struct{})
			mu.Unlock()
			return batch.Answer{}, &batch.SendError{Sent: true, Crashed: true, Err: io.ErrUnexpectedEOF}
		}
		select {
		case <-dead:
			return batch.Answer{}, &batch.SendError{Sent: true, Crashed: true, Err: io.ErrUnexpectedEOF}
		case <-time.After(2 * time.Millisecond): // the time that an answer takes
			return batchtest.OK(id), nil
		case <-ctx.Done():
			return batch.Answer{}, ctx.Err()
		}
	}
	h.Open()
	b := h.Wait(h.Create(h.Upload(batchtest.Input(200))))
	errs := h.Check(b, 200)
	if len(errs) != 1 || errs[0].CustomID != batchtest.CustomID(7) {
		t.Errorf("given up: %+v", errs)
	}
}
