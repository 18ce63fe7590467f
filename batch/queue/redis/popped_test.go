package redis

import (
	"slices"
	"strconv"
	"testing"
)

func TestPopped(t *testing.T) {
	p := newPopped(100)
	p.add("a", []entry{{1, "1-0"}, {2, "2-0"}, {1, "3-0"}, {1, "1-0"}})
	p.add("b", []entry{{1, "4-0"}})
	if ids := idsOf(p.take("a", []int{1, 7})); !slices.Equal(ids, []string{"1-0", "3-0"}) {
		t.Errorf("taken: %v", ids)
	}
	if again := p.take("a", []int{1}); again != nil {
		t.Errorf("taken twice: %v", again)
	}
	p.drop("a")
	if dropped := p.take("a", []int{2}); dropped != nil {
		t.Errorf("dropped, but there: %v", dropped)
	}
	p.take("b", []int{1})
	if p.count != 0 || len(p.young)+len(p.old) != 0 {
		t.Errorf("empty popped: got count %d, entries %v and %v, want none", p.count, p.young, p.old)
	}
}

func TestPoppedIsBounded(t *testing.T) {
	const limit = 50
	p := newPopped(limit)
	for i := range 1000 {
		p.add("batch"+strconv.Itoa(i%7), []entry{{i, strconv.Itoa(i)}})
	}
	held := 0
	for _, g := range []generation{p.young, p.old} {
		for _, b := range g {
			held += len(b)
		}
	}
	if held > 2*limit {
		t.Errorf("%d are held", held)
	}
	for i := 1000 - limit; i < 1000; i++ { // the newest are, in any case
		if got := p.take("batch"+strconv.Itoa(i%7), []int{i}); len(got) != 1 {
			t.Errorf("%d is forgotten", i)
		}
	}
}
