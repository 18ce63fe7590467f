package modellabel_test

import (
	"fmt"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/tidegate/tidegate/internal/modellabel"
)

func TestLabelsAreBounded(t *testing.T) {
	var set modellabel.Set
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for n := range 10 * modellabel.Limit {
				set.Of(fmt.Sprintf("model-%d-%d", i, n))
			}
		})
	}
	all.Wait()
	labels := make(map[string]bool)
	for i := range 8 {
		for n := range 10 * modellabel.Limit {
			labels[set.Of(fmt.Sprintf("model-%d-%d", i, n))] = true
		}
	}
	if got, want := len(labels), modellabel.Limit+1; got != want {
		t.Errorf("got %d labels, want %d", got, want)
	}
	if !labels[modellabel.Other] {
		t.Errorf("no model beyond the limit has the label %q", modellabel.Other)
	}
}

func TestPeekGivesNoLabel(t *testing.T) {
	var set modellabel.Set
	for model, want := range map[string]string{"a": modellabel.Other, "": modellabel.Other} {
		if got := set.Peek(model); got != want {
			t.Errorf("the label of %q is %q, want %q", model, got, want)
		}
	}
	set.Of("a")
	if got := set.Peek("a"); got != "a" {
		t.Errorf("the label of a model that has one is %q, want %q", got, "a")
	}
}

func TestLabelOf(t *testing.T) {
	for model, want := range map[string]string{
		"tide-7b":       "tide-7b",
		"org/name:v1 ü": "org/name:v1 ü",
		"":              modellabel.Other,
		"bad\xff":       "bad\uFFFD",
	} {
		var set modellabel.Set
		for range 2 { // the second time it is known
			if got := set.Of(model); got != want || !utf8.ValidString(got) {
				t.Errorf("the label of %q is %q, want %q", model, got, want)
			}
		}
	}
}
