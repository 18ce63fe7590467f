package upstreams

import (
	"io"
	"math/rand/v2"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// withEOF is a body whose last read returns io.EOF together with bytes, as the bodies of HTTP
// often do.
type withEOF struct{ pieces }

func (w *withEOF) Read(b []byte) (int, error) {
	n, err := w.pieces.Read(b)
	if err == nil && len(w.parts) == 0 {
		err = io.EOF
	}
	return n, err
}

// cutAt returns the parts of a text between positions in ascending order.
func cutAt(text string, at []int) (parts []string) {
	from := 0
	for _, to := range append(at, len(text)) {
		if to > from {
			parts = append(parts, text[from:to])
			from = to
		}
	}
	return parts
}

// What a client gets of a stream, its usage, and whether the server failed do not depend on
// how reads cut the stream, also with events that are larger than the buffer. It finds events
// that are not examined because they arrive together with the rest of a large event and the
// end of the stream: usage that the client did not ask for, and errors that are not recorded.
func TestStreamDoesNotDependOnReads(t *testing.T) {
	f := newFake(t)
	p := startPool(t, calm(f.URL))
	large := func(n int) string {
		return `data: {"choices":[{"text":"` + strings.Repeat("a", n) + `"}]}` + "\n\n"
	}
	const (
		failure = `data: {"error":{"message":"x","code":500}}` + "\n\n"
		comment = ": alive\n\n"
	)
	check := func(events []string, at []int, eof bool) {
		t.Helper()
		want, fails := "", false
		for _, e := range events {
			if !fails && e != sseUsage {
				want += e
			}
			fails = fails || e == failure
		}
		body := &withEOF{pieces{parts: cutAt(strings.Join(events, ""), at), before: func() {}}}
		w := httptest.NewRecorder()
		l := newRelay(t, p, w)
		if eof {
			l.relay(t, p, true, body)
		} else {
			l.relay(t, p, true, &body.pieces)
		}
		if got := w.Body.String(); got != want || l.cutOff != fails {
			t.Fatalf("events %s, cut at %v, EOF with bytes %t: got %s (failed %t), want %s (failed %t)", short(events...), at, eof, short(got), l.cutOff, short(want), fails)
		}
		if known := slices.Contains(events, sseUsage); !fails && (l.done.HasUsage != known || known && l.done.Usage != usageOf(3, 4)) {
			t.Fatalf("events %s, cut at %v, EOF with bytes %t: got usage %+v (known %t)", short(events...), at, eof, l.done.Usage, l.done.HasUsage)
		}
	}
	// The reviewed case: the rest of a large event, what follows and the end in one read.
	for _, last := range []string{sseUsage + sseDone, failure + sseDone, failure} {
		events := append([]string{sseEvent, large(eventLimit)}, strings.SplitAfter(last, "\n\n")...)
		for _, at := range [][]int{nil, {len(sseEvent)}, {len(sseEvent) + eventLimit}, {len(sseEvent), len(sseEvent) + eventLimit}} {
			check(events, at, true)
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		events := []string{sseEvent}
		for range random.IntN(6) {
			switch random.IntN(6) {
			case 0:
				events = append(events, large(random.IntN(2*eventLimit)))
			case 1:
				events = append(events, large(eventLimit+random.IntN(20)-40)) // about the size of the buffer
			case 2:
				events = append(events, sseUsage)
			case 3:
				events = append(events, comment)
			case 4:
				events = append(events, sseEvent)
			case 5:
				if random.IntN(3) == 0 {
					events = append(events, failure)
				}
			}
		}
		events = append(events, sseDone)
		size := len(strings.Join(events, ""))
		for range 4 {
			var at []int
			for range random.IntN(5) {
				at = append(at, random.IntN(size), max(0, size-random.IntN(300)))
			}
			slices.Sort(at)
			check(events, at, random.IntN(2) == 0)
		}
	}
}

// short returns texts without their repeated letters.
func short(texts ...string) string {
	text := strings.Join(texts, "")
	for strings.Contains(text, "aaaaaaaa") {
		text = strings.ReplaceAll(text, "aaaaaaaa", "a")
	}
	return text
}
