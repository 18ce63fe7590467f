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
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/queue/memory"
	"github.com/tidegate/tidegate/internal/openai"
)

func TestEveryLineEndsOnce(t *testing.T) {
	for _, n := range []int{1, 63, 64, 65, 1000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			h := newHouse(t, batch.Config{MaxInFlight: 50})
			h.open()
			b := h.wait(h.create(h.upload(input(n))))
			if b.Status != batch.Completed || b.ErrorFileID != "" || b.Model != "m" {
				t.Errorf("%+v", b)
			}
			h.check(b, n)
			if want := (openai.RequestCounts{Total: int64(n), Completed: int64(n)}); b.Counts != want {
				t.Errorf("counts %+v, want %+v", b.Counts, want)
			}
			if b.Usage.InputTokens != int64(3*n) || b.Usage.OutputTokens != int64(2*n) || b.Usage.TotalTokens != int64(5*n) {
				t.Errorf("usage %+v", b.Usage)
			}
			if r := h.pool.repeated(); r != 0 {
				t.Errorf("%d calls repeated", r)
			}
			if h.pool.most > 50 {
				t.Errorf("%d lines in flight at once, at most 50 allowed", h.pool.most)
			}
		})
	}
}

func TestAnswers(t *testing.T) {
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
				return status(400, `{"error":{"message":"no"}}`), nil
			},
			calls: 1, status: 400, body: `{"error":{"message":"no"}}`,
		},
		"pretty JSON becomes one line": {
			answer: func(context.Context, string, int) (batch.Answer, error) {
				return status(422, "{\n \"a\": 1.0,\r\n \"b\": \"x y\"\n}"), nil
			},
			calls: 1, status: 422, body: `{"a":1.0,"b":"x y"}`,
		},
		"a passing error is retried": {
			answer: func(_ context.Context, id string, call int) (batch.Answer, error) {
				if call < 3 {
					return status(503, "busy"), nil
				}
				return ok(id), nil
			},
			calls: 3, ok: true,
		},
		"a passing error that does not pass": {
			answer:  func(context.Context, string, int) (batch.Answer, error) { return status(500, `{"e":1}`), nil },
			retries: 2, calls: 3, status: 500, body: `{"e":1}`,
		},
		"a broken connection is retried": {
			answer: func(_ context.Context, id string, call int) (batch.Answer, error) {
				if call == 1 {
					return batch.Answer{}, &batch.SendError{Sent: true, Err: sent}
				}
				return ok(id), nil
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
				return ok(id), nil
			},
			retries: 1, calls: 20, ok: true,
		},
		"success without JSON": {
			answer:  func(context.Context, string, int) (batch.Answer, error) { return status(200, "<html>"), nil },
			retries: 1, calls: 2, code: "upstream_error",
		},
		"cut JSON": {
			answer: func(_ context.Context, id string, call int) (batch.Answer, error) {
				if call == 1 {
					return status(200, `{"echo":`), nil
				}
				return ok(id), nil
			},
			calls: 2, ok: true,
		},
		"an error of the server's own costs nothing": {
			answer: func(_ context.Context, id string, call int) (batch.Answer, error) {
				if call < 20 {
					return batch.Answer{Status: 401, Next: batch.Elsewhere, Reason: "it refuses the gateway's key"}, nil
				}
				return ok(id), nil
			},
			retries: 1, calls: 20, ok: true,
		},
		"NaN": {
			answer: func(context.Context, string, int) (batch.Answer, error) {
				return status(200, `{"embedding":[1,NaN]}`), nil
			},
			retries: 8, calls: 1, code: "invalid_answer",
		},
		"bytes that are not UTF-8": {
			answer: func(context.Context, string, int) (batch.Answer, error) {
				return status(200, "{\"text\":\"a\xffb\"}"), nil
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
			answer: func(context.Context, string, int) (batch.Answer, error) { return status(404, "<html>\n</html>"), nil },
			calls:  1, status: 404,
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
			h := newHouse(t, batch.Config{Retries: tt.retries, LineTimeout: patience})
			if tt.code == "request_timeout" {
				h.cfg.LineTimeout = 20 * time.Millisecond
			}
			const odd = 40 // the line that the answer is for
			h.pool.answer = func(ctx context.Context, id string, call int) (batch.Answer, error) {
				if id != customID(odd) {
					return ok(id), nil
				}
				return tt.answer(ctx, id, call)
			}
			h.open()
			b := h.wait(h.create(h.upload(input(70))))
			if b.Status != batch.Completed {
				t.Errorf("status %s", b.Status)
			}
			errs := h.check(b, 70)
			h.pool.mu.Lock()
			calls := h.pool.calls[customID(odd)]
			h.pool.mu.Unlock()
			if calls != tt.calls {
				t.Errorf("%d calls, want %d", calls, tt.calls)
			}
			if tt.ok {
				if len(errs) > 0 || b.Counts.Failed != 0 {
					t.Errorf("errors %+v, counts %+v", errs, b.Counts)
				}
				return
			}
			if len(errs) != 1 || errs[0].CustomID != customID(odd) || b.Counts.Failed != 1 || b.Counts.Completed != 69 {
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

// gate has every call wait until it is opened.
type gate struct{ open chan struct{} }

func (g gate) answer(ctx context.Context, id string, _ int) (batch.Answer, error) {
	select {
	case <-g.open:
		return ok(id), nil
	case <-ctx.Done():
		return batch.Answer{}, ctx.Err()
	}
}

// newHeldHouse opens a house with a batch of lines, of which as many as MaxInFlight run.
// They and all further ones are answered when hold is closed.
func newHeldHouse(t *testing.T, cfg batch.Config, lines int) (h *house, id string, hold chan struct{}) {
	t.Helper()
	h, hold = newHouse(t, cfg), make(chan struct{})
	h.pool.answer = gate{hold}.answer
	h.pool.received = make(chan string, 3000)
	h.open()
	id = h.create(h.upload(input(lines)))
	for range cfg.MaxInFlight {
		<-h.pool.received
	}
	return h, id, hold
}

// letSome answers the first n calls and holds the others.
func letSome(n int64) (answer func(context.Context, string, int) (batch.Answer, error), open func()) {
	g := gate{make(chan struct{})}
	var let atomic.Int64
	return func(ctx context.Context, id string, call int) (batch.Answer, error) {
		if let.Add(1) <= n {
			return ok(id), nil
		}
		return g.answer(ctx, id, call)
	}, func() { close(g.open) }
}

// waitCounted waits until that many lines are durable, without looking at
// anything else.
func (h *house) waitCounted(id string, n int64) {
	h.t.Helper()
	deadline := time.Now().Add(patience)
	for h.get(id).Counts.Completed < n {
		if time.Now().After(deadline) {
			h.t.Fatalf("only %d lines counted", h.get(id).Counts.Completed)
		}
	}
}

func TestCancelKeepsWhatFinished(t *testing.T) {
	h := newHouse(t, batch.Config{MaxInFlight: 20})
	h.pool.answer, _ = letSome(100)
	h.open()
	id := h.create(h.upload(input(500)))
	h.waitCounted(id, 100)
	if b, err := h.engine.CancelBatch(t.Context(), tenant, id); err != nil || b.Status != batch.Cancelling {
		t.Fatalf("%v, %v", b.Status, err)
	}
	b := h.wait(id)
	if b.Status != batch.Cancelled || b.Counts != (openai.RequestCounts{Total: 500, Completed: 100}) {
		t.Errorf("%s %+v", b.Status, b.Counts)
	}
	errs := h.check(b, 500)
	for _, e := range errs {
		if e.Error == nil || e.Error.Code != "batch_cancelled" {
			t.Fatalf("%+v", e)
		}
	}
	if b, err := h.engine.CancelBatch(t.Context(), tenant, id); err != nil || b.Status != batch.Cancelled {
		t.Errorf("again: %v, %v", b.Status, err)
	}
}

func TestCancelBeforeValidation(t *testing.T) {
	h := newHouse(t, batch.Config{})
	h.pool.settled, h.pool.models = false, nil // validation waits
	h.open()
	id := h.create(h.upload(input(130)))
	if _, err := h.engine.CancelBatch(t.Context(), tenant, id); err != nil {
		t.Fatal(err)
	}
	h.pool.set(func() { h.pool.settled, h.pool.models = true, map[string]bool{"m": true} })
	b := h.wait(id)
	if b.Status != batch.Cancelled || b.Counts != (openai.RequestCounts{Total: 130}) {
		t.Errorf("%s %+v", b.Status, b.Counts)
	}
	if errs := h.check(b, 130); len(errs) != 130 || errs[0].Error.Code != "batch_cancelled" {
		t.Errorf("%d errors", len(errs))
	}
	if len(h.pool.calls) != 0 {
		t.Errorf("%d lines were run", len(h.pool.calls))
	}
}

func TestDeadline(t *testing.T) {
	h := newHouse(t, batch.Config{MaxInFlight: 20, ExpireInterval: 5 * time.Millisecond})
	h.pool.answer, _ = letSome(50)
	h.open()
	b := h.wait(h.createFor(h.upload(input(200)), time.Second))
	if b.Status != batch.Expired || b.Counts != (openai.RequestCounts{Total: 200, Completed: 50}) {
		t.Errorf("%s %+v", b.Status, b.Counts)
	}
	if errs := h.check(b, 200); len(errs) != 150 || errs[0].Error.Code != "batch_expired" {
		t.Errorf("%d errors", len(errs))
	}
}

func TestRestartGoesOn(t *testing.T) {
	h := newHouse(t, batch.Config{MaxInFlight: 30})
	answer, open := letSome(333)
	h.pool.answer = answer
	h.open()
	id := h.create(h.upload(input(1000)))
	h.waitCounted(id, 333)
	h.close(0) // lines that run are aborted and handed back
	h.open()
	open()
	b := h.wait(id)
	h.check(b, 1000)
	if r := h.pool.repeated(); r > 30 {
		t.Errorf("%d calls repeated, at most 30 were in flight", r)
	}
}

func TestDrainLetsLinesFinish(t *testing.T) {
	h := newHouse(t, batch.Config{MaxInFlight: 30})
	answer, open := letSome(100)
	h.pool.answer = answer
	h.pool.received = make(chan string, 1000)
	h.open()
	id := h.create(h.upload(input(300)))
	for range 130 {
		<-h.pool.received
	}
	time.AfterFunc(50*time.Millisecond, open)
	h.close(patience)
	h.open()
	b := h.wait(id)
	h.check(b, 300)
	if r := h.pool.repeated(); r != 0 {
		t.Errorf("%d calls repeated: running lines were to finish", r)
	}
}

func TestStoreAway(t *testing.T) {
	for name, away := range map[string]error{"disk full": batch.ErrNoSpace, "store gone": batch.ErrUnavailable} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, batch.Config{MaxInFlight: 25})
			h.open()
			refused := make(chan struct{}, 1000)
			var back atomic.Bool
			hook := func([]batch.SegmentWrite) error {
				if back.Load() {
					return nil
				}
				refused <- struct{}{}
				return away
			}
			h.store.commit.Store(&hook)
			id := h.create(h.upload(input(200)))
			<-refused
			<-refused
			if health := h.engine.Health(t.Context()); len(health.Paused) == 0 || !strings.Contains(health.Paused[0], away.Error()) {
				t.Errorf("health does not say why: %+v", health)
			}
			h.pool.mu.Lock()
			started := len(h.pool.calls)
			h.pool.mu.Unlock()
			if started > 25 {
				t.Errorf("%d lines were run though nothing could be committed", started)
			}
			back.Store(true)
			b := h.wait(id)
			h.check(b, 200)
			if r := h.pool.repeated(); r != 0 {
				t.Errorf("%d calls repeated: results were to be held", r)
			}
			if health := h.engine.Health(t.Context()); !health.OK() {
				t.Errorf("health stays bad: %+v", health)
			}
		})
	}
}

func TestCommitOfUnknownOutcome(t *testing.T) {
	h := newHouse(t, batch.Config{MaxInFlight: 40})
	h.open()
	var n atomic.Int64
	hook := func(writes []batch.SegmentWrite) error {
		if n.Add(1)%2 == 1 {
			// Committed, but the answer is lost.
			if _, err := h.store.Store.CommitResults(t.Context(), writes); err != nil {
				return err
			}
			return fmt.Errorf("connection lost: %w", batch.ErrUnavailable)
		}
		return nil
	}
	h.store.commit.Store(&hook)
	b := h.wait(h.create(h.upload(input(300))))
	h.check(b, 300)
	if b.Counts.Completed != 300 || b.Usage.TotalTokens != 1500 {
		t.Errorf("counted twice: %+v %+v", b.Counts, b.Usage)
	}
}

func TestSmallBatchDoesNotWait(t *testing.T) {
	h := newHouse(t, batch.Config{MaxInFlight: 8, MaxConcurrentBatches: 2})
	h.open()
	large := h.upload(input(20_000))
	ids := []string{h.create(large), h.create(large), h.create(large)}
	small := h.create(h.upload(input(10)))
	if b := h.wait(small); b.Status != batch.Completed {
		t.Error(b.Status)
	}
	for _, id := range ids {
		if b := h.get(id); b.Status.Terminal() {
			t.Errorf("a batch of 20,000 ended before one of 10: %+v", b.Counts)
		}
		if _, err := h.engine.CancelBatch(t.Context(), tenant, id); err != nil {
			t.Error(err)
		}
		h.wait(id)
	}
}

func TestModelWithoutServerHoldsNobodyUp(t *testing.T) {
	h := newHouse(t, batch.Config{MaxInFlight: 8})
	h.pool.models["gone"] = true
	h.open()
	h.pool.set(func() { h.pool.down = true })
	id := h.create(h.upload(inputFor(20, "gone")))
	deadline := time.Now().Add(patience)
	for len(h.engine.Health(t.Context()).Paused) == 0 {
		if time.Now().After(deadline) {
			t.Fatal("health does not say that the model has no server")
		}
	}
	h.pool.set(func() { h.pool.down = false })
	h.check(h.wait(id), 20)
	if health := h.engine.Health(t.Context()); !health.OK() {
		t.Errorf("%+v", health)
	}
}

// A line that kills its server is given up; lines that ran beside it are not.
func TestPoisonConvictsOnlyItself(t *testing.T) {
	h := newHouse(t, batch.Config{MaxInFlight: 32})
	var mu sync.Mutex
	die := make(chan struct{})
	h.pool.answer = func(ctx context.Context, id string, _ int) (batch.Answer, error) {
		mu.Lock()
		dead := die
		mu.Unlock()
		if id == customID(7) {
			mu.Lock()
			close(die) // everybody on the server goes down with it
			die = make(chan struct{})
			mu.Unlock()
			return batch.Answer{}, &batch.SendError{Sent: true, Crashed: true, Err: io.ErrUnexpectedEOF}
		}
		select {
		case <-dead:
			return batch.Answer{}, &batch.SendError{Sent: true, Crashed: true, Err: io.ErrUnexpectedEOF}
		case <-time.After(2 * time.Millisecond): // the time that an answer takes
			return ok(id), nil
		case <-ctx.Done():
			return batch.Answer{}, ctx.Err()
		}
	}
	h.open()
	b := h.wait(h.create(h.upload(input(200))))
	errs := h.check(b, 200)
	if len(errs) != 1 || errs[0].CustomID != customID(7) {
		t.Errorf("given up: %+v", errs)
	}
}

// forgetful loses everything it is told, as a queue may.
type forgetful struct{ batch.Queue }

func (forgetful) Pop(context.Context, string, int) ([]int, error) { return nil, nil }
func (forgetful) Push(context.Context, string, []int) error       { return nil }
func (forgetful) Notify(context.Context) error                    { return nil }

// broken fails at everything.
type broken struct{ batch.Queue }

var errBroken = errors.New("queue is broken")

func (broken) Pop(context.Context, string, int) ([]int, error) { return nil, errBroken }
func (broken) Push(context.Context, string, []int) error       { return errBroken }
func (broken) Done(context.Context, string, []int) error       { return errBroken }
func (broken) Notify(context.Context) error                    { return errBroken }
func (broken) Ping(context.Context) error                      { return errBroken }

func TestQueueIsOnlyAHint(t *testing.T) {
	for name, queue := range map[string]func() batch.Queue{
		"forgetful": func() batch.Queue { return forgetful{memory.New()} },
		"broken":    func() batch.Queue { return broken{memory.New()} },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, batch.Config{})
			h.queue = queue
			h.open()
			h.check(h.wait(h.create(h.upload(input(500)))), 500)
		})
	}
}

func TestValidationFindings(t *testing.T) {
	good := strings.TrimSuffix(input(1), "\n")
	tests := map[string]struct {
		input string
		code  string
		line  int // 0 for none
		param string
	}{
		"no such model":   {inputFor(1, "mm"), "model_not_found", 1, "body.model"},
		"duplicate":       {good + "\n\n" + good, "duplicate_custom_id", 3, "custom_id"},
		"not JSON":        {good + "\r\n{", "invalid_json_line", 2, ""},
		"other endpoint":  {strings.Replace(good, "/v1/chat/completions", "/v1/embeddings", 1), "invalid_url", 1, "url"},
		"too many lines":  {input(11), "too_many_requests", 11, ""},
		"line too long":   {good + "\n{\"a\":\"" + strings.Repeat("x", 5000) + "\"}", "invalid_request", 2, ""},
		"streaming asked": {strings.Replace(good, `"model"`, `"stream":true,"model"`, 1), "streaming_unsupported", 1, "body.stream"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, batch.Config{MaxRequests: 10, MaxLineBytes: 4096})
			h.open()
			b := h.wait(h.create(h.upload(tt.input)))
			if b.Status != batch.Failed || len(b.Errors) != 1 || b.Counts != (openai.RequestCounts{}) {
				t.Fatalf("%s %+v %+v", b.Status, b.Errors, b.Counts)
			}
			e := b.Errors[0]
			line, param := 0, ""
			if e.Line != nil {
				line = *e.Line
			}
			if e.Param != nil {
				param = *e.Param
			}
			if e.Code != tt.code || line != tt.line || param != tt.param || e.Message == "" {
				t.Errorf("got %s line %d param %q (%s), want %s line %d param %q", e.Code, line, param, e.Message, tt.code, tt.line, tt.param)
			}
		})
	}
}

func TestFindingsAreBounded(t *testing.T) {
	h := newHouse(t, batch.Config{})
	h.open()
	content := input(1) + strings.Repeat("{}\n", 300)
	b := h.wait(h.create(h.upload(content)))
	if len(b.Errors) != 501 {
		t.Fatalf("%d findings", len(b.Errors))
	}
	if last := b.Errors[500]; !strings.Contains(last.Message, "more errors") {
		t.Errorf("%+v", last)
	}
}

func TestMissingInputFails(t *testing.T) {
	h := newHouse(t, batch.Config{})
	h.open()
	b := h.wait(h.create("file-doesnotexist"))
	if b.Status != batch.Failed || b.Errors[0].Code != "invalid_request" || *b.Errors[0].Param != "file_id" || b.Errors[0].Line != nil {
		t.Errorf("%+v", b)
	}
}

func TestInputDeletedMeanwhile(t *testing.T) {
	h := newHouse(t, batch.Config{MaxInFlight: 10, CollectInterval: time.Millisecond})
	answer, open := letSome(20)
	h.pool.answer = answer
	h.open()
	fileID := h.upload(input(400))
	id := h.create(fileID)
	h.waitCounted(id, 20)
	if err := h.store.DeleteFile(t.Context(), tenant, fileID); err != nil {
		t.Fatal(err)
	}
	open()
	b := h.wait(id)
	if b.Status != batch.Completed {
		t.Errorf("%+v", b)
	}
	h.check(b, 400)
}

// The results of a batch are bytes of the input's order even if it ran in
// another.
func TestResultsInInputOrder(t *testing.T) {
	h := newHouse(t, batch.Config{MaxInFlight: 64})
	h.pool.answer = func(_ context.Context, id string, call int) (batch.Answer, error) {
		if call == 1 && strings.HasSuffix(id, "0") { // these come again, behind the others
			return status(429, "{}"), nil
		}
		return ok(id), nil
	}
	h.open()
	b := h.wait(h.create(h.upload(input(320))))
	h.check(b, 320)
	records := h.read(b.OutputFileID)
	if !slices.IsSortedFunc(records, func(a, b record) int { return bytes.Compare([]byte(a.CustomID), []byte(b.CustomID)) }) {
		t.Error("not in input order")
	}
}

// Usage of live requests is summed in memory and is in the store at the latest
// when the engine has stopped.
