package httpapi_test

import (
	"testing"

	"github.com/tidegate/tidegate/batch/httpapi"
)

// Bodies with the same meaning have the same hash, others do not.
func TestRequestHash(t *testing.T) {
	hash := func(body string) string {
		t.Helper()
		r, err := httpapi.ParseCreate([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		return r.RequestHash
	}
	first := hash(`{"input_file_id":"f","endpoint":"/v1/embeddings","completion_window":"24h","metadata":{"a":"1","b":"2"}}`)
	if first != hash(`{ "metadata":{"b":"2","a":"\u0031"}, "completion_window":"24h","endpoint":"/v1/embeddings","input_file_id":"f" }`) {
		t.Error("order and whitespace matter")
	}
	for _, other := range []string{
		`{"input_file_id":"g","endpoint":"/v1/embeddings","completion_window":"24h","metadata":{"a":"1","b":"2"}}`,
		`{"input_file_id":"f","endpoint":"/v1/embeddings","completion_window":"24h","metadata":{"a":"1","b":"3"}}`,
		`{"input_file_id":"f","endpoint":"/v1/embeddings","completion_window":"24h"}`,
		`{"input_file_id":"f","endpoint":"/v1/embeddings","completion_window":"24h","metadata":{"a":"1","b":"2"},"x":1}`,
	} {
		if first == hash(other) {
			t.Errorf("the same hash as %s", other)
		}
	}
}
