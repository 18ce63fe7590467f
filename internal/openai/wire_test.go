package openai

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestBatchWritesNullsOut(t *testing.T) {
	b, err := json.Marshal(Batch{})
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{
		"model", "errors", "output_file_id", "error_file_id", "in_progress_at", "expires_at", "finalizing_at", "completed_at",
		"failed_at", "expired_at", "cancelling_at", "cancelled_at",
	} {
		if !strings.Contains(string(b), `"`+field+`":null`) {
			t.Errorf("%s is not written as null in %s", field, b)
		}
	}
}

func TestNewList(t *testing.T) {
	id := func(s string) string { return s }
	for name, test := range map[string]struct {
		items []string
		more  bool
		want  string
	}{
		"none":    {nil, false, `{"object":"list","data":[],"first_id":null,"last_id":null,"has_more":false}`},
		"one":     {[]string{"a"}, false, `{"object":"list","data":["a"],"first_id":"a","last_id":"a","has_more":false}`},
		"several": {[]string{"a", "b", "c"}, true, `{"object":"list","data":["a","b","c"],"first_id":"a","last_id":"c","has_more":true}`},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := json.Marshal(NewList(test.items, test.more, id))
			if err != nil || string(b) != test.want {
				t.Errorf("got %s, %v; want %s", b, err, test.want)
			}
		})
	}
}

func TestUsageAdd(t *testing.T) {
	u := usageOf(1, 2, 3, 4, 5)
	u.Add(usageOf(10, 20, 30, 40, 50))
	if want := usageOf(11, 22, 33, 44, 55); u != want {
		t.Errorf("got %+v, want %+v", u, want)
	}
}
