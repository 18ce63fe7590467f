package upstreams

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

const flexBody = `{"model":"m","messages":[{"role":"user","content":"hi"}],"service_tier":"flex"}`

// Flex requests take what live requests leave, as batch lines do, and wait for it.
func TestFlexTakesWhatLiveLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newQueueWorld(t, Config{BatchShare: 0.5, QueueSize: 2}, 4)
		w.send("live", "k")
		for i := range 4 {
			w.sendBody(fmt.Sprint("flex", i), "k", endpoint, flexBody)
		}
		w.wantArrived("live", "flex0", "flex1")
		w.wantQueue(QueueStatus{Model: model, Class: "flex", Waiting: 2})
		w.sendBody("refused", "k", endpoint, flexBody).wantRefused(t, http.StatusTooManyRequests, "resource_unavailable")
		if s := statusOf(t, w.Pool, "http://s0:80"); s.LiveInFlight != 1 || s.BatchInFlight != 2 {
			t.Errorf("%d live and %d batch in flight, want 1 and 2", s.LiveInFlight, s.BatchInFlight)
		}
		// Live requests come as if they were not there, and before them.
		for i := range 3 {
			w.send(fmt.Sprint("more", i), "k")
		}
		w.wantArrived("live", "flex0", "flex1", "more0", "more1", "more2")
		w.answer(answerJSON) // live
		w.answer(answerJSON) // flex0: 3 live and 1 flex fill the server
		w.wantArrived("live", "flex0", "flex1", "more0", "more1", "more2")
		w.finish()
		w.wantArrived("live", "flex0", "flex1", "more0", "more1", "more2", "flex2", "flex3")
		for _, d := range w.done {
			if want := d.Model == model && d.Status == http.StatusOK || d.Status == http.StatusTooManyRequests; !want {
				t.Errorf("%+v", d)
			}
		}
	})
}

func TestFlexTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newQueueWorld(t, Config{BatchShare: 0.5, QueueTimeout: 5 * time.Second}, 2)
		w.send("live1", "k")
		w.send("live2", "k")
		q := w.sendBody("flex", "k", "/v1/responses", `{"model":"m","input":"hi","service_tier":"flex"}`)
		time.Sleep(5 * time.Second)
		q.wantRefused(t, http.StatusTooManyRequests, "resource_unavailable")
		w.finish()
	})
}

// Batch lines do not overtake requests that wait, and come on when these are gone.
func TestBatchLinesLetFlexGoFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newQueueWorld(t, Config{BatchShare: 0.5}, 2)
		slot, err := w.Reserve(model, "")
		if err != nil {
			t.Fatal(err)
		}
		w.sendBody("flex", "k", endpoint, flexBody)
		drained(w.Pool)
		if _, err := w.Reserve(model, ""); !errors.Is(err, ErrBusy) || w.Free(model) {
			t.Errorf("Reserve beside a flex request that waits: %v, want %v", err, ErrBusy)
		}
		slot.Release()
		synctest.Wait()
		w.wantArrived("flex")
		drained(w.Pool)
		if _, err := w.Reserve(model, ""); !errors.Is(err, ErrBusy) {
			t.Errorf("Reserve beside a flex request that runs: %v, want %v", err, ErrBusy)
		}
		drained(w.Pool)
		w.answer(answerJSON)
		<-w.Freed()
		slot, err = w.Reserve(model, "")
		if err != nil {
			t.Errorf("Reserve after the flex request: %v", err)
		}
		// A request that gives up also lets batch lines continue.
		q := w.sendBody("leaves", "k", endpoint, flexBody)
		slot.Release()
		synctest.Wait()
		w.answer(answerJSON)
		<-q.ended
		slot, err = w.Reserve(model, "")
		if err != nil {
			t.Fatal(err)
		}
		q = w.sendBody("leaves", "k", endpoint, flexBody)
		drained(w.Pool)
		if _, err := w.Reserve(model, ""); !errors.Is(err, ErrBusy) {
			t.Errorf("Reserve: %v, want %v", err, ErrBusy)
		}
		q.cancel()
		<-q.ended
		<-w.Freed()
		slot.Release()
		w.wantEmpty()
	})
}

// The body, the client's key and the answer pass as they are, streams as well. The usage of a
// stream is asked for as that of other live requests.
func TestFlexPassesAsItIs(t *testing.T) {
	f := newFake(t)
	bodies := make(chan [2]string, 1)
	set(&f.serve, func(w http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		bodies <- [2]string{string(text), r.Header.Get("Authorization")}
		streamed(sseEvent, sseUsage, sseDone)(w, r)
	})
	g := newGateway(t, startPool(t, calm(f.URL)))
	const body = ` {"stream":true, "service_tier" : "flex","messages":[],"model":"m"}`
	a := g.post(t, endpoint, body, "Authorization", "Bearer mine")
	a.wantOK(t, sseEvent+sseDone)
	if got := receive(t, "the body", bodies); got != [2]string{` {"stream_options":{"include_usage":true},` + body[2:], "Bearer mine"} {
		t.Errorf("the server got %q", got)
	}
	done := g.recorded(t, 1)
	if done.Class != Batch || done.TTFT == 0 || done.Usage.OutputTokens != 4 {
		t.Errorf("recorded as %+v", done)
	}
	if ttft := g.pool.Recent()[f.URL].TTFT; ttft.N != 0 {
		t.Errorf("the time to its first token counts as that of %d live requests", ttft.N)
	}
	if got := f.calls.Load(); got != 1 {
		t.Errorf("%d calls, want 1", got)
	}
}

// Other routes and other tiers are live.
func TestOtherTiersAreLive(t *testing.T) {
	f := newFake(t)
	g := newGateway(t, startPool(t, calm(f.URL)))
	for i, test := range []struct{ path, body string }{
		{"/v1/completions", `{"model":"m","prompt":"hi","service_tier":"flex"}`},
		{endpoint, `{"model":"m","messages":[],"service_tier":"auto"}`},
		{endpoint, `{"model":"m","messages":[{"role":"user","content":"\"service_tier\":\"flex\""}]}`},
		{endpoint, `{"model":"m","messages":[],"metadata":{"service_tier":"flex"}}`},
	} {
		g.post(t, test.path, test.body).wantOK(t, jsonAnswer)
		if done := g.recorded(t, i+1); done.Class != Live {
			t.Errorf("%s %s is %s, want live", test.path, test.body, done.Class)
		}
	}
}
