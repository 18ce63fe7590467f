package upstreams

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/internal/openai"
)

// Usable ids are taken from lists in any form, and what the gateway does not know
// is kept.
func TestParseModels(t *testing.T) {
	for name, tt := range map[string]struct {
		body string
		want string // the models as JSON; "" for an error
	}{
		"vLLM's": {
			`{"object":"list","data":[{"id":"m","object":"model","created":1,"owned_by":"vllm","root":"/models/m","parent":null,"max_model_len":4096,"permission":[{"id":"modelperm-1"}]}]}`,
			`[{"id":"m","object":"model","created":1,"owned_by":"vllm","max_model_len":4096,"parent":null,"root":"/models/m"}]`,
		},
		"numbers with fractions": {`{"data":[{"id":"m","created":1700000000.5,"max_model_len":4096.0}]}`, `[{"id":"m","object":"model","created":1700000000,"owned_by":"","max_model_len":4096}]`},
		"numbers as text":        {`{"data":[{"id":"m","created":"2024-01-01","max_model_len":"4096"}]}`, `[{"id":"m","object":"model","created":0,"owned_by":""}]`},
		"numbers out of range":   {`{"data":[{"id":"m","created":1e300,"max_model_len":-5}]}`, `[{"id":"m","object":"model","created":0,"owned_by":""}]`},
		"entries without an id":  {`{"data":[{"object":"model"},{"id":""},{"id":7},{"id":"m"},null,{"id":"m","root":"again"}]}`, `[{"id":"m","object":"model","created":0,"owned_by":""}]`},
		"odd members":            {`{"data":[{"id":"m","owned_by":7,"a\"b":{"c": [1, 2]}}]}`, `[{"id":"m","object":"model","created":0,"owned_by":"","a\"b":{"c":[1,2]}}]`},
		"too much":               {`{"data":[{"id":"m","root":"` + strings.Repeat("x", extraMost) + `"}]}`, `[{"id":"m","object":"model","created":0,"owned_by":""}]`},
		"no usable id":           {`{"data":[{"id":""}]}`, ""},
		"a text in the list":     {`{"data":["m"]}`, ""},
		"no list":                {`{"data":{}}`, ""},
		"nothing":                {``, ""},
	} {
		models, err := parseModels([]byte(tt.body))
		if err != nil || tt.want == "" {
			if (err != nil) != (tt.want == "") {
				t.Errorf("%s: got %v, %v; want %s", name, models, err, tt.want)
			}
			continue
		}
		text, err := json.Marshal(models)
		if err != nil || string(text) != tt.want {
			t.Errorf("%s: got %s, %v; want %s", name, text, err, tt.want)
		}
		var again []openai.Model
		if err := json.Unmarshal(text, &again); err != nil || again[0].ID != "m" {
			t.Errorf("%s: got %v, %v; want it to be read again", name, again, err)
		}
	}
}
