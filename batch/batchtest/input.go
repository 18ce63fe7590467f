package batchtest

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/tidegate/tidegate/batch"
)

// CustomID is the custom_id of line i of an input, from 0. Pool reads it from the prompt.
func CustomID(i int) string { return fmt.Sprintf("line-%05d", i) }

// Input returns n requests for the model m.
func Input(n int) string { return InputFor(n, "m") }

// InputFrom is Input with n lines from line first on.
func InputFrom(first, n int) string {
	all := Input(first + n)
	return all[len(all)*first/(first+n):] // all lines are equally long
}

// InputFor is Input for another model.
func InputFor(n int, model string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"custom_id":"%s","method":"POST","url":"/v1/chat/completions","body":{"model":"%s","messages":[{"role":"user","content":"%s"}]}}`+"\n", CustomID(i), model, CustomID(i))
	}
	return b.String()
}

// Echo is the body of the default answer to a line.
func Echo(id string) string {
	return fmt.Sprintf(`{"echo":"%s","usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}`, id)
}

// OK is the default answer to a line.
func OK(id string) batch.Answer {
	return batch.Answer{Status: http.StatusOK, Header: http.Header{}, Body: []byte(Echo(id))}
}

// Status is an answer with a status. Statuses that may be temporary cost a retry.
func Status(code int, body string) batch.Answer {
	a := batch.Answer{Status: code, Header: http.Header{}, Body: []byte(body)}
	if code == http.StatusTooManyRequests || code >= http.StatusInternalServerError {
		a.Next = batch.Again
	}
	return a
}

// Answer answers a line by its custom_id; call counts the calls for it, from 1.
type Answer func(ctx context.Context, id string, call int) (batch.Answer, error)

// Behind returns OK for each call, after gate is closed.
func Behind(gate <-chan struct{}) Answer {
	return func(ctx context.Context, id string, _ int) (batch.Answer, error) {
		select {
		case <-gate:
			return OK(id), nil
		case <-ctx.Done():
			return batch.Answer{}, ctx.Err()
		}
	}
}

// Never answers no call.
func Never() Answer { return Behind(nil) }

// First answers the first n calls, and the others after open was called.
func First(n int64) (answer Answer, open func()) {
	gate := make(chan struct{})
	others := Behind(gate)
	var calls atomic.Int64
	return func(ctx context.Context, id string, call int) (batch.Answer, error) {
		if calls.Add(1) <= n {
			return OK(id), nil
		}
		return others(ctx, id, call)
	}, func() { close(gate) }
}
