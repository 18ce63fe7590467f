package memory

import (
	"slices"
	"testing"

	"go.uber.org/goleak"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/queue/queuetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSuite(t *testing.T) {
	queuetest.Run(t, func(*testing.T) batch.Queue { return New() })
}

func pop(t *testing.T, q *Queue, n int) []int {
	t.Helper()
	got, err := q.Pop(t.Context(), "b", n)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestOrderAndSet(t *testing.T) {
	q := New()
	for _, step := range []struct {
		name       string
		push, done []int
		pop        int
		want       []int
	}{
		{"in the order of pushing", []int{3, 1, 2}, nil, 2, []int{3, 1}},
		{"queued already: not twice", []int{2, 2}, nil, 9, []int{2}},
		{"popped: may come again", []int{2, 3}, nil, 9, []int{2, 3}},
		{"done: is not delivered", []int{5, 6, 7}, []int{6}, 9, []int{5, 7}},
		{"done twice and pushed again", []int{5}, []int{5, 5}, 9, nil},
	} {
		if err := q.Push(t.Context(), "b", step.push); err != nil {
			t.Fatal(err)
		}
		if err := q.Done(t.Context(), "b", step.done); err != nil {
			t.Fatal(err)
		}
		if got := pop(t, q, step.pop); !slices.Equal(got, step.want) {
			t.Errorf("%s: got %v, want %v", step.name, got, step.want)
		}
	}
}

func TestMemoryIsBoundedByWhatIsQueued(t *testing.T) {
	q := New()
	if err := q.Push(t.Context(), "b", []int{0}); err != nil {
		t.Fatal(err)
	}
	for range 10_000 {
		if err := q.Push(t.Context(), "b", []int{1, 2, 3}); err != nil {
			t.Fatal(err)
		}
		if err := q.Done(t.Context(), "b", []int{1, 2, 3}); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(q.batches["b"].order); n > 100 {
		t.Errorf("%d places are held for 1 number", n)
	}
	if got := pop(t, q, 9); !slices.Equal(got, []int{0}) {
		t.Errorf("got %v", got)
	}
	if len(q.batches) != 0 {
		t.Error("an empty batch is kept")
	}
}

func TestWakesAreMerged(t *testing.T) {
	q := New()
	for range 100 { // must not block
		if err := q.Notify(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	<-q.Wake()
	select {
	case <-q.Wake():
		t.Error("more than one wake was pending")
	default:
	}
}

func TestRetain(t *testing.T) {
	q := New()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	retain := func(active ...string) {
		q.Retain(func(id string) bool { return slices.Contains(active, id) })
	}
	for _, id := range []string{"runs", "over", "begins"} {
		must(q.Push(t.Context(), id, []int{1, 2}))
	}
	retain("runs") // the list of active batches may be older than the last Push
	must(q.Push(t.Context(), "begins", []int{3}))
	retain("runs")
	for id, want := range map[string]int{"runs": 2, "over": 0, "begins": 3} {
		if got, err := q.Pop(t.Context(), id, 10); err != nil || len(got) != want {
			t.Errorf("%s has %v, %v; want %d", id, got, err, want)
		}
	}
	must(q.Push(t.Context(), "back", []int{1}))
	retain()
	retain("back")
	retain()
	if got, err := q.Pop(t.Context(), "back", 10); err != nil || len(got) != 1 {
		t.Errorf("one that was active in between has %v, %v", got, err)
	}
}
